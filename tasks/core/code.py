"""The code version: which code a stage runs, as a digest that changes when its behaviour may."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tasks.core.artifacts import digest_json
from tasks.core.settings import ROOT

_MACHINERY = {
    f"tasks.core.{name}"
    for name in ("artifacts", "code", "config", "digests", "errors", "pipeline", "registry", "s3", "settings", "stages")
} | {"tasks.core.store"}
"""Changing these does not change what a stage computes, so they are no part of a stage's code version."""


@lru_cache
def code_version(module: str) -> str:
    """Digest of a module's syntax tree and of those of the project modules it imports.

    Comments, layout and docstrings do not count. Worked out once per process.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _project_file(name)
        if name in seen or name in _MACHINERY or name.startswith("tasks.core.spec") or path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        seen[name] = ast.dump(_without_docstrings(tree))
        waiting += _imports(tree)
    return digest_json(seen)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return tree


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _project_file(module: str) -> Path | None:
    if module.split(".")[0] not in {"tasks", "feature_repo", "serving"}:
        return None
    path = ROOT.joinpath(*module.split("."))
    found = [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()]
    return found[0] if found else None
