"""What the path of a source's file tells: its partition, its place in it, and what kind of file it is."""

import re
from datetime import date
from pathlib import PurePosixPath

TABLES = (".csv", ".jsonl", ".parquet")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_PARTITION = re.compile(r"date=(\d{4}-\d{2}-\d{2})/")


def day_of(path: str) -> date | None:
    """The date of the ``date=YYYY-MM-DD/`` folder that the path starts with."""
    found = _PARTITION.match(path)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def inner(path: str) -> str:
    """The path inside its partition."""
    return path.partition("/")[2] if day_of(path) else path


def suffix(path: str) -> str:
    """The file name's extension, in lower case."""
    return PurePosixPath(path).suffix.lower()
