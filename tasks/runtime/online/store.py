"""What an online store has to do beside Feast, and how it is named where it does not answer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import SplitResult

import numpy as np

from tasks.core.errors import UpdraftError


@dataclass(frozen=True)
class View:
    """What Feast's tables and keys are named after."""

    project: str
    name: str
    features: tuple[str, ...]

    @property
    def table(self) -> str:
        """As Feast names it in a database."""
        return f"{self.project}_{self.name}"


@dataclass(frozen=True)
class Stored:
    """What a store holds of one entity.

    Attributes:
        event_time: when the values were so, UTC (SQLite keeps whole seconds).
        values: the group to float32 (F,), or to an object array (F,) of str; None where the row had none.
    """

    event_time: datetime
    values: Mapping[str, np.ndarray | None]


class OnlineStore(Protocol):
    """What every kind of store can do beside Feast; all pass the same conformance tests.

    Every method raises UpdraftError, naming the store without its password, where it cannot be reached.
    """

    def feast(self) -> dict[str, Any]:
        """Feast's ``online_store`` section."""
        ...

    def reaching(self) -> AbstractContextManager[None]:
        """A block in which the faults of the store's driver become UpdraftErrors."""
        ...

    def read(self, view: View, entities: Sequence[str]) -> list[Stored | None]:
        """What it holds of each entity, in order; None: nothing."""
        ...

    def marks(self, view: View) -> dict[str, str]:
        """Each date whose values are in the store, and the digest of its offline file."""
        ...

    def mark(self, view: View, day: str, digest: str | None) -> None:
        """Sets a date's mark, or takes it away."""
        ...

    def forget(self, view: View, entities: Sequence[str]) -> None:
        """Removes the entities, if they are there."""
        ...


def driver(name: str) -> Any:
    """The module that talks to a kind of store; a Bento brings none, and most endpoints need none.

    Raises:
        UpdraftError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        message = f"UPDRAFT_ONLINE_STORE needs the Python package {name}, which is not installed here."
        raise UpdraftError(message, f"Install it: pip install {name}") from None


def shown(parts: SplitResult) -> str:
    """A server's address without its password."""
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or ''}{parts.path}"


@contextmanager
def naming(place: str, *faults: type[Exception]) -> Iterator[None]:
    """A block in which ``faults`` become UpdraftErrors that name the store."""
    try:
        yield
    except faults as error:
        message = f"The online store {place} does not answer: {str(error).strip()}."
        raise UpdraftError(message, "Start it, or correct UPDRAFT_ONLINE_STORE.") from None
