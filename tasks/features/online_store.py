"""What an online store has to do beside Feast, and how it is named where it does not answer."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult

from feature_repo.names import view_name
from tasks.core.errors import UpdraftError
from tasks.core.spec import Project


@dataclass(frozen=True)
class View:
    """What Feast's tables and keys are named after."""

    project: str
    name: str
    features: tuple[str, ...]

    @classmethod
    def of(cls, spec: Project) -> "View":
        """The view of the spec's feature groups."""
        return cls(spec.name, view_name(spec), tuple(feature.group for feature in spec.features))

    @property
    def table(self) -> str:
        """As Feast names it in a database."""
        return f"{self.project}_{self.name}"


class OnlineStore(Protocol):
    """What every kind of store can do beside Feast; all pass the same conformance tests.

    Every method raises UpdraftError, naming the store without its password, where it cannot be reached.
    """

    def feast(self) -> dict[str, Any]:
        """Feast's ``online_store`` section."""
        ...

    def identity(self) -> str:
        """Changes when the store's place is taken by another one: a connection to the old one is of no use then."""
        ...

    def reaching(self) -> AbstractContextManager[None]:
        """A block in which the faults of the store's driver become UpdraftErrors."""
        ...

    def marks(self, view: View) -> dict[str, str]:
        """Each date whose values are in the store, and the digest of its offline file."""
        ...

    def mark(self, view: View, day: str, digest: str | None) -> None:
        """Sets a date's mark, or takes it away."""
        ...

    def forget(self, view: View, keys: Sequence[bytes]) -> None:
        """Removes the entities with these serialized keys, if they are there."""
        ...


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
