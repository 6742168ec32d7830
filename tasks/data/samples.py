"""Data sets that ship with Updraft, landed as a person's own data would be: files in daily drops, some rows dirty.

One module each: `tasks.data.sample_digits` (images), `tasks.data.sample_tumours` (a table),
`tasks.data.sample_diabetes` (a table, of numbers to predict) and `tasks.data.sample_docstrings` (texts). All are made
from what installed packages carry; nothing is downloaded.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.data import sample_diabetes, sample_digits, sample_docstrings, sample_tumours

_SAMPLES: Mapping[str, Callable[[Project, Path], None]] = {
    "diabetes": sample_diabetes.land,
    "digits": sample_digits.land,
    "docstrings": sample_docstrings.land,
    "tumours": sample_tumours.land,
}


def land(spec: Project) -> Path | None:
    """Writes the spec's sample where the spec's source is looked for, if nothing is there yet.

    The folder is written aside and renamed once, so that it is there whole or not at all.

    Returns:
        The source's folder, or None when there was nothing to do.

    Raises:
        BadInput: no sample has that name, or the folder is not on this machine or cannot be written.
    """
    if spec.source.sample is None:
        return None
    if spec.source.remote:
        fix = "Leave source.sample out, or give source.uri a folder."
        raise BadInput(f"{spec.name}: a sample lands in a folder, not at {spec.source.uri}.", fix)
    if spec.source.folder.exists():
        return None
    if spec.source.sample not in _SAMPLES:
        message = f"{spec.name}: source.sample: there is no sample {spec.source.sample!r}."
        raise BadInput(message, f"Use one of: {', '.join(_SAMPLES)}; or leave the field out.")
    target = spec.source.folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".landing-", dir=target.parent) as aside:
            _SAMPLES[spec.source.sample](spec, Path(aside, "whole"))
            return _rename(Path(aside, "whole"), target)
    except OSError as error:
        fix = "Make the folder writable, or change source.uri."
        raise BadInput(f"{spec.name}: the sample cannot be written to {target}: {error.strerror}.", fix) from None


def _rename(folder: Path, target: Path) -> Path | None:
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return None  # Another process landed it meanwhile.
    return target
