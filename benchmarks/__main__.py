"""Runs the areas named on the command line (default: all): a table, and ``benchmarks/results/<area>.json``."""

import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

HERE = Path(__file__).parent
DATA = ("partitions", "validation", "join", "transform", "shards", "ingest")
TRAINING = ("launch", "ranks", "tuning")
AREAS = ("parsing", *DATA, *TRAINING, "evaluation", "forms", "serving", "switch", "abuse", "pipeline", "setup")
"""In the order of what they cost, about: seconds, minutes, a quarter of an hour."""
GROUPS = {"data": DATA, "training": TRAINING}
"""A name for several areas."""


def main() -> None:
    """Measures and reports; exits with 2 on an unknown area. A missed target is shown, and is no failure."""
    wanted = [area for name in sys.argv[1:] or AREAS for area in GROUPS.get(name, (name,))]
    unknown = [area for area in wanted if area not in AREAS]
    if unknown:
        known = ", ".join((*GROUPS, *AREAS))
        print(f"error: there is no area {unknown[0]!r}\n  fix: use one of: {known}", file=sys.stderr)
        raise SystemExit(2)
    for area in wanted:
        print(f"Measuring {area}", flush=True)
        figures = importlib.import_module(f"benchmarks.{area}").measure()
        _show(area, figures)
        _write(area, figures)
        _publish()


def _show(area: str, figures: list[Figure]) -> None:
    table = Table("name", "value", "unit", "target", "holds", "against", title=area, title_justify="left")
    for figure in figures:
        holds = {True: "yes", False: "[red]MISSED[/]", None: ""}[figure.holds]
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit, figure.target, holds, figure.against)
    Console(width=140).print(table)


def _write(area: str, figures: list[Figure]) -> None:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    rows = [{**vars(figure), "holds": figure.holds} for figure in figures]
    result = {"date": f"{datetime.now(UTC):%F}", "machine": machine, "figures": rows}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{area}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _publish() -> None:
    """Writes ``docs/benchmarks.md`` from the newest result of every area."""
    page = "<!-- Made by `make bench` from benchmarks/results/. -->\n\n# Benchmarks\n"
    for area in AREAS:
        path = HERE / "results" / f"{area}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            page += f"\n## {area}\n\n{result['date']}, {result['machine']}. Again: `make bench ONLY={area}`\n\n"
            page += "| what | value | unit | target | holds | against |\n|---|---|---|---|---|---|\n"
            page += "".join(_row(row) for row in result["figures"])
    (HERE.parent / "docs" / "benchmarks.md").write_text(page, encoding="utf-8")


def _row(row: dict[str, Any]) -> str:
    holds = {True: "yes", False: "**missed**", None: ""}[row["holds"]]
    cells = (row["name"], f"{row['value']:.4g}", row["unit"], row["target"], holds, row["against"])
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
