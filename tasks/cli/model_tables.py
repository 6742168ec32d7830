"""Versions as people read them: tables and lines for `tasks.cli.models`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tasks.core.artifacts import Manifest, digest_file
from tasks.core.lineage import faults, missing
from tasks.core.pipeline import STEPS
from tasks.core.registry import Version
from tasks.core.settings import ROOT

Part = Table | str


def versions(found: Sequence[Version], aliases: Mapping[str, int], score: str) -> Table:
    """One row per version, the newest last."""
    table = Table("version", "aliases", score, "interval", "form", "registered (UTC)", box=SIMPLE_HEAD)
    for version in found:
        names = ", ".join(alias for alias, number in aliases.items() if number == version.version)
        measures = version.measured
        value, interval = measures["metrics"].get(score), measures["intervals"].get(score)
        form = version.details.get("form") or "plain"
        table.add_row(str(version.version), names, _value(value), _interval(interval), form, f"{version.at:%F %H:%M}")
    return table


def version(found: Version, aliases: Sequence[str]) -> Iterator[Part]:
    """All about one."""
    details, measures = found.details, found.measured
    yield f"{found.project} version {found.version}" + f" ({', '.join(aliases)})" * bool(aliases)
    yield f"registered {found.at:%F %T} UTC, run {details.get('run_id') or '-'}"
    origin = details.get("imported")
    if origin:
        yield f"imported at {origin['at']}; version {origin['version']} where it was made; file {origin['digest'][:12]}"
    against = details.get("judged_against")
    yield f"judged against {f'version {against}' if against else 'no champion'}; form {details.get('form') or 'plain'}"
    yield f"package {found.package}"
    measured_table = Table("measure", "value", "interval", title="Held-out split", title_justify="left")
    for name, value in measures["metrics"].items():
        measured_table.add_row(name, _value(value), _interval(measures["intervals"].get(name)))
    yield measured_table
    yield _gates(details.get("gates", {}).get("gates", ()))
    yield from _libraries(details)


def lineage(manifests: Sequence[Manifest]) -> Iterator[Part]:
    """What a version was made from: the package first, the raw data last."""
    table = Table("stage", "partition", "rows", "key", "digest", "code", title="Lineage", title_justify="left")
    order = list(STEPS)
    ranked = sorted(manifests, key=lambda m: (-order.index(m.stage) if m.stage in order else 0, m.partition or ""))
    for m in ranked:
        rows = str(m.rows.published) if m.rows.received else ""
        table.add_row(m.stage, m.partition or "", rows, m.key[:12], m.digest[:12], m.code_version[:12])
    for m in ranked:
        for source, digest in m.parts.get("outside", {}).items() if m.stage == "ingest" else ():
            table.add_row(f"raw {source}", m.partition or "", str(m.rows.received), "", str(digest)[:12], "")
    yield table
    yield from (f"gone from the store: {path}" for path in missing(manifests))
    wrong = list(faults(manifests))
    yield from wrong
    if not wrong:
        yield f"{len(manifests)} artifacts; the key of each follows from what it was made from."


def differences(found: Mapping[str, Any]) -> Iterator[Part]:
    """Two versions side by side; see `tasks.deployment.compare.differences`."""
    one, other = (f"version {number}" for number in found["versions"])
    metrics = Table("measure", one, "interval", other, "interval", "change")
    for name, pair in found["metrics"].items():
        before, after = pair["values"]
        change = f"{after - before:+.4f}" if None not in (before, after) else "-"
        first, second = map(_interval, pair["intervals"])
        metrics.add_row(name, _value(before), first, _value(after), second, change)
    yield metrics
    for judged, title in zip(found["gates"], (one, other), strict=True):
        yield _gates(judged, f"Gates of {title}")
    same = []
    for aspect, changes in found.items():
        if aspect in ("versions", "metrics", "gates"):
            continue
        if not changes:
            same.append(aspect)
            continue
        table = Table(aspect, one, other)
        for name, pair in changes.items():
            table.add_row(name, *map(_short, pair))
        yield table
    if same:
        yield f"The same: {', '.join(same)}."


def _gates(judged: Sequence[Mapping[str, Any]], title: str = "Gates") -> Table:
    table = Table("gate", "value", "threshold", "", title=title, title_justify="left")
    for gate in judged:
        verdict = "passed" if gate["passed"] else "failed"
        table.add_row(gate["gate"], _value(gate["value"]), _value(gate["threshold"]), verdict)
    return table


def _libraries(details: Mapping[str, Any]) -> Iterator[str]:
    """What made it, and what differs here."""
    made = details.get("libraries", {})
    if made:
        yield "made with " + ", ".join(f"{name} {version}" for name, version in made.items())
    for name, there in made.items():
        here = _installed(name)
        if here != there:
            yield f"note: here {name} is {here}, not {there}"
    lock = ROOT / "requirements.lock"
    if details.get("lock") and lock.is_file():
        same = digest_file(lock) == details["lock"]
        yield f"requirements.lock {details['lock'][:12]}: {'as here' if same else 'not the one of this checkout'}"


def _installed(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _interval(pair: Sequence[float | None] | None) -> str:
    return "" if not pair or None in pair else f"{pair[0]:.4f} to {pair[1]:.4f}"


def _short(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_digest else text if len(text) <= 60 else f"{text[:57]}..."
