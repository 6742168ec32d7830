"""The export stage: the trained model and its smaller forms, each as a folder that predicts alone.

A folder holds the graph, ``signature.json``, ``baseline.json`` and the networks of embeddings. Of the runtimes that the
spec allows, each form takes the quickest at one row. Training rows go through each from their original values; a model
that answers otherwise than the one that was trained is refused. Forms of fewer bits do answer otherwise: the gates
judge by how much. That is settled before any temperature is: it would spread or narrow every difference.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tasks.core.shards import as_split, read_table
from tasks.core.spec import Distilled, Pruned
from tasks.core.stages import Context, Outcome
from tasks.packaging.describe import signature_of, write_signature, write_surroundings
from tasks.packaging.inference import Inference, inputs_of
from tasks.packaging.parity import Replay
from tasks.packaging.runtimes import PLAIN, Candidate, write_graph
from tasks.packaging.temperature import validated_temperature
from tasks.packaging.timing import milliseconds_per_row
from tasks.runtime.predictor import Predictor, Signature

log = logging.getLogger("updraft")


def export(ctx: Context) -> Outcome:
    """Writes a folder per form.

    Returns:
        ``forms``: of each, ``runtime``, ``bytes`` of its graph, the largest difference to its Keras model on training
        rows, its ``temperature`` if the spec asks for one, and what became of each runtime; ``left_out``: form to why
        it could not be made.

    Raises:
        Refused: the trained model predicts otherwise in each runtime that is allowed, and the rows are named; or it
            predicts no numbers for some validation rows, and has to have a temperature.
    """
    table = read_table(ctx.store.fetch(ctx.input("dataset").folder), "train")
    train = as_split(table.drop_columns([name for name in ("image",) if name in table.column_names]))
    specs = inputs_of(ctx.spec, {group: values.shape[1] for group, values in train.features.items()})
    shared = ctx.work / "shared"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir()
    write_surroundings(ctx, train, shared)
    replay, signature = Replay(ctx, table), signature_of(ctx)
    forms: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for candidate in _candidates(ctx, specs):
        try:
            forms[candidate.name] = _quickest(ctx, candidate, signature, replay)
        except Exception as error:
            if candidate.name == PLAIN:
                raise
            # Converters fail with whatever they like; the other forms are none the worse for it.
            left_out[candidate.name] = _why(error)
            log.warning("export: there is no form %s: %s", candidate.name, left_out[candidate.name])
    return Outcome(metrics={"forms": forms, "left_out": left_out})


def _candidates(ctx: Context, specs: Mapping[str, tf.TensorSpec]) -> Iterator[Candidate]:
    """What is to be written, the plain form first."""

    def inference(model: Path) -> Inference:
        loaded = keras.models.load_model(model, compile=False)
        transform = ctx.file(ctx.input("transform"), "transform_fn")
        return Inference(transform, loaded, specs, classes=not ctx.spec.is_regression)

    plain = inference(ctx.file(ctx.input("train"), "model.keras"))
    yield Candidate(PLAIN, None, plain)
    for form in ctx.spec.packaging.forms:
        if isinstance(form, Pruned | Distilled):
            retrained = ctx.file(ctx.input("compress"), f"{form.kind}/model.keras")
            yield Candidate(form.kind, form, inference(retrained))
        else:
            yield Candidate(form.kind, form, plain)


def _quickest(ctx: Context, candidate: Candidate, signature: Signature, replay: Replay) -> dict[str, Any]:
    """Publishes the form in the quickest of its runtimes; tells of each."""
    tried: dict[str, dict[str, Any]] = {}
    failed: list[Exception] = []
    for runtime in candidate.runtimes(ctx.spec.packaging.runtimes):
        described = signature.model_copy(update={"form": candidate.name, "runtime": runtime})
        try:
            tried[runtime] = _written(ctx, candidate, described, replay)
        except Exception as error:
            # What one runtime cannot take, another one may.
            failed.append(error)
            tried[runtime] = {"why": _why(error)}
    made = {runtime: found for runtime, found in tried.items() if "why" not in found}
    if not made:
        raise failed[0]
    best = min(made, key=lambda runtime: made[runtime]["milliseconds"])
    shutil.move(_folder(ctx, candidate.name, best), ctx.out / candidate.name)
    for runtime in set(ctx.spec.packaging.runtimes) - set(tried):
        tried[runtime] = {"why": "strings go into the graph; TensorFlow alone takes them"}
    return {"runtime": best, **made[best], "runtimes": tried}


def _written(ctx: Context, candidate: Candidate, signature: Signature, replay: Replay) -> dict[str, Any]:
    """The form in one runtime: written, checked, measured and, if the spec asks for it, given its temperature."""
    folder = _folder(ctx, candidate.name, signature.runtime)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ctx.work / "shared", folder)
    write_signature(signature, folder)
    graph = write_graph(candidate, signature.runtime, folder, replay)
    predictor = Predictor.load(folder)
    found: dict[str, Any] = {
        "bytes": sum(path.stat().st_size for path in [graph, *graph.rglob("*")] if path.is_file()),
        "parity_rows": len(replay),
        "parity_max_abs_diff": replay.check(predictor, candidate.inference, exact=candidate.exact),
        "milliseconds": milliseconds_per_row(predictor, replay.first(predictor)),
    }
    if ctx.spec.packaging.temperature_scaling:
        temperature = validated_temperature(ctx, predictor)
        write_signature(signature.model_copy(update={"temperature": temperature}), folder)
        found["temperature"] = temperature
    return found


def _folder(ctx: Context, form: str, runtime: str) -> Path:
    return ctx.work / f"{form}-{runtime}"


def _why(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
