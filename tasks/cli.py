"""``updraft``: the command line.

Exit codes: 0 done; 1 failed; 2 bad input (the message names the field or file, and the fix). Heavy libraries are
imported by the commands that need them, so that ``--help`` is quick.
"""

import json
import logging
import os
import shlex
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from tasks.core.artifacts import Manifest
from tasks.core.config import load_project, parse_overrides
from tasks.core.errors import BadInput, Refused, UpdraftError
from tasks.core.registry import Registry, Version
from tasks.core.settings import settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Deep learning from labelled data to a live endpoint.",
)
models = typer.Typer(no_args_is_help=True, help="Versions of a project's model, and which one is champion.")
app.add_typer(models, name="models")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

ProjectName = Annotated[str, typer.Argument(help="The project: a file projects/NAME.yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the spec.")]


@app.command()
def up() -> None:
    """Start Airflow and the endpoint in the background; safe to repeat."""
    from tasks.platform import services

    services.up(settings(), lambda name, what: out.print(f"  {name}: {what}"))
    _addresses()


@app.command()
def down() -> None:
    """Stop everything that `updraft up` started; leaves no process behind."""
    from tasks.platform import services

    stopped = services.down(settings(), lambda name, what: out.print(f"  {name}: {what}"))
    out.print(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how each part of the platform is."""
    from dataclasses import asdict

    from tasks.platform import services

    parts = services.status(settings())
    if as_json:
        return print(json.dumps([asdict(part) for part in parts], indent=2, default=str))
    for part in parts:
        how = "healthy" if part.healthy else "running, not healthy" if part.running else "stopped"
        where = f"port {part.port}, " if part.port else ""
        out.print(f"{part.name:22} {how:20} {where}log {part.log}")


@app.command()
def doctor() -> None:
    """Check this machine and this installation; name each fault and its fix."""
    from tasks.platform.doctor import diagnose

    checks = diagnose(settings())
    for check in checks:
        out.print(
            f"[{'green' if check.ok else 'red'}]{'ok' if check.ok else 'FAULT':5}[/] {check.name}: {check.message}"
        )
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def run(project: ProjectName, sets: Sets = [], force: bool = False, as_json: AsJson = False) -> None:  # noqa: B006
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
            starting=lambda step: live.print(f"  {step} ...", end="\r") if live.is_terminal else None,
            finished=lambda manifest: live.print(f"  {manifest.line()}", markup=False),
        )
    if as_json:
        print(json.dumps([json.loads(m.to_json()) for made in manifests.values() for m in made], indent=2))
    else:
        Summary(manifests, _registry().alias(project)).show(out)
    _refuse_unless_promoted(manifests["gate"][0])


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
    standing = {source: _registry().partitions(project, source) for source in step.inputs}
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
    """Ask the live endpoint about image files; print its JSON answer for each."""
    import mimetypes

    import httpx

    from tasks.platform.environment import serving_url

    url = f"{serving_url(settings())}/v1/{project}/predict"
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: there is no such file.", "Give the path of an image.")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        try:
            answer = httpx.post(url, content=file.read_bytes(), headers={"content-type": kind}, timeout=30)
        except httpx.HTTPError as error:
            raise UpdraftError(f"The endpoint {url} does not answer: {error}.", "Start it: updraft up") from None
        print(answer.text)
        if answer.is_error:
            raise typer.Exit(2 if answer.status_code < 500 else 1)


@app.command()
def demo(project: Annotated[str, typer.Argument()] = "digits") -> None:
    """Start the platform and take the sample project all the way to a live endpoint that is put to the test."""
    from tasks.platform import services
    from tasks.platform.demo import load_demo, pipeline_through_airflow, question_endpoint

    _step("Starting Airflow and the endpoint")
    services.up(settings(), lambda name, what: out.print(f"  {name}: {what}"))
    _step(f"Landing the data of {project}")
    spec = load_demo(project)
    out.print(f"  {spec.source.folder}")
    _step(f"Backfilling {project}_features, then running {project}_train")
    summary = pipeline_through_airflow(spec, settings(), lambda line: out.print(f"  {line}", markup=False))
    _step("Asking the live endpoint about the held-out rows")
    held = question_endpoint(spec, summary, settings())
    out.print(f"  {held.correct} of {held.rows} right")
    summary.show(out)
    _addresses()
    url = f"http://{settings().host}:{settings().serving_port}/v1/{project}/predict"
    print(f"Try it:    curl -s -H 'content-type: image/png' --data-binary @{shlex.quote(held.sample)} {url}")
    _refuse_unless_promoted(summary.manifests["gate"][0])


@models.command("list")
def list_models(project: ProjectName, as_json: AsJson = False) -> None:
    """List the versions of a project's model."""
    champion, versions = _registry().alias(load_project(project).name), _registry().versions(project)
    if not versions and not as_json:
        out.print(f"{project} has no version yet. Train one: updraft run {project}")
    for version in versions:
        accuracy = version.details["metrics"]["candidate"]["accuracy"]
        mark = " champion" if champion and champion.version == version.version else ""
        row = {"version": version.version, "accuracy": accuracy, "at": str(version.at), "champion": bool(mark)}
        print(json.dumps(row)) if as_json else out.print(
            f"{version.version:4}  {accuracy:.4f}  {version.at:%F %T}{mark}"
        )


@models.command()
def show(project: ProjectName, version: int) -> None:
    """Show a version's metrics, gates and package, as JSON."""
    found = _version(project, version)
    print(json.dumps({"version": found.version, "package": found.package, **found.details}, indent=2))


@models.command()
def promote(project: ProjectName, version: int) -> None:
    """Make a version the champion."""
    from tasks.deployment.promote import promote as move

    out.print(f"{project}: champion is now version {move(_registry(), project, version, _user()).version}")


@models.command()
def rollback(project: ProjectName) -> None:
    """Make the previous champion the champion again."""
    from tasks.deployment.promote import rollback as move

    out.print(f"{project}: champion is now version {move(_registry(), project, _user()).version}")


def main() -> None:
    """Runs the command line; the only place that turns errors into exit codes."""
    from tasks.platform.environment import ONE_THREAD, QUIET

    # The same arithmetic as in Airflow's tasks, so that both yield the same bits: before TensorFlow is imported.
    os.environ.update(QUIET | ONE_THREAD)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UpdraftError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _fail(_unexpected(error))


def _fail(error: UpdraftError) -> NoReturn:
    err.print("[red]error:[/]", end=" ")
    err.print(str(error), markup=False)
    sys.exit(error.exit_code)


def _unexpected(error: Exception) -> UpdraftError:
    """What to tell a person about a fault of ours; the stack trace goes to a file."""
    home = settings().home
    log = home / "logs" / "updraft.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError as fault:
        return BadInput(f"{home} cannot be written: {fault.strerror}.", "Set UPDRAFT_HOME to a folder that can be.")
    return UpdraftError(f"Unexpected: {type(error).__name__}: {error}.", f"Report it with the end of {log}.")


def _registry() -> Registry:
    return Registry(settings().registry_url)


def _version(project: str, number: int) -> Version:
    versions = {version.version: version for version in _registry().versions(load_project(project).name)}
    if number not in versions:
        raise BadInput(f"{project} has no version {number}.", f"Versions: {', '.join(map(str, versions)) or 'none'}.")
    return versions[number]


def _user() -> str:
    import getpass

    return getpass.getuser()


def _step(text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _addresses() -> None:
    from tasks.platform.environment import ADMIN, admin_password, airflow_url, serving_url

    out.print(f"Airflow:   {airflow_url(settings())}  (user {ADMIN}, password {admin_password(settings())})")
    out.print(f"Endpoint:  {serving_url(settings())}")


def _refuse_unless_promoted(gate: Manifest) -> None:
    if not gate.metrics["passed"]:
        failed = "; ".join(g["gate"] for g in gate.metrics["gates"] if not g["passed"])
        raise Refused(f"Not promoted: {failed}.", "The champion stays. See the gates above.")
