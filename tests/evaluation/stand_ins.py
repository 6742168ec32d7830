"""Stages that stand in for training, export and packaging."""

from functools import partial
from typing import Any

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from tasks.core.shards import read_split
from tasks.core.stages import Context, Outcome
from tasks.runtime.predictor import MODEL, SIGNATURE, Signature
from tasks.training.loop import Job, fit
from tests import exports
from tests.stages import stage


@stage("train", "description", reproducible=False)
def train_stage(ctx: Context) -> Outcome:
    """The spec as it is, in this process."""
    folders = (ctx.store.fetch(ctx.input(name).folder) for name in ("dataset", "transform"))
    model, _ = fit(Job(ctx.spec, *folders, epochs=ctx.spec.training.epochs), print)
    model.save(ctx.out / "model.keras")
    return Outcome()


@stage("export", "classes", "image", "features", "task", "packaging", reproducible=False)
def export_stage(ctx: Context) -> Outcome:
    """The plain form, and one that knows less: its weights are rounded."""
    temperature = 2.0 if ctx.spec.packaging.temperature_scaling else 1.0
    train = read_split(ctx.store.fetch(ctx.input("dataset").folder), "train")
    raw = train.features["image_stats"]
    mean, deviation = raw.mean(0), np.where(raw.std(0) > 0, raw.std(0), 1)
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    forms = {}
    for form in ("int8", "plain"):
        if form == "plain":
            model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
        else:
            model.set_weights([np.round(weights * 3) / 3 for weights in model.get_weights()])
        transform = partial(_scaled, mean=mean, deviation=deviation)
        forms[form] = exports.write_form(ctx.out, ctx.spec, model, transform, {"image_stats": 5}, form, temperature)
    return Outcome(metrics={"forms": forms})


def _scaled(raw: Any, mean: np.ndarray, deviation: np.ndarray) -> Any:
    return (raw - mean.astype(np.float32)) / deviation.astype(np.float32)


@stage("package", "description", "classes", reproducible=False)
def package_stage(ctx: Context) -> Outcome:
    """A stand-in for a served model: a logistic regression on the pixels, or one that knows nothing."""
    classes, weights, bias = ctx.spec.classes, np.zeros((64, 10), np.float32), np.zeros(10, np.float32)
    if ctx.spec.description == "good":
        regression = _pixels_only(ctx)
        order = [int(name) for name in classes]
        weights, bias = regression.coef_.T[:, order].astype(np.float32), regression.intercept_[order].astype(np.float32)
    onnx.save(_graph(weights, bias), str(ctx.out / MODEL))
    signature = Signature(
        project="digits",
        build="stand-in",
        classes=classes,
        image=ctx.spec.image,
        features=ctx.spec.features,
        top_k=3,
        max_body_kib=64,
        max_pixels=4096,
    )
    (ctx.out / SIGNATURE).write_text(signature.model_dump_json())
    return Outcome()


def _pixels_only(ctx: Context) -> LogisticRegression:
    train = read_split(ctx.store.fetch(ctx.input("dataset").folder), "train")
    return LogisticRegression(max_iter=1000).fit(train.images.reshape(-1, 64) / 255, train.labels)


def _graph(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("Mul", ["flat", "scale"], ["pixels"]),
        helper.make_node("Gemm", ["pixels", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"scale": np.array(1 / 255, np.float32), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 1]),
            helper.make_tensor_value_info("image_stats", TensorProto.FLOAT, ["N", 5]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
