"""How a source is laid out: which files are tables, labels and images, and whether there are date partitions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from glob import escape
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

from tasks.core.errors import BadInput
from tasks.core.store import FileInfo, Files
from tasks.data.infer.paths import IMAGES, TABLES, day_of, inner, suffix
from tasks.data.infer.sample import Say, head
from tasks.data.source import is_hidden

MAX_FILES = 500_000
"""Files listed at most."""

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass(frozen=True)
class Layout:
    """What was found.

    Attributes:
        days: dates of the partitions; none when the source has no ``date=YYYY-MM-DD/`` folders.
        tables: the files of the table, or the labels files, of all partitions.
        pattern: what the tables' names have in common; of ``images``: the labels file's name.
        images: paths of the images.
        image: the labels file's column with the image's path.
        classes: of ``image_folders``: sub-folder to its number of images.
    """

    format: Literal["images", "image_folders", "table"]
    days: tuple[date, ...] = ()
    tables: tuple[FileInfo, ...] = ()
    pattern: str = ""
    images: tuple[str, ...] = ()
    image: str = ""
    classes: Counter[str] | None = None


def find_layout(files: Files, only: str | None, say: Say) -> Layout:
    """Looks at the names of a source's files, and at the first rows of its tables.

    Args:
        only: the name of the one table that is meant; its neighbours are looked at as its images alone.

    Raises:
        BadInput: nothing there that labels can be learned from, or more than one thing.
    """
    if only is not None:
        table = FileInfo(path=only, size=0, stamp="")
        image = _image_column(files, only)
        name = only if image else escape(only)
        return Layout("images" if image else "table", tables=(table,), pattern=name, image=image or "")
    found = [info for info in islice(files.list(), MAX_FILES + 1) if not is_hidden(info.path)]
    if len(found) > MAX_FILES:
        say(f"looking at the first {MAX_FILES:,} files alone")
    days = sorted({day for info in found if (day := day_of(info.path))})
    if days:
        found = [info for info in found if day_of(info.path)]
    images = [info.path for info in found if suffix(info.path) in IMAGES]
    tables = [info for info in found if suffix(info.path) in TABLES and "/" not in inner(info.path)]
    layout = _labelled_images(files, images, tables) or _image_folders(files, images) or _table(files, found, tables)
    return Layout(**{**vars(layout), "days": tuple(days)})


def _labelled_images(files: Files, images: Sequence[str], tables: Sequence[FileInfo]) -> Layout | None:
    """A table at the top of the partition with a column that names images; ``labels.*`` is looked at first."""
    if not images:
        return None
    names = sorted({inner(info.path) for info in tables}, key=lambda name: (not name.startswith("labels."), name))
    for name in names:
        mine = tuple(info for info in tables if inner(info.path) == name)
        if image := _image_column(files, mine[0].path):
            return Layout("images", tables=mine, pattern=name, images=tuple(images), image=image)
    return None


def _image_column(files: Files, path: str) -> str | None:
    """The column whose values are mostly paths of images that are there, relative to the labels file."""
    rows, folder = head(files, path), path.rpartition("/")[0]
    for column in rows[0] if rows else ():
        values = [row[column] for row in rows if isinstance(row[column], str) and suffix(row[column]) in IMAGES][:20]
        there = sum(_is_there(files, f"{folder}/{value}" if folder else value) for value in values)
        if values and 2 * there > len(values):
            return column
    return None


def _is_there(files: Files, path: str) -> bool:
    try:
        return files.exists(path)
    except ValueError:  # A path that leads outside.
        return False


def _image_folders(files: Files, images: Sequence[str]) -> Layout | None:
    """Images in a sub-folder per class."""
    if not images:
        return None
    inside = [inner(path) for path in images]
    classes = Counter(PurePosixPath(path).parts[0] for path in inside if "/" in path)
    if classes.total() < 0.95 * len(images):
        message = f"{files.uri}: {len(images)} images, and nothing that says what they show."
        raise BadInput(message, "Put them in a sub-folder per class, or a labels.csv (image,label) beside them.")
    if {name.lower() for name in classes} <= _SPLITS:
        message = f"{files.uri}: the folders {', '.join(sorted(classes))} are splits, not classes."
        raise BadInput(message, "Updraft splits by itself: give the folder that holds one sub-folder per class.")
    return Layout("image_folders", images=tuple(images), classes=classes)


def _table(files: Files, found: Sequence[FileInfo], tables: Sequence[FileInfo]) -> Layout:
    """Tables of one form, in one or several files a partition."""
    if not tables:
        kinds = Counter(suffix(info.path) or "no extension" for info in found)
        seen = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common(5)) or "no files"
        fix = "Give CSV, JSON lines (.jsonl) or Parquet files, images in a sub-folder per class, or images and labels."
        raise BadInput(f"{files.uri}: no data that can be read; there is {seen}.", fix)
    endings = Counter(suffix(info.path) for info in tables)
    ending = endings.most_common(1)[0][0]
    chosen = tuple(info for info in tables if suffix(info.path) == ending)
    _check_alike(files, chosen)
    every_file = len(chosen) == sum("/" not in inner(info.path) for info in found)
    return Layout("table", tables=chosen, pattern="*" if every_file else f"*{ending}")


def _check_alike(files: Files, tables: Sequence[FileInfo]) -> None:
    """Refuses a folder of several tables; files of one partition are looked at, for a table may change in time."""
    day = day_of(tables[0].path)
    columns: dict[frozenset[str], str] = {}
    for info in [info for info in tables if day_of(info.path) == day][:20]:
        rows = head(files, info.path, 1)
        if rows:
            columns.setdefault(frozenset(rows[0]), info.path)
    if len(columns) > 1:
        names = ", ".join(sorted(columns.values()))
        message = f"{files.uri}: {names} have different columns: these are several tables."
        raise BadInput(message, "Give the file that is meant (--from FOLDER/FILE), or one folder per table.")
