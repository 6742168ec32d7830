"""Quarantine: the rows that the gate refused, each with the rule it broke, the reason, and how to replay it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tasks.core.store import Store


@dataclass(frozen=True)
class Rejected:
    """One quarantined row.

    Attributes:
        row: its values, as JSON types.
        rule: the expectation that it broke first.
        reason: that rule's code; what the counts in the manifest add up.
        reasons: the codes of everything that is wrong with it.
        replay: the command that takes the partition in again once the source is corrected.
    """

    row: dict[str, Any]
    rule: str
    reason: str
    reasons: list[str]
    replay: str


def quarantine_path(project: str, partition: str) -> str:
    """Where a partition's rejected rows stand, relative to the store."""
    return f"{project}/quarantine/date={partition}/rows.jsonl"


def replay_command(project: str, partition: str) -> str:
    """The shell command that ingests and validates a partition again."""
    return " && ".join(f"updraft stage {stage} {project} --partition {partition}" for stage in ("ingest", "validate"))


def to_jsonl(rejected: Iterable[Rejected]) -> bytes:
    """One JSON object per line, UTF-8."""
    return "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in rejected).encode()


def from_jsonl(data: bytes) -> list[Rejected]:
    """What `to_jsonl` was given."""
    # Not splitlines(): JSON leaves characters such as U+2028 as they are, and they would count as line ends there.
    return [Rejected(**json.loads(line)) for line in data.decode().split("\n") if line]


def write_quarantine(store: Store, project: str, partition: str, rejected: Iterable[Rejected]) -> str:
    """Replaces the partition's rejected rows; with none, the file is empty.

    Returns:
        The file's path, relative to the store.
    """
    path = quarantine_path(project, partition)
    store.write_bytes(path, to_jsonl(rejected))
    return path


def read_quarantine(store: Store, project: str, partition: str) -> list[Rejected]:
    """The partition's rejected rows as the last validation that had to work left them, in the labels file's order.

    Raises:
        FileNotFoundError: the partition has not been validated.
    """
    return from_jsonl(store.read_bytes(quarantine_path(project, partition)))
