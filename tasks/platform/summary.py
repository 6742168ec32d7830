"""What a finished run has to say: the champion beside its gates, rows quarantined, seconds per stage."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.core.artifacts import Manifest
from tasks.core.pipeline import STEPS
from tasks.core.registry import Version


@dataclass(frozen=True)
class Summary:
    """A run's manifests by stage, seen as a whole."""

    manifests: Mapping[str, Sequence[Manifest]]
    champion: Version | None

    @property
    def decision(self) -> Mapping[str, Any]:
        """The gate's decision: ``passed`` and one entry per gate."""
        return self.manifests["gate"][0].metrics

    def quarantined(self) -> dict[str, int]:
        """Reason code to rows, over all partitions."""
        return dict(sum((Counter(m.reasons) for m in self.manifests.get("validate", ())), Counter()))

    def stages(self) -> list[tuple[str, int, int, float]]:
        """Stage, how many HITs, how many MISSes, seconds in all; in the pipeline's order."""
        found = [(name, self.manifests[name]) for name in STEPS if name in self.manifests]
        return [(name, _count(made, "HIT"), _count(made, "MISS"), sum(m.seconds for m in made)) for name, made in found]

    def show(self, console: Console) -> None:
        """Prints the tables."""
        stages = Table("stage", "HIT", "MISS", "seconds", title="Stages", title_justify="left")
        for name, hits, misses, seconds in self.stages():
            stages.add_row(name, str(hits), str(misses), f"{seconds:.1f}")
        console.print(stages)
        gates = Table("gate", "found", "", title="Gates on the held-out split", title_justify="left")
        for gate in self.decision["gates"]:
            verdict = "[green]passed[/]" if gate["passed"] else "[red]failed[/]"
            gates.add_row(escape(gate["gate"]), escape(gate["detail"]), verdict)
        console.print(gates)
        reasons = self.quarantined()
        rows = sum(m.rows.received for m in self.manifests.get("validate", ()))
        listed = ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "none"
        console.print(f"Rows: {rows} received, {sum(reasons.values())} quarantined ({listed})")
        verdict = "" if "deploy" in self.manifests else " (the candidate was not promoted)"
        name = f"version {self.champion.version}" if self.champion else "none"
        console.print(f"Champion: {name}{verdict}")


def _count(manifests: Iterable[Manifest], cache: str) -> int:
    return sum(m.cache == cache for m in manifests)
