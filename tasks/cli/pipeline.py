"""Commands that run stages, and that ask what came of them."""

import csv
import json
import mimetypes
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tasks.cli.shared import AsJson, ProjectName, Sets, out, refuse_unless_promoted, registry, user
from tasks.core.config import load_project, parse_overrides
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.settings import settings

app = typer.Typer()


@app.command()
def run(
    project: ProjectName,
    sets: Sets = [],  # noqa: B006
    force: bool = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Say yes to a candidate that passes, where the spec asks a person.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run every stage in this one process, without Airflow."""
    from tasks.platform.local import run_project
    from tasks.platform.quiet import chatter_to
    from tasks.platform.summary import Summary

    overrides = parse_overrides(sets)
    load_project(project, overrides)
    with chatter_to(settings().home / "logs" / "run.log") as terminal:
        live = Console(file=terminal, highlight=False, soft_wrap=True, quiet=as_json)
        manifests = run_project(
            project,
            overrides=overrides,
            run_id=f"local-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            force=force,
            approved_by=user() if approve else None,
            starting=lambda step: live.print(f"  {step} ...", end="\r") if live.is_terminal else None,
            finished=lambda manifest: live.print(f"  {manifest.line()}", markup=False),
        )
    if as_json:
        print(json.dumps([json.loads(m.to_json()) for made in manifests.values() for m in made], indent=2))
    else:
        Summary(manifests, registry().alias(project)).show(out)
    refuse_unless_promoted(manifests)


@app.command()
def reproduce(
    card: Annotated[str, typer.Argument(metavar="CARD", help="A card.json: a file, or its path in the store.")],
    as_json: AsJson = False,
) -> None:
    """Make the model of a model card again, as far as it does not stand, and compare the digests. Promotes nothing."""
    from tasks.platform.quiet import chatter_to
    from tasks.platform.reproduce import other_libraries, read_card
    from tasks.platform.reproduce import reproduce as make_again

    facts = read_card(card)
    with chatter_to(settings().home / "logs" / "run.log") as terminal:
        live = Console(file=terminal, highlight=False, soft_wrap=True, quiet=as_json)
        run_id = f"reproduce-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        found = make_again(facts, run_id=run_id, finished=lambda made: live.print(f"  {made.line()}", markup=False))
    if as_json:
        print(json.dumps([{**vars(each), "same": each.same} for each in found], indent=2))
    else:
        for each in found:
            verdict = "[green]same[/]" if each.same else f"[red]other[/]: so is {each.why}"
            out.print(f"{each.name:24} {each.then[:12]} {each.now[:12]} {verdict}")
        for library in other_libraries(facts):
            out.print(f"note: made with {library}", markup=False)
        if "told" in facts["study"]:
            out.print(f"The study's {facts['study']['trials']} trials are the card's: they were not run again.")
    others = [each.name for each in found if not each.same]
    if others:
        fix = "Use the code and the libraries that the card names; where the source changed, its old state."
        raise UpdraftError(f"{len(others)} of {len(found)} digests differ, the first: {others[0]}.", fix)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(metavar="STAGE")],
    project: ProjectName,
    partition: str | None = None,
    sets: Sets = [],  # noqa: B006
    force: bool = False,
) -> None:
    """Run one stage on the artifacts that stand for its inputs, and print its manifest."""
    from tasks.core.pipeline import find_step, run_step

    step = find_step(name)
    standing = {source: registry().partitions(project, source) for source in step.inputs}
    for source, found in standing.items():
        if not found:
            raise BadInput(f"{project}: stage {source} has not run.", f"Run: updraft stage {source} {project}")
    inputs = {
        source: [found[partition]] if partition in found else list(found.values()) for source, found in standing.items()
    }
    manifest = run_step(name, project, inputs, partition=partition, overrides=parse_overrides(sets), force=force)
    print(manifest.to_json())


@app.command()
def predict(project: ProjectName, files: list[Path]) -> None:
    """Ask the live endpoint about files (images; rows as .json, .jsonl or .csv); print its JSON answer for each."""
    import httpx

    from tasks.platform.endpoint import check_allowed, endpoint_client

    client = endpoint_client(settings(), timeout=30)
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: there is no such file.", "Give the path of an image, or of a file with rows.")
        try:
            answer = client.post(f"/v1/{project}/predict", **_question(file))
        except ValueError as error:
            raise BadInput(f"{file}: not readable: {error}.", "Give JSON, JSON lines or CSV in UTF-8.") from None
        except httpx.HTTPError as error:
            raise UpdraftError(f"{client.base_url} does not answer: {error}.", "Start it: updraft up") from None
        check_allowed(answer)
        print(answer.text)
        if answer.is_error:
            raise typer.Exit(2 if answer.status_code < 500 else 1)


def _question(file: Path) -> dict[str, Any]:
    """The request that asks about a file."""
    suffix = file.suffix.lower()
    if suffix == ".json":
        value = json.loads(file.read_text(encoding="utf-8"))
        return {"json": value if isinstance(value, dict) and "instances" in value else {"instances": _listed(value)}}
    if suffix == ".jsonl":
        lines = file.read_text(encoding="utf-8").split("\n")
        return {"json": {"instances": [json.loads(line) for line in lines if line.strip()]}}
    if suffix == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as lines_of_csv:
            return {"json": {"instances": list(csv.DictReader(lines_of_csv))}}
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return {"content": file.read_bytes(), "headers": {"content-type": kind}}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
