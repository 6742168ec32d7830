"""A project spec from nothing but its data: what a person would write after looking at it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tasks.core.errors import BadInput
from tasks.core.settings import settings
from tasks.core.store import Files, open_files
from tasks.data.infer import sizes
from tasks.data.infer.classes import Target, find_classes
from tasks.data.infer.features import image_features, table_features
from tasks.data.infer.layout import Layout, find_layout
from tasks.data.infer.paths import TABLES, suffix
from tasks.data.infer.pictures import NEAR_BITS, Pictures, look
from tasks.data.infer.rules import Rule, column_rules, entity_rules, image_rules
from tasks.data.infer.sample import Say
from tasks.data.infer.span import Span, find_span
from tasks.data.infer.table import Table, read_table

Values = dict[str, Any]

WORDY = 5
"""Columns of which one is a text, for the task to be one of texts."""

NEAR = 0.01
"""Share of near-duplicates up to which they are sought: more are no accident."""


@dataclass(frozen=True)
class Draft:
    """A spec as values, in the order in which a person reads it.

    Attributes:
        values: the fields of ``projects/NAME.yaml``.
        comments: field or section to what is to stand above it.
        expectations: the entries of the suite.
        notes: what the person should know.
    """

    values: Values
    comments: Mapping[str, str]
    expectations: Sequence[Rule]
    notes: Sequence[str]


def infer(path: str, *, label: str | None, today: date, say: Say) -> Draft:
    """Looks at data and drafts the project that learns its labels, all but its name.

    Args:
        path: a folder, ``s3://bucket/prefix``, or one table in either.
        label: the label's column, where its name does not say so.
        today: data of the week before is taken to keep coming.
        say: told about progress.

    Raises:
        BadInput: nothing there to learn from, or the label cannot be told.
    """
    uri, only = _split(path)
    files = open_files(uri)
    layout = find_layout(files, only, say)
    if layout.format == "table":
        return _table(uri, layout, read_table(files, layout, label, today, say))
    if layout.format == "images":
        return _labelled_images(uri, files, layout, read_table(files, layout, label, today, say), say)
    if label is not None:
        raise BadInput(f"--label {label}: {uri} has no labels file, its folders are the labels.", "Leave --label out.")
    return _image_folders(uri, files, layout, find_span(files, layout, None, None, today), say)


def _table(uri: str, layout: Layout, table: Table) -> Draft:
    if not table.columns:
        why = "; ".join(f"{name}: {reason}" for name, reason in table.unused.items()) or "there is no other column"
        raise BadInput(f"{uri}: no column that features could be made from ({why}).", "Give data with such columns.")
    named = (*table.target.profiles, *table.columns)
    rules = [*column_rules(named), *entity_rules(table.entity, table.event_time is not None)]
    nullable = table.nullable(rules)
    texts = sum(column.type == "text" for column in table.columns)
    task = f"{'text' if WORDY * texts >= len(table.columns) else 'tabular'}_{table.target.kind}"
    columns = [
        {"name": each.name, "type": each.type} | ({"nullable": True} if each.name in nullable else {})
        for each in table.columns
    ]
    source = _roles(table) | {"columns": columns}
    if layout.pattern != "*":
        source = {"files": layout.pattern} | source
    bad = _share(table, table.bad(rules, nullable).mean())
    return _draft(
        _described(table.label, f"the texts in {_tail(uri)}" if texts else f"the columns of {_tail(uri)}", task),
        table.span,
        table.target,
        source={"uri": _address(uri), "format": "table"} | source,
        validation=_validation(bad, table.span),
        features=table_features(table.columns),
        model=sizes.perceptron(table.target.rows, texts > 0),
        rules=rules,
        notes=[*_notes(table.target, bad), *(f"{name}: not used; {why}" for name, why in table.unused.items())],
    )


def _labelled_images(uri: str, files: Files, layout: Layout, table: Table, say: Say) -> Draft:
    folders = [f"date={day}/" if day else "" for day in table.sample.days]
    named = zip(folders, table.sample.column(layout.image), strict=True)
    paths = [f"{folder}{value}" for folder, value in named if isinstance(value, str)]
    pictures = _look(uri, files, paths, table.span, say)
    source = _roles(table) | {"labels": layout.pattern, "image": layout.image}
    if table.entity is None:
        source["entity"] = layout.image
    rules = column_rules(table.target.profiles)
    bad = _share(table, table.bad(rules, frozenset(each.name for each in table.columns)).mean()) + pictures.bad
    return _images(uri, pictures, table.target, table.span, {"format": "images"} | source, bad, table.label)


def _image_folders(uri: str, files: Files, layout: Layout, span: Span, say: Say) -> Draft:
    classes = find_classes(layout.classes or {}, f"{uri}: the sub-folders'")
    pictures = _look(uri, files, layout.images, span, say)
    source = {"format": "image_folders", "partitions": span.partitions, "entity": None, "event_time": None}
    return _images(uri, pictures, classes, span, source, pictures.bad, "the class")


def _images(uri: str, pictures: Pictures, target: Target, span: Span, source: Values, bad: float, label: str) -> Draft:
    image = pictures.image()
    near = pictures.near <= NEAR
    notes = [] if near else [f"near-duplicates are not sought: {pictures.near:.0%} of the images would fall out"]
    return _draft(
        _described(label, f"the images in {_tail(uri)}", f"image_{target.kind}"),
        span,
        target,
        source={"uri": _address(uri)} | source,
        image=image,
        validation=_validation(bad, span) | ({"near_duplicate_bits": NEAR_BITS} if near else {}),
        features=image_features(image),
        model=sizes.convnet(image["height"], image["width"]),
        rules=[*column_rules(target.profiles), *image_rules(pictures.widths, pictures.heights)],
        notes=[*_notes(target, bad), *notes],
    )


def _draft(
    head: Values,
    span: Span,
    target: Target,
    *,
    source: Values,
    validation: Values,
    features: list[Values],
    model: Values,
    rules: Sequence[Rule],
    notes: Sequence[str],
    image: Values | None = None,
) -> Draft:
    """The sections in the order in which they are read, and those whose size follows from the number of rows."""
    train = sizes.training(target.rows)
    classes, sampling = target.classes(), target.sampling()
    values = {
        **head,
        "start": span.start,
        **({"end": span.end} if span.end else {}),
        **({"classes": classes} if classes else {}),
        "source": source,
        **({"image": image} if image else {}),
        "validation": validation,
        "features": features,
        "split": {"train": 0.7, "validation": 0.1, "test": 0.2},
        **({"sampling": sampling} if sampling else {}),
        "model": model,
        "training": train,
        "tuning": sizes.tuning(target.rows, train["epochs"], model["units"]),
        "gates": target.gates(),
    }
    comments = {
        "classes" if classes else "task": f"{target.rows:,} rows: {target.described()}.",
        "gates": f"Better than {target.easy}; raise these once you know what is possible.",
    }
    return Draft(values, comments, rules, notes)


def _described(label: str, what: str, task: str) -> Values:
    verb = "Predicts" if task.endswith("_regression") else "Tells"
    return {"description": f"{verb} {label} from {what}.", "task": task}


def _roles(table: Table) -> Values:
    roles = {
        "partitions": table.span.partitions,
        "entity": table.entity and table.entity.name,
        "label": table.label,
        "event_time": table.event_time and table.event_time.name,
    }
    return roles | ({"known_time": table.known_time} if table.known_time else {})


def _validation(bad: float, span: Span) -> Values:
    """Twice the bad rows that were seen are tolerated, at least 5%."""
    late = {"late_days": span.late_days} if span.late_days else {}
    return {"tolerated": min(0.5, max(0.05, math.ceil(200 * bad) / 100))} | late


def _notes(target: Target, bad: float) -> list[str]:
    return [*target.notes(), *([f"{bad:.1%} of the rows looked at would be quarantined"] if bad else [])]


def _share(table: Table, bad: float) -> float:
    """With the lines that could not be read at all."""
    lost = table.sample.unreadable / table.sample.read
    return lost + float(bad) * (1 - lost)


def _look(uri: str, files: Files, paths: Sequence[str], span: Span, say: Say) -> Pictures:
    pictures = look(files, paths, math.ceil(len(paths) / span.count), say)
    if pictures is None:
        fix = "Give PNG, JPEG, WebP, BMP, GIF or TIFF files."
        raise BadInput(f"{uri}: none of the images looked at can be read.", fix)
    return pictures


def _split(path: str) -> tuple[str, str | None]:
    """Folder and, where one table is meant, its name."""
    local = Path(path).expanduser()
    if "://" not in path:
        return (str(local.parent.resolve()), local.name) if local.is_file() else (str(local.resolve()), None)
    folder, _, name = path.rstrip("/").rpartition("/")
    return (folder, name) if suffix(name) in TABLES else (path.rstrip("/"), None)


def _address(uri: str) -> str:
    """Relative to UPDRAFT_HOME where it lies there, so that the project can be used with another one."""
    home = settings().home
    return uri if "://" in uri or not Path(uri).is_relative_to(home) else str(Path(uri).relative_to(home))


def _tail(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]
