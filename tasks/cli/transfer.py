"""``updraft models export`` and ``import``: a version as one file."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli.shared import ProjectName, out, registry, user
from tasks.core.config import load_project
from tasks.core.settings import settings
from tasks.core.store import open_store

app = typer.Typer()


@app.command("export")
def export_model(
    project: ProjectName,
    version: Annotated[int, typer.Argument(metavar="VERSION")],
    file: Annotated[Path | None, typer.Argument(help="Default: PROJECT-VERSION.zip here.")] = None,
) -> None:
    """Write a version to one file: package, model card, measures, lineage."""
    from tasks.deployment.transfer import export_version

    books, name = registry(), load_project(project).name
    target = file or Path(f"{name}-{version}.zip")
    moved = export_version(books, open_store(settings().store_uri), books.version(name, version), target, who=user())
    out.print(f"{target}: {name} version {version}, {target.stat().st_size:,} bytes, digest {moved.digest}")


@app.command("import")
def import_model(file: Path) -> None:
    """Register the version that a file holds; it gets the next number, and becomes nobody's champion."""
    from tasks.deployment.transfer import import_version

    moved = import_version(registry(), open_store(settings().store_uri), file, who=user())
    project, number = moved.version.project, moved.version.version
    here = f"is version {number} here" if moved.is_new else f"was here already, as version {number}"
    out.print(f"{project} version {moved.origin} {here}; digest {moved.digest}")
    out.print(f"To make it champion: updraft models promote {project} {number} --why ...", markup=False)
