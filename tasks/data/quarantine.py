"""Quarantine: the rows that the gate refused, each with the rule it broke, the reason, and how to replay it.

A partition's quarantine and Data Docs page stand beside the artifact, where people look for them, and always tell of
the validation that was asked for last. A mark beside them names its key.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.artifacts import Manifest
from tasks.core.stages import Context
from tasks.core.store import Store


@dataclass(frozen=True)
class Rejected:
    """One quarantined row: a line of ``rejected.jsonl``.

    Attributes:
        row: its values as JSON types, times in ISO 8601.
        rule: the expectation that it broke first.
        reason: that rule's code; what the counts in the manifest add up.
        reasons: the codes of everything that is wrong with it, the worst first.
        detail: what was seen, at most 200 characters.
        replay: the command that takes the partition in again once the source is corrected.
    """

    row: dict[str, Any]
    rule: str
    reason: str
    reasons: list[str]
    detail: str | None
    replay: str


def quarantine_path(project: str, partition: str) -> str:
    """Where a partition's rejected rows stand, relative to the store."""
    return f"{project}/quarantine/date={partition}/rows.jsonl"


def docs_path(project: str, partition: str) -> str:
    """Where a partition's Data Docs page stands, relative to the store."""
    return f"{project}/data_docs/date={partition}/index.html"


def replay_command(project: str, partition: str) -> str:
    """The shell command that ingests and validates a partition again."""
    return " && ".join(f"updraft stage {stage} {project} --partition {partition}" for stage in ("ingest", "validate"))


def write_quarantine(ctx: Context, rejected: Path, page: str) -> None:
    """Replaces the partition's rejected rows (with none, the file is empty) and its page.

    Args:
        rejected: `Rejected` as JSON lines.
        page: HTML.
    """
    project, partition = ctx.spec.name, str(ctx.partition)
    # A kill in between leaves no mark, and the next attempt writes all of it again.
    ctx.store.delete(_mark(project, partition))
    ctx.store.write_bytes(quarantine_path(project, partition), rejected.read_bytes())
    ctx.store.write_bytes(docs_path(project, partition), page.encode())
    ctx.store.write_bytes(_mark(project, partition), ctx.key.encode())


def read_quarantine(store: Store, project: str, partition: str) -> list[Rejected]:
    """The partition's rejected rows as the last validation left them, in the order of ``row_id``.

    Raises:
        FileNotFoundError: the partition has not been validated.
    """
    return from_jsonl(store.read_bytes(quarantine_path(project, partition)))


def from_jsonl(data: bytes) -> list[Rejected]:
    """The rows of a ``rejected.jsonl``."""
    # Not splitlines(): JSON leaves characters such as U+2028 as they are, and they would count as line ends there.
    return [Rejected(**json.loads(line)) for line in data.decode().split("\n") if line]


def stands(context: Context, manifest: Manifest) -> bool:
    """Whether quarantine and page are those of this artifact, not of a later validation, and not gone."""
    project, partition = manifest.project, str(manifest.partition)
    try:
        marked = context.store.read_bytes(_mark(project, partition)).decode()
    except FileNotFoundError:
        return False
    paths = quarantine_path(project, partition), docs_path(project, partition)
    return marked == manifest.key and all(context.store.exists(path) for path in paths)


def _mark(project: str, partition: str) -> str:
    return f"{project}/quarantine/date={partition}/key"
