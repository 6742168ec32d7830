"""Small trained models as the stages before packaging would publish them, and the two stages of packaging over them."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.core.artifacts import Manifest
from tasks.core.config import replace
from tasks.core.layout import FILE, Layout
from tasks.core.shards import pack, read_split, read_table, write_split
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.runtime.extractors import extract
from tasks.runtime.images import decode
from tasks.runtime.instances import typed
from tasks.runtime.table_features import extract_table
from tests.digits import Platform
from tests.families import SMALL
from tests.stages import load_stage, stage

ROWS = 60
SPREAD = 3.0
"""Standard deviation of each logit of a model that is `_settled`."""

COMMON = {
    "start": "2026-01-01",
    "classes": ["a", "b", "c"],
    "model": {"family": "mlp", "units": [8], "dropout": 0.2},
    "gates": [{"metric": "accuracy", "min": 0.5}],
    "serving": {"top_k": 9},
}
IMAGES = {
    "name": "tiny",
    "source": {"uri": "landing/tiny"},
    "image": {"height": 8, "width": 8, "channels": 1},
    "features": [
        {"kind": "image_stats", "normalize": {"kind": "bucketize", "buckets": 4}},
        {"kind": "hog", "orientations": 4, "cell": 4, "normalize": {"kind": "pca", "components": 6}},
        {"kind": "sift", "keypoints": 4, "words": 3},
    ],
    "model": {"family": "convnet", "filters": [8], "units": [64], "dropout": 0.2},
}
COLUMNS = [
    {"name": "age", "type": "number", "nullable": True},
    {"name": "size", "type": "number"},
    {"name": "member", "type": "boolean"},
    {"name": "seen", "type": "time"},
    {"name": "sky", "type": "category", "nullable": True},
    {"name": "said", "type": "text"},
    {"name": "unused", "type": "text"},
]
NUMBERS = {
    "name": "numbers",
    "task": "tabular_classification",
    "source": {"uri": "landing/numbers", "format": "table", "columns": COLUMNS},
    "features": [
        {"kind": "numeric", "columns": ["age", "size", "member"]},
        {"kind": "numeric", "name": "ranges", "columns": ["age", "size"], "normalize": {"kind": "min_max"}},
        {"kind": "numeric", "name": "lengths", "columns": ["age", "size"], "normalize": {"kind": "l2"}},
        {"kind": "date_parts", "columns": ["seen"]},
        {"kind": "text_stats", "columns": ["said"], "normalize": {"kind": "none"}},
    ],
}
STRINGS = {
    "name": "strings",
    "task": "text_classification",
    "source": {"uri": "landing/strings", "format": "table", "columns": COLUMNS},
    "features": [
        {"kind": "numeric", "columns": ["age"]},
        {"kind": "categorical", "columns": ["sky", "member"]},
        {"kind": "crossed", "columns": ["sky", "member"]},
        {"kind": "text", "column": "said", "ngrams": 2},
        {"kind": "text", "name": "order", "column": "said", "encode": {"kind": "sequence", "size": 4, "length": 3}},
    ],
}
PRICES = {
    **NUMBERS,
    "name": "prices",
    "task": "tabular_regression",
    "classes": [],
    "gates": [{"metric": "r2", "min": 0.5}],
}
SPECS = {"images": IMAGES, "numbers": NUMBERS, "prices": PRICES, "strings": STRINGS}


@dataclass(frozen=True)
class Trained:
    """What stands before the stages of packaging run."""

    spec: Project
    platform: Platform
    inputs: Mapping[str, list[Manifest]]

    def export(self, packaging: Mapping[str, Any] | None = None, **inputs: list[Manifest]) -> Manifest:
        """The export stage's artifact; ``inputs`` stand in for those there are."""
        spec = Project.model_validate({**self.spec.model_dump(), "packaging": packaging or {}})
        return self._run("tasks.packaging.export:export", spec, {**self.inputs, **inputs})

    def package(self, export: Manifest, chosen: str | None = "plain") -> Manifest:
        """The package stage's, of the form that the gate chose."""
        gate = execute(_gate, self.spec.model_copy(update={"description": str(chosen)}), {}, **vars(self.platform))
        return self._run("tasks.packaging.package:package", self.spec, {"export": [export], "gate": [gate]})

    def other(self, write: Callable[[Context], None], name: str, **inputs: list[Manifest]) -> list[Manifest]:
        """An artifact of ``name`` that ``write`` made."""
        return _artifact(name, write, self.spec, self.platform, inputs)

    def folder(self, manifest: Manifest, form: str = "") -> Path:
        """Where an artifact, or a folder in it, lies."""
        return self.platform.store.fetch(f"{manifest.folder}/{form}" if form else manifest.folder)

    def _run(self, target: str, spec: Project, inputs: Mapping[str, list[Manifest]]) -> Manifest:
        return execute(load_stage(target), spec, inputs, **vars(self.platform))


def in_family(trained: Trained, family: str, members: int = 1) -> Trained:
    """The same project with a small model of another family, or an ensemble of several, see `_settled`."""
    spec = replace(trained.spec, SMALL | {"model.family": family})
    write = _train_settled if members == 1 else _train_ensemble
    made = {**trained.inputs, "train": _artifact("train", write, spec, trained.platform, trained.inputs)}
    return Trained(spec, trained.platform, made)


def make(kind: str, platform: Platform) -> Trained:
    """A trained model of one of `SPECS`."""
    spec = Project.model_validate({**COMMON, **SPECS[kind]})
    made: dict[str, list[Manifest]] = {}
    for name, write in (("dataset", dataset), ("transform", _transform), ("train", _train), ("compress", _compress)):
        made[name] = _artifact(name, write, spec, platform, made)
    return Trained(spec, platform, made)


@stage("gate", "description", reproducible=False)
def _gate(ctx: Context) -> Outcome:
    chosen = None if ctx.spec.description == "None" else ctx.spec.description
    return Outcome(metrics={"passed": chosen is not None, "chosen": chosen})


def _artifact(
    name: str,
    write: Callable[[Context], None],
    spec: Project,
    platform: Platform,
    inputs: Mapping[str, list[Manifest]],
) -> list[Manifest]:
    @stage(name, "model", outside=lambda ctx: {"variant": write.__name__})
    def run(ctx: Context) -> Outcome:
        write(ctx)
        return Outcome(metrics={"pruned": {"zeros": 0.5}} if name == "compress" else {})

    return [execute(run, spec, inputs, **vars(platform))]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def row(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    words = ["wind", "Sturm", "calm", "größer", "grey", "blue"]
    return {
        "age": None if seed % 7 == 0 else round(random.normal(40, 10), 3),
        "size": float(random.integers(0, 5)),
        "member": bool(seed % 2),
        "seen": f"2026-0{1 + seed % 9}-11T{seed % 24:02}:30:00Z",
        "sky": [None, "sun", "rain"][seed % 3],
        "said": " ".join(random.choice(words, 4)),
        "unused": "x",
    }


SPLITS = {"train": range(ROWS), "validation": range(100, 110), "test": range(200, 210)}


def dataset(ctx: Context, shift: int = 0) -> None:
    """``shift``: the rows' original values are others than those that the features were computed from."""
    for split, seeds in SPLITS.items():
        labels = np.array([seed % 3 for seed in seeds])
        if ctx.spec.is_regression:
            labels = 1000.0 * labels
        entities = [f"digit-{seed}" for seed in seeds]
        times = [datetime(2026, 1, 1, tzinfo=UTC)] * len(seeds)
        uris = [f"tiny/raw/{seed + shift}.png" for seed in seeds]
        if ctx.spec.image:
            for seed, uri in zip(seeds, uris, strict=True):
                ctx.store.write_bytes(uri, png(seed + shift))
            images = np.stack([decode(png(seed), ctx.spec.image) for seed in seeds])
            found = [extract(image, ctx.spec.features) for image in images]
            groups = {group: np.stack([each[group] for each in found]) for group in found[0]}
            table = pack(images, groups, labels, entities, uris, times)
        else:
            groups = extract_table(typed([row(seed) for seed in seeds], ctx.spec.source.columns), ctx.spec.features)
            sent = [json.dumps(row(seed + shift)) for seed in seeds]
            table = pack(None, groups, labels, entities, uris, times, rows=sent)
        write_split(ctx.out, split, table)


def skewed_dataset(ctx: Context) -> None:
    dataset(ctx, shift=10_000)


def _transform(ctx: Context) -> None:
    from tasks.features.transform import fit, load, raw_names

    folder = ctx.store.fetch(ctx.input("dataset").folder)
    raw = raw_names(ctx.spec.features, ctx.spec.image, read_table(folder, "train").schema)
    fit(sorted(folder.glob("train-*.arrow")), ctx.spec.features, raw, ctx.out / "transform_fn", ctx.work)
    fitted = load(ctx.out / "transform_fn")
    np.save(ctx.out / "train.npy", fitted.run(read_split(folder, "train").features))
    (ctx.out / FILE).write_text(json.dumps({"slices": fitted.layout.as_json()}), encoding="utf-8")


def _train(ctx: Context) -> None:
    import keras

    from tasks.models import build_model

    keras.utils.set_random_seed(1)
    model = build_model(ctx.spec, Layout.read(ctx.file(ctx.input("transform"), FILE).parent))
    # Statistics and weights off their initial values, as training leaves them.
    model.set_weights([w + np.random.default_rng(2).uniform(0.05, 0.2, w.shape) for w in model.get_weights()])
    model.save(ctx.out / "model.keras")


def _train_settled(ctx: Context) -> None:
    _settled(ctx, seed=1).save(ctx.out / "model.keras")


def _train_ensemble(ctx: Context) -> None:
    from tasks.models import ensemble

    ensemble.join(ctx.spec, [_settled(ctx, seed) for seed in (1, 2)]).save(ctx.out / "model.keras")


def _settled(ctx: Context, seed: int) -> Any:
    """A model as training leaves one, without the minutes of it: it has seen the rows' statistics, and its answers to
    them are far apart."""
    import keras

    from tasks.models import build_model

    transform = ctx.file(ctx.input("transform"), FILE).parent
    split = read_split(ctx.store.fetch(ctx.input("dataset").folder), "train")
    rows = {"features": np.load(transform / "train.npy")} | ({} if split.images is None else {"image": split.images})
    keras.utils.set_random_seed(seed)
    model = build_model(ctx.spec, Layout.read(transform))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(rows, training=True)
    logits = keras.ops.convert_to_numpy(model(rows, training=False))
    scale = SPREAD / logits.std(axis=0)
    for layer in model.layers:
        if layer.name == "logits" or layer.name.endswith("wide"):
            kernel, *bias = layer.get_weights()
            layer.set_weights([kernel * scale, *((each - logits.mean(axis=0)) * scale for each in bias)])
    return model


def _compress(ctx: Context) -> None:
    """The trained model with half of its kernels' weights at zero."""
    import keras

    model = keras.models.load_model(ctx.file(ctx.input("train"), "model.keras"), compile=False)
    for weight in model.trainable_variables:
        if len(weight.shape) > 1:
            values = weight.numpy()
            weight.assign(np.where(np.abs(values) < np.median(np.abs(values)), 0, values))
    (ctx.out / "pruned").mkdir()
    model.save(ctx.out / "pruned" / "model.keras")
