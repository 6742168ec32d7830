"""What differs between two versions: measures, what they were made from, and with what."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.registry import Version


def params(manifests: Sequence[Manifest]) -> Mapping[str, Any]:
    """The values of the trial that a lineage's model was trained with."""
    train = _of(manifests, "train")
    trials = {trial["number"]: trial["params"] for tune in _of(manifests, "tune") for trial in tune.metrics["trials"]}
    return trials.get(train[0].metrics.get("trial"), {}) if train else {}


def differences(
    one: Version, one_lineage: Sequence[Manifest], other: Version, other_lineage: Sequence[Manifest]
) -> dict[str, Any]:
    """By aspect; of ``metrics`` and ``gates`` all, of the others what differs: name to both values (None: has none)."""
    facts = [_facts(one, one_lineage), _facts(other, other_lineage)]
    both = [one.measured, other.measured]
    names = dict.fromkeys(name for each in both for name in each["metrics"])
    return {
        "versions": [one.version, other.version],
        "metrics": {
            name: {
                "values": [each["metrics"].get(name) for each in both],
                "intervals": [each["intervals"].get(name) for each in both],
            }
            for name in names
        },
        "gates": [version.details["gates"]["gates"] for version in (one, other)],
        **{aspect: _changes(facts[0][aspect], facts[1][aspect]) for aspect in facts[0]},
    }


def _facts(version: Version, manifests: Sequence[Manifest]) -> dict[str, Mapping[str, Any]]:
    spec = _flat({field: value for m in manifests for field, value in m.parts.get("spec", {}).items()})
    details = version.details
    return {
        "params": params(manifests),
        "features": {name: value for name, value in spec.items() if name.split(".")[0] == "features"},
        "spec": {name: value for name, value in spec.items() if name.split(".")[0] != "features"},
        "data": {f"{m.stage} {m.partition or ''}".strip(): m.digest for m in _of(manifests, "ingest", "dataset")},
        "rows": {f"{m.stage} {name}": n for m in _of(manifests, "dataset") for name, n in m.metrics.items()},
        "code": {m.stage: m.code_version for m in manifests},
        "libraries": {**details.get("libraries", {}), "requirements.lock": details.get("lock")},
        "package": {"key": version.key, "form": details.get("form")},
    }


def _changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = sorted(one.keys() | other.keys())
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}


def _of(manifests: Sequence[Manifest], *stages: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.stage in stages]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """JSON as dotted name to value; lists of mappings by position."""
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        parts = list(enumerate(value))
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, inner in parts:
        flat |= _flat(inner, f"{prefix}.{name}".lstrip("."))
    return flat
