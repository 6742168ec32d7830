"""The processes that answer side by side on one port, and what each of them answers with.

Each worker writes the versions it is live with into a file of its own, so that any of them can say what all of them
answer with. A file whose process has ended counts no more.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

Number = int | str | None


class Workers:
    """The workers that one server started.

    Args:
        home: UPDRAFT_HOME.
    """

    def __init__(self, home: Path) -> None:
        # Those of another server on this home are none of ours.
        self._folder = home / "serving" / f"workers-{os.getppid()}"
        self._file = self._folder / f"{os.getpid()}.json"
        self._told: Mapping[str, Any] | None = None

    def tell(self, versions: Mapping[str, Number], challengers: Mapping[str, Any]) -> None:
        """Says what this worker is live with: project to version, and to the trial that it takes part in."""
        told = {"versions": dict(versions), "challengers": dict(challengers)}
        if told == self._told:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".part")
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(self._file)
        self._told = told

    def agreed(self, project: str) -> Number:
        """The version that all workers answer with; None while they do not."""
        found = {told["versions"].get(project) for told in self._all()}
        return found.pop() if len(found) == 1 else None

    def tried(self) -> Mapping[str, Any]:
        """Project to the trial that all workers take part in."""
        first, *others = [told["challengers"] for told in self._all()] or [{}]
        return {name: trial for name, trial in first.items() if all(each.get(name) == trial for each in others)}

    def leave(self) -> None:
        """Removes what this worker said."""
        self._file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _all(self) -> Iterator[Mapping[str, Any]]:
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                if _runs(int(path.stem)):
                    yield json.loads(path.read_text(encoding="utf-8"))
                else:
                    path.unlink()


def _runs(process: int) -> bool:
    """Whether it is there, and not only because nobody has noticed its death yet."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
