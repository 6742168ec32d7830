"""``updraft models``: versions of a project's model, and which one is champion."""

import json
import time
from typing import Annotated, Any

import typer

from tasks.cli import transfer
from tasks.cli.shared import AsJson, ProjectName, out, registry, user
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.registry import CHAMPION
from tasks.core.settings import settings
from tasks.core.store import open_store

app = typer.Typer(no_args_is_help=True, help="Versions of a project's model, and which one is champion.")
app.registered_commands += transfer.app.registered_commands

Number = Annotated[int, typer.Argument(metavar="VERSION", help="As updraft models list numbers them.")]
Alias = Annotated[str, typer.Option(metavar="NAME", help="Which alias moves: champion, challenger, one of yours.")]


@app.command("list")
def list_models(project: ProjectName, as_json: AsJson = False) -> None:
    """List the versions of a project's model, and the aliases that point to them."""
    from tasks.cli import model_tables

    spec, books = load_project(project), registry()
    versions, aliases = books.versions(project), books.aliases(project)
    if as_json:
        for version in versions:
            found, names = version.measured, [name for name, number in aliases.items() if number == version.version]
            row = {"version": version.version, "aliases": names, "champion": CHAMPION in names, "key": version.key}
            row |= {"form": version.details.get("form"), "run_id": version.details.get("run_id"), "at": str(version.at)}
            row |= {spec.score: found["metrics"].get(spec.score), "interval": found["intervals"].get(spec.score)}
            print(json.dumps(row))
    elif versions:
        out.print(model_tables.versions(versions, aliases, spec.score))
    else:
        out.print(f"{project} has no version yet. Train one: updraft run {project}")


@app.command()
def show(
    project: ProjectName,
    version: Number,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="And what it was made from, back to the raw data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a version: measures, gates, package, libraries; with --lineage what it was made from."""
    from tasks.cli import model_tables
    from tasks.core.lineage import lineage as trace

    books, name = registry(), load_project(project).name
    found = books.version(name, version)
    names = [alias for alias, number in books.aliases(name).items() if number == version]
    manifests = trace(open_store(settings().store_uri), found.package) if lineage else []
    if as_json:
        row: dict[str, Any] = {"version": version, "aliases": names, "key": found.key, "package": found.package}
        made = {"lineage": [json.loads(manifest.to_json()) for manifest in manifests]} if lineage else {}
        return print(json.dumps({**row, "at": str(found.at), **found.details, **made}, indent=2))
    for part in model_tables.version(found, names):
        out.print(part, markup=False)
    if lineage:
        for part in model_tables.lineage(manifests):
            out.print(part, markup=False)


@app.command()
def diff(project: ProjectName, version: Number, other: Number, as_json: AsJson = False) -> None:
    """Show what differs between two versions: measures, params, data, features, libraries, gates."""
    from tasks.cli import model_tables
    from tasks.core.lineage import lineage
    from tasks.deployment.compare import differences

    books, name, store = registry(), load_project(project).name, open_store(settings().store_uri)
    pairs = [(found, lineage(store, found.package)) for found in (books.version(name, n) for n in (version, other))]
    found = differences(*pairs[0], *pairs[1])
    if as_json:
        return print(json.dumps(found, indent=2))
    for part in model_tables.differences(found):
        out.print(part, markup=False)


@app.command()
def promote(
    project: ProjectName,
    version: Number,
    why: Annotated[str, typer.Option(help="The reason; the audit log keeps it.")],
    alias: Alias = CHAMPION,
) -> None:
    """Make a version the champion (or point another alias to it), and wait until the endpoint answers with it."""
    from tasks.deployment.promote import promote as move

    _check_alias(alias)
    name, started = load_project(project).name, time.monotonic()
    before = move(registry(), open_store(settings().store_uri), name, version, who=user(), why=why, alias=alias)
    out.print(f"{name}: {alias} is version {version} (before: {before or 'none'})")
    if alias == CHAMPION:
        _follow(name, version, started)


@app.command()
def rollback(
    project: ProjectName,
    why: Annotated[str, typer.Option(help="The reason; the audit log keeps it.")] = "",
) -> None:
    """Make the previous champion the champion again, and wait until the endpoint answers with it."""
    from tasks.deployment.promote import rollback as move

    name, started = load_project(project).name, time.monotonic()
    champion, before = move(registry(), open_store(settings().store_uri), name, who=user(), why=why)
    out.print(f"{name}: champion is version {champion} (before: {before})")
    _follow(name, champion, started)


@app.command()
def withdraw(
    project: ProjectName,
    why: Annotated[str, typer.Option(help="The reason; the audit log keeps it.")],
) -> None:
    """End the trial of a challenger (shadow or canary) at once: the champion answers alone."""
    from tasks.deployment.promote import withdraw as end

    name = load_project(project).name
    out.print(f"{name}: version {end(registry(), name, who=user(), why=why)} is tried no longer")


def _follow(project: str, version: int, started: float) -> None:
    from tasks.deployment.endpoint import await_endpoint

    told = await_endpoint(registry(), project, version)
    out.print(f"{told} ({time.monotonic() - started:.1f} s after the command began)")


def _check_alias(alias: str) -> None:
    if not alias.isidentifier() or len(alias) > 40:
        raise BadInput(f"--alias {alias}: not a name.", "Give letters, digits and underscores: champion, challenger.")
