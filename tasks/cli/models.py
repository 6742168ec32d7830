"""``updraft models``: versions of a project's model, and which one is champion."""

import json

import typer

from tasks.cli.shared import AsJson, ProjectName, out, registry
from tasks.core.config import load_project
from tasks.core.errors import BadInput
from tasks.core.registry import Version

app = typer.Typer(no_args_is_help=True, help="Versions of a project's model, and which one is champion.")


@app.command("list")
def list_models(project: ProjectName, as_json: AsJson = False) -> None:
    """List the versions of a project's model."""
    spec, versions = load_project(project), registry().versions(project)
    champion = registry().alias(spec.name)
    if not versions and not as_json:
        out.print(f"{project} has no version yet. Train one: updraft run {project}")
    for version in versions:
        value = version.details["metrics"]["candidate"].get(spec.score)
        mark = " champion" if champion and champion.version == version.version else ""
        row = {"version": version.version, spec.score: value, "at": str(version.at), "champion": bool(mark)}
        print(json.dumps(row)) if as_json else out.print(
            f"{version.version:4}  {'-' if value is None else f'{value:.4f}'}  {version.at:%F %T}{mark}"
        )


@app.command()
def show(project: ProjectName, version: int) -> None:
    """Show a version's metrics, gates and package, as JSON."""
    found = _version(project, version)
    print(json.dumps({"version": found.version, "package": found.package, **found.details}, indent=2))


@app.command()
def promote(project: ProjectName, version: int) -> None:
    """Make a version the champion."""
    from tasks.deployment.promote import promote as move

    out.print(f"{project}: champion is now version {move(registry(), project, version, _user()).version}")


@app.command()
def rollback(project: ProjectName) -> None:
    """Make the previous champion the champion again."""
    from tasks.deployment.promote import rollback as move

    out.print(f"{project}: champion is now version {move(registry(), project, _user()).version}")


def _version(project: str, number: int) -> Version:
    versions = {version.version: version for version in registry().versions(load_project(project).name)}
    if number not in versions:
        raise BadInput(f"{project} has no version {number}.", f"Versions: {', '.join(map(str, versions)) or 'none'}.")
    return versions[number]


def _user() -> str:
    import getpass

    return getpass.getuser()
