"""``docstrings``: which library a docstring was written for: 3,000 real ones of five installed packages.

They are read from the packages' source files, which are parsed and not imported, and land as JSON lines in 6 days. The
installed versions are those of the lock, so the texts are the same on every machine. Ten more rows are dirty on
purpose.
"""

import ast
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.artifacts import digest_bytes
from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.data.sample_drops import deal, times

DAYS = 6
"""Daily drops."""

LIBRARIES: Mapping[str, str] = {
    "keras": "keras",
    "numpy": "numpy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "sqlalchemy": "sqlalchemy",
}
"""Label to the package that is read."""

PER_LIBRARY = 600
"""Docstrings taken of each, at most."""

DIRT: Mapping[int, tuple[str, ...]] = {
    0: ("null_text", "cut_line"),
    1: ("unknown_label", "repeated"),
    2: ("wrong_type",),
    3: ("bad_event_time", "cut_line"),
    4: ("too_short", "null_label"),
    5: ("unknown_label",),
}
"""Day (from 0) to the dirty rows added to it."""

_CHARACTERS = range(40, 601)
"""Shorter docstrings say too little; longer ones are cut."""

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Row = dict[str, Any]
"""One line of a drop."""


def land(spec: Project, folder: Path) -> None:
    """Writes the drops into ``folder``.

    Raises:
        BadInput: a package is not installed.
    """
    found: dict[str, Row] = {}
    for label, package in LIBRARIES.items():
        found |= _docstrings(label, package, taken=found)
    rows = list(found.values())
    for position, (day, numbers) in enumerate(deal([row["id"] for row in rows], spec.start, DAYS)):
        moments = zip(numbers, times(day, len(numbers)), strict=True)
        lines = [json.dumps({**rows[number], "event_time": moment}, ensure_ascii=False) for number, moment in moments]
        for kind in DIRT[position]:
            lines.append(_dirty_line(kind, lines))
        drop = folder / f"date={day}"
        drop.mkdir(parents=True)
        (drop / "docstrings.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _docstrings(label: str, package: str, taken: Mapping[str, Row]) -> dict[str, Row]:
    """Text to row, of one library; a text that another one has too is left out."""
    root = _root(package)
    files = (path.relative_to(root) for path in root.rglob("*.py"))
    names = sorted((name.as_posix() for name in files if not {"tests", "testing"} & set(name.parts)), key=_digest)
    rows: dict[str, Row] = {}
    for name in names:
        for node in ast.walk(ast.parse((root / name).read_text(encoding="utf-8"))):
            if len(rows) == PER_LIBRARY:
                return rows
            if isinstance(node, _Definition) and (text := _text(node)) and text not in taken and text not in rows:
                rows[text] = _row(f"{package}/{name}:{node.lineno}", label, text, node)
    return rows


def _row(entity: str, label: str, text: str, node: _Definition) -> Row:
    arguments = None
    if not isinstance(node, ast.ClassDef):
        arguments = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
    return {
        "id": entity,
        "library": label,
        "text": text,
        "kind": "class" if arguments is None else "function",
        "arguments": arguments,
        "decorated": bool(node.decorator_list),
    }


def _text(node: _Definition) -> str | None:
    text = " ".join((ast.get_docstring(node) or "").split())[: _CHARACTERS.stop - 1]
    return text if len(text) >= _CHARACTERS.start else None


def _dirty_line(kind: str, lines: list[str]) -> str:
    """One more line for ``lines`` with the wanted fault, and no other."""
    model = lines[10 + len(lines) % 50]
    if kind == "repeated":
        return model
    if kind == "cut_line":
        return model[: len(model) // 2]
    row = json.loads(model)
    changes: Mapping[str, Row] = {
        "null_text": {"text": None},
        "too_short": {"text": "Todo."},
        "unknown_label": {"library": "somewhere"},
        "null_label": {"library": None},
        "wrong_type": {"arguments": "many"},
        "bad_event_time": {"event_time": "last week"},
    }
    changed = {**row, "id": f"{kind}:{row['id']}", **changes[kind]}
    return json.dumps(changed, ensure_ascii=False)


def _root(package: str) -> Path:
    # Found, not imported: some take seconds.
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise BadInput(f"The sample docstrings needs the package {package}.", "Install it: make install")
    return Path(found.origin).parent


def _digest(text: str) -> str:
    return digest_bytes(text.encode())
