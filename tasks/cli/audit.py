"""``updraft audit``: who decided what, when, why and from which run."""

import json
from typing import Annotated, Any

import typer

from tasks.cli.shared import AsJson, out, registry
from tasks.core.config import load_project

app = typer.Typer()


@app.command()
def audit(
    project: Annotated[str | None, typer.Argument(help="Default: all projects.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check that nobody has changed the log.")] = False,
    noted: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="A digest that --verify told once; it must still be there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the audit log, oldest first, or check that it is whole."""
    books = registry()
    if verify or noted:
        count, last = books.verify_audit(noted)
        told = {"rows": count, "digest": last}
        line = f"{count} rows, each of which names the one before it. Digest of the last: {last}"
        return print(json.dumps(told)) if as_json else out.print(line)
    rows = books.audit_log(load_project(project).name if project else None)
    if not rows and not as_json:
        out.print("Nothing has been decided yet.")
    for row in rows:
        print(json.dumps({**row, "at": str(row["at"])})) if as_json else out.print(_line(row), markup=False)


def _line(row: Any) -> str:
    details = {name: value for name, value in row["details"].items() if name != "why"}
    what = ", ".join(f"{name} {_short(value)}" for name, value in details.items())
    run = f" [run {row['run_id']}]" if row["run_id"] else ""
    why = f": {row['details']['why']}" if row["details"].get("why") else ""
    return f"{row['at']:%F %T}  {row['project']}  {row['who']}  {row['action']} ({what}){why}{run}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
