"""Whether the kernel has killed for lack of memory: its own counts, which every process may read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/")


def kills(root: Path = ROOT) -> int | None:
    """How many processes of this process's cgroup the kernel has killed so far; None where it does not say.

    A kill is counted before the process sees its signal, whether the cgroup's limit or the whole host's memory was the
    cause. In a container the path that ``/proc/self/cgroup`` gives is the host's; what is mounted is the container's.

    Args:
        root: where ``/proc`` and ``/sys`` stand.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        name = "memory.oom_control" if controllers else "memory.events"
        for group in (mount / path.lstrip("/"), mount):
            if found := re.search(r"^oom_kill (\d+)$", _text(group / name), re.MULTILINE):
                return int(found[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
