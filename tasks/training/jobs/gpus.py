"""Which GPU a rank uses; found without a library that would take hold of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
GROWTH = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
"""TensorFlow takes a device's memory as it needs it rather than all of it: a rank may not be alone there."""

DEVICES = Path("/dev")


def devices(environment: Mapping[str, str], folder: Path = DEVICES) -> list[str]:
    """This process's GPUs: those that CUDA_VISIBLE_DEVICES names, or else all that stand in ``/dev``."""
    if VISIBLE in environment:
        # As CUDA reads it: a number below 0 hides all that follow.
        names = environment[VISIBLE].partition("-1")[0].split(",")
        return [name.strip() for name in names if name.strip()]
    numbers = (re.fullmatch(r"nvidia(\d+)", path.name) for path in folder.glob("nvidia*"))
    return [str(index) for index, _ in enumerate(filter(None, numbers))]


def pinned(found: list[str], local_rank: int) -> dict[str, str]:
    """The environment that gives a host's ``local_rank`` one of its GPUs; ranks beyond their number share them."""
    return {VISIBLE: found[local_rank % len(found)]} if found else {}
