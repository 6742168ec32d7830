"""Keeps the chatter of libraries off a person's terminal, and in a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def chatter_to(log: Path) -> Iterator[TextIO]:
    """Sends what any code, C++ included, writes to stdout or stderr to the end of ``log``.

    Yields:
        The real stdout, for what the person shall see.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with log.open("ab") as file, os.fdopen(os.dup(1), "w", buffering=1) as terminal:
        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            yield terminal
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, original in kept.items():
                os.dup2(original, number)
                os.close(original)
