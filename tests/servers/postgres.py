"""A real PostgreSQL for tests: the fixture ``postgres``, one server for the whole session."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.servers import online


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    url: str

    def database(self) -> str:
        """The address of a new, empty database."""
        name = f"updraft_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, started once; it ends with the session."""
    with online.postgres_server() as url:
        yield Postgres(url)
