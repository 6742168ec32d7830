"""``updraft keys``: who may ask the endpoint, and for what."""

import getpass
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from tasks.cli.shared import AsJson, err, out, registry
from tasks.core.config import project_names
from tasks.core.errors import BadInput
from tasks.core.keys import ALL, SCOPES, digest_of, new_key
from tasks.core.registry import ApiKey

app = typer.Typer(no_args_is_help=True, help="Who may ask the endpoint, and for what.")

_USUAL = ["predict", "feedback"]
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; messages and the log name it.")],
    project: Annotated[str, typer.Option(help="The project it is for; * for all.")] = ALL,
    scope: Annotated[list[str], typer.Option(help=f"What it may do: {', '.join(SCOPES)}. Repeat for more.")] = _USUAL,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Requests a minute. Default: any number.")] = None,
    expires: Annotated[str, typer.Option(metavar="90d", help="Days or hours after which it ends, 90d or 12h.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once: only its digest is kept. Running endpoints know it within seconds."""
    _check(name, project, scope)
    key, until = new_key(), _until(expires)
    asked: dict[str, Any] = {"name": name, "project": project, "scopes": sorted(set(scope), key=SCOPES.index)}
    made = registry().add_key(
        **asked, digest=digest_of(key.encode()), who=getpass.getuser(), per_minute=per_minute, expires_at=until
    )
    if as_json:
        return print(json.dumps({**_row(made), "key": key}))
    print(key)  # alone on stdout, for KEY=$(updraft keys create ...)
    err.print(f"Key {made.id}, {_words(made)}. It is shown this once; send it as Authorization: Bearer <key>.")


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, those that ended included; never the keys themselves."""
    found = registry().keys()
    if as_json:
        return print(json.dumps([_row(key) for key in found], indent=2))
    if not found:
        out.print("There is no key yet. Make one: updraft keys create NAME")
    for key in found:
        out.print(f"{key.id:4}  {_state(key):8}  {key.name:20}  {_words(key)}", markup=False)


@app.command()
def revoke(number: Annotated[int, typer.Argument(metavar="ID", help="Its number: updraft keys list.")]) -> None:
    """End a key for good. Running endpoints refuse it within seconds."""
    ended = registry().revoke_key(number, getpass.getuser())
    out.print(f"Key {ended.id} ({ended.name}) is revoked.", markup=False)


def _check(name: str, project: str, scopes: list[str]) -> None:
    if not re.fullmatch(r"[\w.@ -]{1,100}", name):
        raise BadInput(f"{name!r} is no name of a key.", "Use 1 to 100 letters, digits, spaces, and any of . _ @ -")
    if project != ALL and project not in project_names():
        raise BadInput(f"There is no project {project!r}.", f"Use one of: {', '.join([*project_names(), ALL])}.")
    other = [scope for scope in scopes if scope not in SCOPES]
    if other:
        raise BadInput(f"--scope {other[0]}: there is no such scope.", f"Use one or more of: {', '.join(SCOPES)}.")


def _until(span: str) -> datetime | None:
    if not span:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})([hd])", span)
    if not found:
        raise BadInput(f"--expires {span}: this is no span of time.", "Use days or hours, as in 90d or 12h.")
    return datetime.now(UTC).replace(tzinfo=None) + int(found[1]) * _UNITS[found[2]]


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    ended = key.expires_at is not None and key.expires_at <= datetime.now(UTC).replace(tzinfo=None)
    return "expired" if ended else "valid"


def _words(key: ApiKey) -> str:
    rate = f", {key.per_minute} requests a minute" if key.per_minute else ""
    until = f", until {key.expires_at:%F %H:%M} UTC" if key.expires_at else ""
    return f"{', '.join(key.scopes)} on {'all projects' if key.project == ALL else key.project}{rate}{until}"


def _row(key: ApiKey) -> dict[str, Any]:
    shown = ("id", "name", "project", "scopes", "per_minute", "created_at", "expires_at", "revoked_at")
    values = {name: getattr(key, name) for name in shown}
    times = {name: f"{at:%FT%TZ}" for name, at in values.items() if isinstance(at, datetime)}
    return {**values, **times, "state": _state(key)}
