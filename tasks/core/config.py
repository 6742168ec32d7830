"""Reading a project's YAML file, changing fields of it for one run, and saying what is wrong with it."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.spec import Project, Section


class _Loader(yaml.SafeLoader):
    """YAML with the booleans of version 1.2: on, off, yes and no are words, as keys (``on: faint``) and as classes."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"])


def read_yaml(text: str) -> Any:
    """The value that a spec's text, or a ``--set``, stands for.

    Raises:
        yaml.YAMLError: it is not readable as YAML.
    """
    return yaml.load(text, _Loader)


def load_project(name: str, overrides: Mapping[str, Any] | None = None) -> Project:
    """Reads and checks ``projects/<name>.yaml``.

    Args:
        name: the project's name.
        overrides: dotted field to value, for one run.

    Raises:
        BadInput: no such project, broken YAML, an unknown key or a refused value; the message names file and field.
    """
    path = settings().projects / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(project_names()) or "none"
        raise BadInput(
            f"There is no project {name!r}: {path} does not exist.", f"Use one of: {known}; or write that file."
        )
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = getattr(error, "problem", None) or error
        raise BadInput(f"{path}{line}: not readable as YAML: {problem}.", "Correct that line.") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path}: a project is a mapping of fields to values.", "Start from projects/digits.yaml.")
    project = _validate(_with_expectations(path, values), str(path))
    if project.name != name:
        raise BadInput(f"{path}: name is {project.name!r}.", f"Set `name: {name}`, or rename the file.")
    return replace(project, overrides) if overrides else project


def expectations_path(name: str) -> Path:
    """Where a project's suite stands, beside its YAML file."""
    return settings().projects / f"{name}.expectations.json"


def replace(project: Project, overrides: Mapping[str, Any]) -> Project:
    """The project with dotted fields changed and everything checked again.

    Raises:
        BadInput: a path names no field, or a value is refused.
    """
    values = project.model_dump(mode="json")
    for path, value in overrides.items():
        *parents, last = path.split(".")
        node: Any = values
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise BadInput(f"--set {path}: the spec has no such field.", _fields_hint(parents[0]))
        node[last] = value
    return _validate(values, f"project {project.name} with --set")


def project_names() -> list[str]:
    """Names of the projects that have a file, sorted."""
    return sorted(path.stem for path in settings().projects.glob("*.yaml"))


def sound_projects() -> Iterator[Project]:
    """Every project whose spec is sound, so that one broken file does not take the others down."""
    for name in project_names():
        with suppress(BadInput):
            yield load_project(name)


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """Turns ``["training.ranks=2"]`` into ``{"training.ranks": 2}``; values are read as YAML."""
    result = {}
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise BadInput(f"--set {assignment}: not of the form FIELD=VALUE.", "For example --set training.ranks=2")
        try:
            result[path] = read_yaml(value)
        except yaml.YAMLError:
            raise BadInput(f"--set {assignment}: the value is not readable as YAML.", "Quote it.") from None
    return result


def _with_expectations(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The values with the suite beside the file put in; neither is changed."""
    suite = expectations_path(path.stem)
    if not suite.is_file() or not isinstance(values.get("validation", {}), dict):
        return values
    try:
        rules = json.loads(suite.read_text(encoding="utf-8"))["expectations"]
    except (ValueError, KeyError, TypeError) as error:
        fix = 'It is JSON: {"name": ..., "expectations": [{"type": ..., "kwargs": {...}, "meta": {"reason": ...}}]}.'
        raise BadInput(f"{suite}: not readable as an expectation suite: {error}.", fix) from None
    return {**values, "validation": {**values.get("validation", {}), "expectations": rules}}


def _validate(values: Mapping[str, Any], where: str) -> Project:
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item, values) for item in error.errors()]
        raise BadInput(f"{where}:\n" + "\n".join(f"  {line}" for line in lines), "Correct the named fields.") from None


def _explain(item: Mapping[str, Any], values: Any) -> str:
    field = ".".join(str(part) for part in item["loc"]) or "(project)"
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown key.{_did_you_mean(item['loc'])}"
    message = item["msg"].removeprefix("Value error, ")
    given = item.get("input")
    shown = "" if isinstance(given, dict | list | BaseModel) or item["type"] == "missing" else f" (given: {given!r})"
    return f"{field}: {message}{shown}"


def _did_you_mean(loc: tuple[Any, ...]) -> str:
    sections = [Project] if len(loc) == 1 else _kinds(Section)
    known = {name for section in sections for name in section.model_fields}
    close = difflib.get_close_matches(str(loc[-1]), sorted(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _kinds(section: type[Section]) -> list[type[Section]]:
    return [kind for child in section.__subclasses__() for kind in (child, *_kinds(child))]


def _fields_hint(section: str) -> str:
    close = difflib.get_close_matches(section, list(Project.model_fields), n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Fields: {', '.join(Project.model_fields)}."
