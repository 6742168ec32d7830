"""The model card of a candidate, promoted or not: what it is made of, how well it does where, and how to make it again.

After "Model Cards for Model Reporting" (Mitchell et al., 2019). ``card.json`` is for programs, ``card.html`` for
people: one file that loads nothing and prints well.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.core.artifacts import Manifest, digest_file
from tasks.core.lineage import lineage
from tasks.core.settings import ROOT
from tasks.core.stages import Context, Outcome
from tasks.evaluation.card_page import page
from tasks.evaluation.card_pictures import pictures

_LIBRARIES = (
    *("tensorflow", "keras", "horovod", "tensorflow-transform", "numpy", "pandas", "scikit-learn"),
    *("onnx", "onnxruntime", "ai-edge-litert", "tf2onnx", "optuna", "feast", "great-expectations"),
)
"""Those whose version may change a figure of the card."""


def card(ctx: Context) -> Outcome:
    """Writes ``card.json`` and ``card.html``."""
    facts = describe(ctx)
    (ctx.out / "card.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
    (ctx.out / "card.html").write_text(page(facts, pictures(ctx)), encoding="utf-8")
    decision = ctx.input("gate").metrics
    return Outcome(metrics={"passed": decision["passed"], "chosen": decision["chosen"]})


def describe(ctx: Context) -> dict[str, Any]:
    """The card as JSON types."""
    train, gate = ctx.input("train"), ctx.input("gate")
    behind = lineage(ctx.store, gate.path)
    return {
        "project": ctx.spec.name,
        "description": ctx.spec.description,
        "task": ctx.spec.task,
        "classes": list(ctx.spec.classes),
        "candidate": {"path": train.path, "key": train.key, "weights": train.metrics["weights_digest"]},
        "made": gate.created_at.isoformat(timespec="seconds"),
        "run": ctx.run_id,
        "decision": dict(gate.metrics),
        "evaluation": dict(ctx.input("evaluate").metrics),
        "calibration": _json(ctx, "evaluate", "calibration.json"),
        "explanation": _json(ctx, "evaluate", "explain.json"),
        "exported": dict(ctx.input("export").metrics),
        "data": _data(ctx.input("dataset"), behind),
        "params": _json(ctx, "train", "params.json"),
        "training": dict(train.metrics),
        "learning_curves": _json(ctx, "train", "history.json"),
        "study": _study(ctx.inputs["tune"]),
        "lineage": [_link(manifest) for manifest in behind],
        "environment": {"lock": digest_file(ROOT / "requirements.lock"), "libraries": dict(_libraries())},
        "spec": ctx.spec.model_dump(mode="json"),
        "reproduce": f"updraft reproduce {ctx.spec.name}/card/{ctx.key}/card.json",
    }


def _data(dataset: Manifest, behind: Sequence[Manifest]) -> dict[str, Any]:
    """Rows from the source to the splits: by partition, with the digests of what was read."""
    partitions = {}
    for manifest in behind:
        if manifest.stage == "ingest":
            partitions[manifest.partition] = {"partition": manifest.partition, "digest": manifest.digest}
        elif manifest.stage == "validate":
            partitions[manifest.partition] |= manifest.rows.model_dump(by_alias=True)
    refused = sum((Counter(m.reasons) for m in behind if m.stage in ("validate", "dataset")), Counter())
    return {
        "splits": dict(dataset.metrics),
        "digest": dataset.digest,
        "left_out": dict(refused.most_common()),
        "partitions": sorted(partitions.values(), key=lambda row: row["partition"] or ""),
    }


def _study(workers: Sequence[Manifest]) -> dict[str, Any]:
    trials = [trial for worker in workers for trial in worker.metrics["trials"]]
    states = Counter(trial["state"].lower() for trial in trials)
    # Whole, for whoever makes the model again: a search with other workers beside it may come to another best trial.
    told = [json.loads(worker.to_json()) for worker in workers]
    return {"trials": len(trials), "states": dict(states), "told": told}


def _link(manifest: Manifest) -> dict[str, Any]:
    return {
        "stage": manifest.stage,
        "partition": manifest.partition,
        "path": manifest.path,
        "key": manifest.key,
        "digest": manifest.digest,
        "code_version": manifest.code_version,
        "made": manifest.created_at.isoformat(timespec="seconds"),
    }


def _json(ctx: Context, stage: str, name: str) -> Any:
    """A JSON file of an input; None where it has none."""
    manifest = ctx.input(stage)
    if name not in manifest.outputs:
        return None
    return json.loads(ctx.file(manifest, name).read_text(encoding="utf-8"))


def _libraries() -> Mapping[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
