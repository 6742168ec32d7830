"""Commands about the platform itself: start, stop, look, and the first run."""

import json
from typing import Annotated

import typer
from rich.markup import escape

from tasks.cli.shared import AsJson, out, refuse_unless_promoted
from tasks.core.config import load_project
from tasks.core.settings import settings

app = typer.Typer()


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
        verdict = "[green]ok   [/]" if check.ok else "[red]FAULT[/]"
        out.print(f"{verdict} {check.name}: {escape(check.message)}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(project: Annotated[str, typer.Argument()] = "digits") -> None:
    """Start the platform and take the sample project all the way to a live endpoint that is put to the test."""
    from tasks.platform import services
    from tasks.platform.demo import check_key, pipeline_through_airflow, question_endpoint
    from tasks.platform.environment import serving_url
    from tasks.platform.local import land_sample

    spec = load_project(project)
    _step("Starting Airflow and the endpoint")
    services.up(settings(), lambda name, what: out.print(f"  {name}: {what}"))
    check_key(project, settings())
    _step(f"Landing the data of {project}")
    land_sample(spec)
    out.print(f"  {spec.source.folder}")
    _step(f"Backfilling {project}_features, then running {project}_train")
    summary = pipeline_through_airflow(spec, settings(), lambda line: out.print(f"  {line}", markup=False))
    _step("Asking the live endpoint about the held-out rows")
    held = question_endpoint(spec, summary, settings())
    out.print(f"  {held.verdict}")
    summary.show(out)
    _addresses()
    key = '-H "authorization: Bearer $UPDRAFT_API_KEY" ' * bool(settings().api_key.get_secret_value())
    print(f"Try it:    curl -s {key}{held.sample} {serving_url(settings())}/v1/{project}/predict")
    refuse_unless_promoted(summary.manifests)


def _step(text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _addresses() -> None:
    from tasks.platform.environment import ADMIN, admin_password, airflow_url, serving_url

    out.print(f"Airflow:   {airflow_url(settings())}  (user {ADMIN}, password {admin_password(settings())})")
    out.print(f"Endpoint:  {serving_url(settings())}")
