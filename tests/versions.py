"""Versions of the project ``tiny`` with a lineage: small stages that leave what the platform's own would."""

import json
from collections.abc import Mapping
from typing import Any

from tasks.core.artifacts import Manifest, Rows
from tasks.core.config import replace
from tasks.core.registry import Registry, Version
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, execute
from tasks.core.store import Store
from tests.packages import project
from tests.stages import stage

LIBRARIES = {"numpy": "2.4.6", "onnxruntime": "0.0.1"}


def make_version(
    registry: Registry,
    store: Store,
    *,
    days: int = 2,
    accuracy: float = 0.9,
    rate: float = 0.1,
    overrides: Mapping[str, Any] | None = None,
) -> Version:
    """Runs the stages over ``days`` partitions and registers the package.

    Args:
        accuracy: what evaluation measured.
        rate: the learning rate of the trial that was trained.
        overrides: dotted fields of the spec that differ.
    """
    spec = replace(project(), overrides or {})
    made: dict[str, list[Manifest]] = {}

    def run(name: str, fields: tuple[str, ...], sources: tuple[str, ...], partition: str | None = None) -> None:
        told = {"accuracy": accuracy, "rate": rate}
        declared = stage(name, *fields, reproducible=False, outside=lambda ctx: _raw(ctx) if name == "ingest" else told)
        step = declared(lambda ctx: _leave(ctx, name, told))
        inputs = {source: made[source] for source in sources}
        manifest = execute(step, spec, inputs, store=store, registry=registry, partition=partition)
        made.setdefault(name, []).append(manifest)

    for day in range(days):
        run("ingest", ("source.format",), (), f"2026-01-{day + 1:02d}")
    run("dataset", ("features", "split"), ("ingest",))
    run("tune", ("training",), ("dataset",))
    run("train", ("training", "model"), ("dataset", "tune"))
    run("export", (), ("train",))
    run("gate", ("gates",), ("export",))
    run("package", (), ("export", "gate"))
    run("card", (), ("gate",))
    package, card = made["package"][0], made["card"][0]
    return registry.register(spec.name, package.key, package.path, _details(spec, accuracy, card))


def _details(spec: Project, accuracy: float, card: Manifest) -> dict[str, Any]:
    interval = [accuracy - 0.05, accuracy + 0.05]
    measures = {"metrics": {"accuracy": accuracy}, "intervals": {"accuracy": interval}}
    gate = {"gate": "accuracy at least 0.5", "value": accuracy, "threshold": 0.5, "passed": True}
    return {
        "metrics": {"candidate": {"accuracy": accuracy}, "forms": {"plain": measures, "int8": measures}},
        "gates": {"passed": True, "chosen": "int8", "gates": [gate]},
        "form": "int8",
        "candidate": f"{spec.name}-{accuracy}",
        "card": card.path,
        "judged_against": 7,
        "lock": "f" * 64,
        "libraries": LIBRARIES,
        "run_id": "run-1",
    }


def _raw(ctx: Context) -> dict[str, str]:
    return {"source": f"raw {ctx.partition}"}


def _leave(ctx: Context, name: str, told: Mapping[str, float]) -> Outcome:
    match name:
        case "ingest":
            return Outcome(Rows(received=100, published=100))
        case "dataset":
            return Outcome(metrics={"train": 60 * len(ctx.inputs["ingest"])})
        case "tune":
            trials = [{"number": n, "params": {"training.learning_rate": told["rate"] / (n + 1)}} for n in range(2)]
            return Outcome(metrics={"trials": trials})
        case "train":
            return Outcome(metrics={"trial": 1})
        case "package":
            (ctx.out / "graph").mkdir()
            (ctx.out / "graph" / "model.onnx").write_bytes(bytes(range(256)) * 40)
            (ctx.out / "signature.json").write_text(json.dumps(told), encoding="utf-8")
        case "card":
            (ctx.out / "card.html").write_text("<p>A card", encoding="utf-8")
    return Outcome()
