"""What the smaller forms of a model weigh, how long they take and how often they agree, beside the plain form.

The digits network on the real scans, and a ResNet on drawn shapes of 64x64 pixels; both trained, for an untrained model
has no answers to agree with. Each form is compared with the plain one in the same runtime.
"""

import json
import timeit
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import pictures
from benchmarks.figures import Figure
from benchmarks.prepared import Labelled, Prepared, in_own_process
from benchmarks.serving_models import specs
from tasks.core import config
from tasks.core.artifacts import Manifest
from tasks.core.shards import read_split
from tasks.runtime.predictor import Inputs, Predictor

FORMS = ("float16", "int8_dynamic", "int8")
RUNTIMES = ("onnx", "litert", "saved_model")
PLAIN = "plain"
EPOCHS = {"digits": 30, "resnet": 8}
BATCHES = {1: 50, 32: 4}
"""Rows at a time, to calls in a round."""
_ROUNDS = 20


def measure() -> list[Figure]:
    """Both models in one process."""
    return [Figure(**each) for each in in_own_process("benchmarks.forms")]


def run(folder: str) -> None:
    """Trains and exports the models in ``folder``, measures, and prints the figures as JSON."""
    figures = [figure for name in specs() for figure in _of_model(name, Path(folder) / name)]
    print(json.dumps([vars(figure) for figure in figures]))


def _of_model(name: str, folder: Path) -> Iterator[Figure]:
    prepared = Prepared(folder, specs()[name])
    data = _split(*(pictures.digits() if name == "digits" else pictures.shapes(1800, side=64)), prepared)
    inputs = prepared.trained(data, EPOCHS[name])
    for runtime in RUNTIMES:
        packaging = {"runtimes": [runtime], "forms": [{"kind": form} for form in FORMS]}
        asked = replace(prepared, spec=config.replace(prepared.spec, {"packaging": packaging}))
        export = asked.stage("export", inputs)
        yield from _of_runtime(f"{name}, {runtime}", asked, export, inputs)


def _split(images: np.ndarray, labels: np.ndarray, prepared: Prepared) -> Labelled:
    """A fifth to test, a tenth to validate; of colours as many as the project has."""
    assert prepared.spec.image is not None
    order, tenth = np.random.default_rng(0).permutation(len(labels)), len(labels) // 10
    rows = {"test": order[: 2 * tenth], "validation": order[2 * tenth : 3 * tenth], "train": order[3 * tenth :]}
    images = images[..., : prepared.spec.image.channels]
    return {split: (images[chosen], labels[chosen]) for split, chosen in rows.items()}


def _of_runtime(
    name: str, prepared: Prepared, export: Manifest, inputs: Mapping[str, list[Manifest]]
) -> Iterator[Figure]:
    made = export.metrics["forms"]
    predictors = {form: Predictor.load(prepared.store.fetch(f"{export.folder}/{form}")) for form in made}
    test = read_split(prepared.store.fetch(inputs["dataset"][0].folder), "test")
    rows = Inputs.join([predictors[PLAIN].prepare(prepared.store.read_bytes(uri)) for uri in test.uris])
    answers = {form: predictor.predict(rows).argmax(axis=1) for form, predictor in predictors.items()}
    seconds = {batch: _seconds(predictors, _first(rows, batch), calls) for batch, calls in BATCHES.items()}
    plain = {batch: found[PLAIN] / batch * 1000 for batch, found in seconds.items()}
    yield Figure(f"{name}: plain", made[PLAIN]["bytes"] / 1024, "KiB")
    yield Figure(f"{name}: plain, right answers", float((answers[PLAIN] == test.labels).mean()), "share")
    for form in [each for each in FORMS if each in made]:
        against = f"plain: {made[PLAIN]['bytes'] / 1024:.0f} KiB"
        yield Figure(f"{name}, {form}: size", made[form]["bytes"] / made[PLAIN]["bytes"], "x", "", against)
        for batch, found in seconds.items():
            against = f"plain: {plain[batch]:.2g} ms a row"
            yield Figure(f"{name}, {form}: time, {batch} at once", found[form] / found[PLAIN], "x", "", against)
        same = float((answers[form] == answers[PLAIN]).mean())
        yield Figure(f"{name}, {form}: same answer", same, "share", "", f"plain, {len(rows)} test rows")


def _first(rows: Inputs, count: int) -> Inputs:
    assert rows.pixels is not None
    return Inputs(rows.pixels[:count], {group: values[:count] for group, values in rows.features.items()})


def _seconds(predictors: Mapping[str, Predictor], rows: Inputs, calls: int) -> dict[str, float]:
    """Of each, for one prediction of the rows: the best of many rounds, in which they take turns."""
    found: dict[str, list[float]] = {form: [] for form in predictors}
    for _ in range(_ROUNDS):
        for form, predictor in predictors.items():
            found[form].append(timeit.timeit(partial(predictor.predict, rows), number=calls) / calls)
    return {form: min(times) for form, times in found.items()}
