"""Background services: start, health, stop, and what happens when one of these goes wrong."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tasks.core.errors import BadInput, UpdraftError
from tasks.platform import supervisor
from tasks.platform.process import MARK, Record, Service


def silent(name: str, what: str) -> None:
    """No progress."""


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose services are stopped in the end."""
    yield tmp_path
    supervisor.stop([], tmp_path, silent, grace=1.0)


@pytest.fixture
def web(port: int, tmp_path: Path) -> Service:
    """A web server."""
    return Service(
        "web",
        (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"),
        env=lambda: dict(os.environ),
        cwd=tmp_path,
        port=port,
        port_setting="UPDRAFT_WEB_PORT",
        health=f"http://127.0.0.1:{port}/",
    )


def script(name: str, code: str) -> Service:
    """A service that runs a shell script and has no health address."""
    return Service(name, ("sh", "-c", code), env=lambda: dict(os.environ))


def start(service: Service, home: Path) -> None:
    """Starts it if it does not run."""
    supervisor.start(supervisor.missing([service], home), home, silent, timeout=20)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold."""
    return any(holds() or time.sleep(0.05) for _ in range(200))


def marked(home: Path) -> list[int]:
    """The processes that belong to any service of ``home``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK, "").startswith(f"{home}#"):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_started_service_is_healthy_and_a_stopped_one_is_gone(web: Service, home: Path) -> None:
    start(web, home)
    (status,) = supervisor.inspect([web], home)
    assert (status.running, status.healthy, status.port) == (True, True, web.port)
    assert status.log.read_text()
    assert supervisor.stop([web], home, silent, grace=5.0) == ["web"]
    assert marked(home) == []
    (status,) = supervisor.inspect([web], home)
    assert (status.running, status.healthy, status.pid) == (False, False, None)
    assert supervisor.stop([web], home, silent, grace=5.0) == []


def test_starting_again_starts_only_what_has_ended(web: Service, home: Path) -> None:
    start(web, home)
    (before,) = supervisor.inspect([web], home)
    start(web, home)
    (same,) = supervisor.inspect([web], home)
    assert same.pid == before.pid
    os.kill(before.pid, signal.SIGKILL)
    assert eventually(lambda: not supervisor.inspect([web], home)[0].running)
    start(web, home)
    (after,) = supervisor.inspect([web], home)
    assert after.healthy and after.pid != before.pid


def test_a_taken_port_is_refused_before_anything_starts(web: Service, home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", web.port))
        other.listen()
        with pytest.raises(BadInput) as refused:
            supervisor.missing([script("first", "sleep 60"), web], home)
    assert str(web.port) in refused.value.message
    assert f"pid {os.getpid()}" in refused.value.message
    assert "UPDRAFT_WEB_PORT" in refused.value.fix
    assert marked(home) == []


def test_a_service_on_another_port_than_the_setting_is_refused(web: Service, home: Path) -> None:
    start(web, home)
    with pytest.raises(BadInput, match=f"runs on port {web.port}"):
        supervisor.missing([replace(web, port=web.port + 1)], home)


def test_one_that_ends_at_start_stops_the_others_and_shows_its_last_lines(web: Service, home: Path) -> None:
    broken = replace(script("broken", "echo no such model; exit 3"), health="http://127.0.0.1:1/")
    with pytest.raises(UpdraftError) as failed:
        supervisor.start([web, broken], home, silent, timeout=20)
    assert "broken" in failed.value.message and "no such model" in failed.value.message
    assert str(home / "logs" / "broken.log") in failed.value.fix
    assert marked(home) == []


def test_one_that_never_becomes_healthy_is_stopped_again(web: Service, home: Path) -> None:
    deaf = replace(web, command=("sleep", "60"))
    with pytest.raises(UpdraftError, match="healthy in time"):
        supervisor.start([deaf], home, silent, timeout=0.5)
    assert marked(home) == []


def test_stop_ends_children_in_other_groups_and_sessions_and_those_that_ignore_term(home: Path) -> None:
    code = "setsid sleep 300 & (trap '' TERM; setsid sh -c 'sleep 300; sleep 300') & trap '' TERM; sleep 300; sleep 300"
    start(script("family", code), home)
    assert eventually(lambda: len(marked(home)) >= 4)
    supervisor.stop([], home, silent, grace=0.5)
    assert marked(home) == []


def test_children_of_a_service_that_was_killed_are_ended_by_the_next_start(home: Path) -> None:
    service = script("parent", "setsid sleep 300 & sleep 300")
    start(service, home)
    assert eventually(lambda: len(marked(home)) == 3)
    orphans = set(marked(home))
    os.kill(supervisor.inspect([service], home)[0].pid, signal.SIGKILL)
    assert eventually(lambda: not supervisor.inspect([service], home)[0].running)
    start(service, home)
    assert not orphans & set(marked(home))


def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(home: Path) -> None:
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (home / "run").mkdir()
        boot = psutil.Process(1).create_time()
        old = Record("web", other.pid, psutil.Process(other.pid).create_time() - 100, boot, f"{home}#web")
        old.save(home / "run" / "web.json")
        assert supervisor.stop([], home, silent, grace=0.5) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_home_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written") as refused, supervisor.locked(tmp_path / "file" / "home"):
        pass
    assert "UPDRAFT_HOME" in refused.value.fix


def test_two_commands_do_not_work_on_one_home_at_once(home: Path) -> None:
    order = []

    def second() -> None:
        with supervisor.locked(home):
            order.append("second")

    with supervisor.locked(home):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
