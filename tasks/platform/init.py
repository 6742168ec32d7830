"""``updraft init``: a project's files, drafted from its data.

The spec and the expectation suite are a person's to edit from then on. The Feast definitions follow from the spec, so
they are three lines that never need an edit; they stand in a folder per project, as Feast's own tools want them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from tasks.core.config import expectations_path, load_project
from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.spec import Expectation

_WIDTH = 110
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class _Dumper(yaml.SafeDumper):
    """Keeps every text on one line."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"'),
)


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        files: spec, expectation suite and Feast definitions.
        notes: what was seen in the data that the person should know.
        next: the command to run now.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    next: str


def init_project(
    name: str,
    path: str,
    *,
    label: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Made:
    """Looks at the data and writes ``projects/NAME.yaml``, its expectation suite and its Feast definitions.

    Args:
        path: a folder, ``s3://bucket/prefix``, or one table in either.
        label: the label's column, where its name does not say so.
        force: replace files that are there.
        say: told about progress.

    Raises:
        BadInput: the name cannot be used, a file is there already, or nothing can be learned from the data.
    """
    from tasks.data.expectations import suite_json
    from tasks.data.infer import infer

    files = _files(name)
    _check_name(name, files, force)
    draft = infer(path, label=label, today=datetime.now(UTC).date(), say=say)
    header = f"Drafted from {draft.values['source']['uri']} by `updraft init`; yours to edit."
    rules = [Expectation(**rule) for rule in draft.expectations]
    texts = (spec_yaml({"name": name, **draft.values}, draft.comments, header), suite_json(name, rules), _feast(name))
    _write(dict(zip(files, texts, strict=True)))
    load_project(name)
    return Made(files, tuple(draft.notes), f"updraft run {name}")


def spec_yaml(values: Mapping[str, Any], comments: Mapping[str, str], header: str) -> str:
    """The spec as a person would write it: short things on one line, a blank line between sections.

    Args:
        comments: field to what stands above it.
    """
    lines = [*_comment(header)]
    for field, value in values.items():
        block = list(_block(field, value, 0))
        if len(block) > 1 or isinstance(value, dict):
            lines.append("")
        lines += [*_comment(comments.get(field, "")), *block]
    return "\n".join(lines) + "\n"


def _files(name: str) -> tuple[Path, ...]:
    projects = settings().projects
    return (
        projects / f"{name}.yaml",
        expectations_path(name),
        projects.parent / "feature_repo" / name / f"{name}_features.py",
    )


def _check_name(name: str, files: tuple[Path, ...], force: bool) -> None:
    if not _NAME.fullmatch(name):
        fix = "Use lower-case letters, digits and underscores, a letter first, 40 characters at most."
        raise BadInput(f"{name!r} cannot be the name of a project.", fix)
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise BadInput(f"{', '.join(there)}: there already.", "Choose another name, or replace it with --force.")


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            fix = "Make its folder writable, or name another one with UPDRAFT_PROJECTS."
            raise BadInput(f"{path} cannot be written: {error.strerror}.", fix) from None


def _feast(name: str) -> str:
    return f'''"""Feast's objects of {name}, for Feast's own tools; made by `updraft init`, they follow the spec."""

from feature_repo.definitions import define
from feature_repo.names import offline_folder
from tasks.core.config import load_project
from tasks.core.settings import settings

spec = load_project("{name}")
definitions = define(spec, f"{{settings().store_uri}}/{{offline_folder(spec)}}/date=*.parquet")
entity, source, service = definitions.entity, definitions.source, definitions.service
features, inputs = definitions.views
'''


def _block(field: str, value: Any, indent: int) -> Iterator[str]:
    """A field: on one line if it is short and plain, else its entries below it."""
    margin, key = " " * indent, _flow(field)
    line = f"{margin}{key}: {_flow(value)}"
    if _is_short(value, line, indent):
        yield line
    elif isinstance(value, dict):
        yield f"{margin}{key}:"
        for name, item in value.items():
            yield from _block(name, item, indent + 2)
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        yield f"{margin}{key}:"
        for item in value:
            yield from _entry(item, indent + 2)
    else:
        yield from _filled(f"{margin}{key}: [", value)


def _is_short(value: Any, line: str, indent: int) -> bool:
    """Whether a field is best on one line; parts with parts of their own, and sections with many fields, are not."""
    if not isinstance(value, dict | list):
        return True
    members = value.values() if isinstance(value, dict) else value
    many = isinstance(value, dict) and indent == 0 and len(value) > 4
    return len(line) <= _WIDTH and not many and not any(isinstance(member, dict) for member in members)


def _entry(item: Mapping[str, Any], indent: int) -> Iterator[str]:
    """A mapping in a list: on one line, or a line for each of its fields."""
    line = f"{' ' * indent}- {_flow(item)}"
    if len(line) <= _WIDTH:
        yield line
        return
    lines = [line for name, value in item.items() for line in _block(name, value, indent + 2)]
    yield f"{' ' * indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _filled(start: str, items: Sequence[Any]) -> Iterator[str]:
    """A long list, as many of its items on each line as there is room for."""
    line = start
    for number, item in enumerate(items):
        text = _flow(item) + ("]" if number == len(items) - 1 else ",")
        if len(line) + len(text) > _WIDTH and line != start:
            yield line.rstrip()
            line = " " * len(start)
        line += f"{text} "
    yield line.rstrip()


def _flow(value: Any) -> str:
    """In YAML's flow style, on one line."""
    text = yaml.dump(value, None, _Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str) -> list[str]:
    """As YAML comments; what YAML cannot hold in one shows as a question mark."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return [f"# {line}" for line in wrap(shown, _WIDTH)]
