"""Commands about data: a project from a folder, backfills, quarantine, features as the endpoint would look them up."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from tasks.cli.shared import AsJson, ProjectName, out
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.store import open_store

app = typer.Typer()

DAY = {"formats": ["%Y-%m-%d"], "metavar": "YYYY-MM-DD"}


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The new project's name.")],
    path: Annotated[
        str, typer.Option("--from", metavar="PATH", help="The data: a folder, a table, s3://bucket/prefix.")
    ],
    label: Annotated[str | None, typer.Option(help="The column with the label, if it cannot be told.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of a project of that name.")] = False,
) -> None:
    """Look at data and write a project for it, ready to run."""
    from tasks.platform.init import init_project

    made = init_project(name, path, label=label, force=force, say=lambda line: out.print(f"  {line}", markup=False))
    for file in made.files:
        out.print(f"wrote {file}", markup=False)
    for note in made.notes:
        out.print(f"note: {note}", markup=False)
    out.print(f"Next: {made.next}", markup=False)


@app.command()
def backfill(
    project: ProjectName,
    first: Annotated[datetime | None, typer.Option("--from", help="Default: the source's first.", **DAY)] = None,
    last: Annotated[datetime | None, typer.Option("--to", help="Included; default: its last.", **DAY)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and why; run nothing.")] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Airflow.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a range of dates through the features pipeline again; what is unchanged is a HIT."""
    from dataclasses import asdict

    from tasks.platform import backfill as work

    spec = load_project(project)
    dates = work.dates_between(spec, first and first.date(), last and last.date())
    if dry_run:
        for day in work.plan(spec, dates, settings()):
            print(json.dumps(asdict(day))) if as_json else out.print(f"  {day}", markup=False)
    elif local:
        from tasks.platform.quiet import chatter_to

        run_id = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        made = []
        with chatter_to(settings().home / "logs" / "run.log") as terminal:
            live = Console(file=terminal, highlight=False, soft_wrap=True, quiet=as_json)
            for manifest in work.backfill_here(spec, dates, run_id):
                live.print(f"  {manifest.line()}", markup=False)
                made.append(json.loads(manifest.to_json()))
        if as_json:
            print(json.dumps(made, indent=2))
    else:
        work.backfill_through_airflow(spec, dates, settings(), lambda line: out.print(f"  {line}", markup=False))


@app.command()
def quarantine(project: ProjectName, partition: str, as_json: AsJson = False) -> None:
    """Show the rows of a partition that were refused: which, why, and the command that replays them."""
    from tasks.data.quarantine import quarantine_path

    path = quarantine_path(load_project(project).name, partition)
    try:
        lines = open_store(settings().store_uri).read_bytes(path).decode()
    except FileNotFoundError:
        fix = f"Run: updraft backfill {project} --from {partition} --to {partition} --local"
        raise BadInput(f"{project}: partition {partition} has not been validated.", fix) from None
    if as_json:
        return print(lines, end="")
    rejected = [json.loads(line) for line in lines.split("\n") if line]
    for item in rejected:
        detail = f" ({item['detail']})" if item.get("detail") else ""
        out.print(f"  row {item['row']['row_id']} {item['row']['entity']}: {item['reason']}{detail}", markup=False)
    out.print(f"{len(rejected)} rows." + (f" After a fix: {rejected[0]['replay']}" if rejected else ""), markup=False)


@app.command()
def lookup(project: ProjectName, entities: list[str]) -> None:
    """Show entities' features as the online store has them now, as JSON."""
    from tasks.features.lookup import look_up

    for entity, found in zip(entities, look_up(load_project(project), entities), strict=True):
        values = found and {group: None if v is None else v.tolist() for group, v in found.values.items()}
        known = (
            {"event_time": found.event_time.isoformat(), "expired": found.expired, "values": values} if found else {}
        )
        print(json.dumps({"entity": entity, "found": found is not None, **known}, ensure_ascii=False))
