"""The package stage: what training produced, as one folder that predicts alone and provably the same.

The artifact holds the graph, ``signature.json``, ``baseline.json``, the networks of embeddings and the Bento around
them. Before it is published, training rows go through it from their original values; a package that answers otherwise
than the trained model is refused.
"""

import json
import shutil
from importlib.metadata import version

import keras
import numpy as np

from tasks.core.errors import Refused
from tasks.core.shards import Split, read_split
from tasks.core.spec import Column, Project, TableFeature
from tasks.core.stages import Context, Outcome
from tasks.packaging.bento import build_bento, requirements
from tasks.packaging.export import export, inputs_of
from tasks.runtime.baseline import BASELINE, summarize, watched
from tasks.runtime.embedding import graphs, load_embedders
from tasks.runtime.extractors import names
from tasks.runtime.predictor import EMBEDDING, SIGNATURE, Predictor, Signature

PARITY_ROWS = 1000
"""Training rows replayed at most."""

PARITY_TOLERANCE = 1e-4
"""Largest difference between two probabilities, and of numbers between two, in standard deviations of the labels."""

_LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "pillow", "tensorflow", "tensorflow-transform", "tf2onnx")


def package(ctx: Context) -> Outcome:
    """Exports, checks parity, and builds the Bento.

    Raises:
        Refused: the package predicts otherwise than the trained model; the rows are named.
    """
    split = read_split(ctx.store.fetch(ctx.input("dataset").folder), "train")
    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    classes = not ctx.spec.is_regression
    specs = inputs_of(ctx.spec, {group: values.shape[1] for group, values in split.features.items()})
    graph = export(ctx.file(ctx.input("transform"), "transform_fn"), model, specs, ctx.out, classes=classes)
    _describe(ctx, split)

    rows = np.unique(np.linspace(0, len(split) - 1, min(PARITY_ROWS, len(split))).astype(int))
    expected = trained_predictions(model, _transformed(ctx, split, rows), classes=classes)
    tolerance = PARITY_TOLERANCE if classes else number_tolerance(split.labels)
    difference = check_parity(_replay(ctx, split, rows), expected, [split.entities[row] for row in rows], tolerance)

    name = f"{ctx.spec.name}-{ctx.key[:12]}.bento"
    needed = requirements(tables=ctx.spec.image is None, tensorflow=graph.is_dir())
    build_bento(ctx.out, ctx.spec.name, ctx.key[:12], needed, ctx.work, ctx.out / name)
    metrics = {
        "parity_rows": len(rows),
        "parity_max_abs_diff": difference,
        "model": graph.name,
        "model_bytes": sum(path.stat().st_size for path in [graph, *graph.rglob("*")] if path.is_file()),
        "bento": name,
        "bento_bytes": (ctx.out / name).stat().st_size,
    }
    return Outcome(metrics=metrics)


def trained_predictions(model: keras.Model, inputs: dict[str, np.ndarray], *, classes: bool) -> np.ndarray:
    """What the model gave in training: probabilities, float32 (N, classes), or numbers, (N, 1).

    Args:
        inputs: the model's own: ``features`` transformed, and ``image``, if there is one.
        classes: whether the model gives logits of classes, or numbers.
    """
    found = model.predict(inputs, batch_size=256, verbose=0)
    return np.asarray(keras.ops.softmax(found) if classes else found)


def number_tolerance(labels: np.ndarray) -> float:
    """How far two numbers that are predicted for the same row may be apart, in the unit of ``labels``, float32 (N,).

    Numbers far from 0 that hardly differ are told apart no better than single precision can.
    """
    return float(PARITY_TOLERANCE * labels.std(dtype=np.float64) + 8 * np.spacing(np.abs(labels).max()))


def check_parity(
    found: np.ndarray, expected: np.ndarray, entities: list[str], tolerance: float = PARITY_TOLERANCE
) -> float:
    """The largest difference of a prediction between the package and the trained model.

    Args:
        found: what the package gave, float32 (N, classes) or (N, 1).
        expected: what the model gave in training, of the same shape.
        entities: the rows' names.
        tolerance: the largest difference that passes.

    Raises:
        Refused: it is larger. (Of probabilities, only classes as likely as each other can change places up to it.)
    """
    differences = np.abs(found - expected).max(axis=1)
    # Not a number is no parity either.
    bad = np.flatnonzero(~(differences <= tolerance))
    if len(bad):
        named = ", ".join(f"{entities[row]} ({differences[row]:.2g})" for row in bad[:5])
        raise Refused(
            f"The package predicts otherwise than the trained model on {len(bad)} of {len(found)} rows: {named}.",
            "Nothing was packaged. Compare decoder, extractors and transform of training and serving.",
        )
    return float(differences.max())


def _transformed(ctx: Context, split: Split, rows: np.ndarray) -> dict[str, np.ndarray]:
    features = np.load(ctx.file(ctx.input("transform"), "train.npy"), mmap_mode="r")
    image = {} if split.images is None else {"image": split.images[rows]}
    return image | {"features": np.asarray(features[rows])}


def _replay(ctx: Context, split: Split, rows: np.ndarray) -> np.ndarray:
    """What the package makes of the rows as they were received."""
    predictor = Predictor.load(ctx.out)
    if split.rows is None:
        return predictor.predict_bytes(ctx.store.read_bytes(split.uris[row]) for row in rows)
    return predictor.predict_rows(json.loads(split.rows[row]) for row in rows)


def _columns(spec: Project) -> tuple[Column, ...]:
    """The source's, of which nobody has to send those that no feature is made from."""
    used = {name for feature in spec.features if isinstance(feature, TableFeature) for name in feature.columns}
    return tuple(c if c.name in used else c.model_copy(update={"nullable": True}) for c in spec.source.columns)


def _describe(ctx: Context, split: Split) -> None:
    """Everything beside the graph that the package needs, and that tells what it is."""
    spec = ctx.spec
    signature = Signature(
        project=spec.name,
        build=ctx.key[:12],
        task="regression" if spec.is_regression else "classification",
        classes=spec.classes,
        image=spec.image,
        columns=_columns(spec),
        features=spec.features,
        top_k=min(spec.serving.top_k, spec.outputs),
        max_body_kib=spec.serving.max_body_kib,
        max_pixels=spec.serving.max_pixels,
        libraries={name: version(name) for name in _LIBRARIES},
    )
    (ctx.out / SIGNATURE).write_text(json.dumps(signature.model_dump(mode="json"), indent=2), encoding="utf-8")
    for group, path in graphs(ctx).items():
        shutil.copy(path, ctx.out / EMBEDDING.format(group=group))
    dimensions = names(spec.features, spec.image, load_embedders(ctx))
    baseline = summarize(watched(spec.features, split.features), dimensions)
    (ctx.out / BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")
