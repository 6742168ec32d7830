"""Writes the pages of ``docs/`` that follow from the code; ``make docs`` runs it, a test compares."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from tasks.cli import app
from tasks.core.settings import Settings
from tasks.core.spec import Project

HERE = Path(__file__).parent
NOTE = "<!-- Made by `make docs` from the code. Edit the docstrings there, not this page. -->\n"


def pages() -> dict[str, str]:
    """Path below ``docs/`` to content."""
    schema = Project.model_json_schema()
    return {
        "spec.schema.json": json.dumps(schema, indent=2) + "\n",
        "spec.md": f"{NOTE}\n# The project spec\n\n{schema['description']}\n{_section(schema)}"
        + "".join(f"\n## {name}\n\n{d['description']}\n{_section(d)}" for name, d in schema["$defs"].items()),
        "settings.md": _settings(),
        "commands.md": _commands(),
    }


def _section(schema: dict[str, Any]) -> str:
    rows = [
        f"| `{field}` | {_type(value)} | {_default(schema, field)} | {_cell(value.get('description', ''))} |"
        for field, value in schema["properties"].items()
    ]
    return "\n| field | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """A row of a table is one line; the bar would end a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value or "const" in value:
        return " or ".join(f"`{choice}`" for choice in value.get("enum", [value.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in value:
            return " or ".join(_type(one) for one in value[key])
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    return value.get("type", "any")


def _default(schema: dict[str, Any], field: str) -> str:
    value = schema["properties"][field]
    if field in schema.get("required", ()):
        return "required"
    return "" if isinstance(value.get("default"), dict) else f"`{json.dumps(value.get('default'))}`"


def _commands() -> str:
    lines = [
        f"{NOTE}\n# Commands\n\n`updraft COMMAND --help` tells the options.\n\n| command | what it does |\n|---|---|"
    ]
    for name, command in sorted(_flat(typer.main.get_command(app), "updraft")):
        lines.append(f"| `{name}` | {command.get_short_help_str(200)} |")
    return "\n".join(lines) + "\n"


def _flat(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
    for inner, found in getattr(command, "commands", {}).items():
        yield from _flat(found, f"{name} {inner}")


def _settings() -> str:
    rows = [
        f"| `UPDRAFT_{name.upper()}` | {_cell(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return (
        f"{NOTE}\n# Settings\n\nEnvironment variables.\n\n| variable | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    for path, content in pages().items():
        (HERE / path).write_text(content, encoding="utf-8")
