"""A job over several hosts: two network namespaces with an agent each; how agents end, on the loopback."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput, HostLost, Preempted, RankFailed
from tasks.core.settings import ROOT, settings
from tasks.training.jobs import hosts, launcher, wire
from tasks.training.jobs.agent import Agent
from tests.digits import open_platform, project

KEY = "a key that only the tests know"
NETWORK = "10.213.77"
PORT = 7171


def reduce(numbers: int) -> dict[str, int]:
    """One reduction, and where this rank stands."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    total = hvd.allreduce(tf.range(numbers) * (hvd.rank() + 1), op=hvd.Sum).numpy().tolist()
    print("reduced")
    names = ("rank", "size", "local_rank", "local_size", "cross_rank", "cross_size")
    return {"sum": total, **{name: getattr(hvd, name)() for name in names}}


def fit(folders: tuple[str, str]) -> str:
    """Trains on digits; returns a digest of the weights."""
    import horovod.tensorflow as hvd

    from tasks.training import loop

    hvd.init()
    spec = project({"training.ranks": 2, "model.units": [8]})
    job = loop.Job(spec, Path(folders[0]), Path(folders[1]), epochs=1)
    model, _ = loop.fit(job, print, horovod=True)
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def misbehave(payload: tuple[str, str]) -> None:
    """All ranks write their process down; then rank 1 dies if it is told to, and the others wait for it in vain."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    folder, what = Path(payload[0]), payload[1]
    hvd.init()
    rank = hvd.rank()
    (folder / f"{rank}.new").write_text(str(os.getpid()))
    (folder / f"{rank}.new").rename(folder / f"{rank}.pid")
    wait_for(lambda: len(list(folder.glob("*.pid"))) == hvd.size())
    if rank == 1:
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    hvd.allreduce(tf.ones(1))


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within four minutes"
        time.sleep(0.02)


def running(folder: Path) -> list[int]:
    """Those of the ranks that ``misbehave`` wrote down which still run."""

    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    pids = [int(path.read_text()) for path in folder.glob("*.pid")]
    assert len(pids) == 2
    return [pid for pid in pids if alive(pid)]


@contextmanager
def agent(address: str, port: int, *inside: str) -> Iterator[subprocess.Popen[str]]:
    """An agent that is ready, started within ``inside`` (a command that starts commands)."""
    command = [*inside, sys.executable, "-c", "from tasks.cli import main; main()", "agent", "--address", address]
    environment = {
        **os.environ,
        "UPDRAFT_AGENT_PORT": str(port),
        "UPDRAFT_AGENT_KEY": KEY,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "listening" in process.stdout.readline()
            yield process
        finally:
            process.terminate()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks of this host import this module by name."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def use_hosts(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Has this process's jobs run on these hosts."""

    def use(names: str, port: int, key: str = KEY) -> None:
        for name, value in (("HOSTS", names), ("AGENT_PORT", str(port)), ("AGENT_KEY", key)):
            monkeypatch.setenv(f"UPDRAFT_{name}", value)
        settings.cache_clear()

    return use


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[tuple[str, str]]:
    """Addresses of two hosts with an agent each: namespaces on a bridge of this machine."""
    if not shutil.which("ip"):
        pytest.skip("network namespaces need iproute2")
    tag = f"u{os.getpid() % 100_000}"
    addresses = (f"{NETWORK}.2", f"{NETWORK}.3")
    namespaces = [f"{tag}{letter}" for letter in "ab"]
    with ExitStack() as stack:
        stack.callback(_remove, tag, namespaces)
        try:
            _connect(tag, dict(zip(namespaces, addresses, strict=True)))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        for namespace, address in zip(namespaces, addresses, strict=True):
            stack.enter_context(agent(address, PORT, "ip", "netns", "exec", namespace))
        yield addresses


def _connect(bridge: str, namespaces: dict[str, str]) -> None:
    """A bridge with an address of this host, and a namespace for each name, which has the address given with it."""
    ip("link", "add", bridge, "type", "bridge")
    ip("addr", "add", f"{NETWORK}.1/24", "dev", bridge)
    ip("link", "set", bridge, "up")
    for name, address in namespaces.items():
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "train0", "netns", name)
        ip("link", "set", name, "master", bridge, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "train0")
        for device in ("train0", "lo"):
            ip("-n", name, "link", "set", device, "up")


def _remove(bridge: str, namespaces: list[str]) -> None:
    for command in (*(("netns", "del", name) for name in namespaces), ("link", "del", bridge)):
        subprocess.run(["ip", *command], capture_output=True)


@pytest.fixture(scope="module")
def loopback() -> Iterator[tuple[str, int]]:
    """An agent that is this machine's own other host."""
    port = free_port()
    with agent("127.0.0.1", port):
        yield "127.0.0.1", port


def launch(target: Callable[..., Any], payload: Any, ranks: int, **limits: Any) -> list[Any]:
    return launcher.launch(f"{__name__}:{target.__name__}", payload, ranks=ranks, **{"timeout": 300, **limits})


@pytest.mark.slow
@pytest.mark.parametrize("slots", ["{0}:1,{1}:1", "{0}:2,{1}:2", "{0}:1,localhost:1"])
def test_ranks_of_two_hosts_reduce_together(two_hosts: tuple[str, str], use_hosts: Any, slots: str) -> None:
    """Both have the same host name: a rank's place must follow from nothing but the settings."""
    use_hosts(slots.format(*two_hosts), PORT)
    each = int(slots[-1])
    ranks, lines = 2 * each, list[str]()
    results = launch(reduce, 3, ranks, log=lines.append)
    total = sum(range(1, ranks + 1))
    assert [result.pop("sum") for result in results] == [[0, total, 2 * total]] * ranks
    places = [(host, local) for host in (0, 1) for local in range(each)]
    assert results == [
        {"rank": rank, "size": ranks, "local_rank": local, "local_size": each, "cross_rank": host, "cross_size": 2}
        for rank, (host, local) in enumerate(places)
    ]
    assert {f"[rank {rank}] reduced" for rank in range(ranks)} <= set(lines)


@pytest.mark.slow
def test_two_hosts_train_to_the_same_weights(two_hosts: tuple[str, str], use_hosts: Any) -> None:
    use_hosts(",".join(f"{host}:1" for host in two_hosts), PORT)
    platform = open_platform()
    data = platform.data(project(), 120)
    folders = tuple(str(platform.store.fetch(data[name][0].folder)) for name in ("dataset", "transform"))
    digests = launch(fit, folders, 2, env={"TF_NUM_INTRAOP_THREADS": "1"}, log=lambda line: None)
    assert len(digests) == 2
    assert len(set(digests)) == 1


@pytest.mark.slow
def test_a_rank_killed_on_another_host_ends_all(two_hosts: tuple[str, str], use_hosts: Any, tmp_path: Path) -> None:
    use_hosts(",".join(f"{host}:1" for host in two_hosts), PORT)
    with pytest.raises(RankFailed, match=re.escape(f"rank 1 of 2 on {two_hosts[1]} was killed by SIGKILL")):
        launch(misbehave, (str(tmp_path), "die"), 2, log=lambda line: None)
    wait_for(lambda: not running(tmp_path))


@pytest.mark.slow
def test_a_host_that_is_cut_off_is_named(
    two_hosts: tuple[str, str], use_hosts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1, "TCP_USER_TIMEOUT": 2000}
    monkeypatch.setattr(wire, "ALIVE", hasty)
    use_hosts(",".join(f"{host}:1" for host in two_hosts), PORT)
    link = f"u{os.getpid() % 100_000}b"

    def cut() -> None:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        ip("link", "set", link, "down")

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        with pytest.raises(HostLost, match=re.escape(f"host {two_hosts[1]} is lost")):
            launch(misbehave, (str(tmp_path), "sleep"), 2, log=lambda line: None, grace=1.0)
    finally:
        cutting.join()
        ip("link", "set", link, "up")
    wait_for(lambda: not running(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "error", "told"),
    [(signal.SIGKILL, HostLost, "host 127.0.0.1 is lost"), (signal.SIGTERM, Preempted, "host 127.0.0.1 goes away")],
)
def test_an_agent_that_ends_ends_the_job(
    use_hosts: Any, tmp_path: Path, number: signal.Signals, error: type[RankFailed], told: str
) -> None:
    port = free_port()
    use_hosts("127.0.0.1:2", port)
    with agent("127.0.0.1", port) as process:

        def end() -> None:
            wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
            process.send_signal(number)

        ending = threading.Thread(target=end)
        ending.start()
        with pytest.raises(error, match=told):
            launch(misbehave, (str(tmp_path), "sleep"), 2, log=lambda line: None)
        ending.join()
    wait_for(lambda: not running(tmp_path))


@pytest.mark.slow
def test_a_stopped_job_leaves_no_rank_on_any_host(loopback: tuple[str, int], use_hosts: Any, tmp_path: Path) -> None:
    use_hosts("127.0.0.1:2", loopback[1])
    with pytest.raises(RankFailed, match="stopped"):
        launch(
            misbehave,
            (str(tmp_path), "sleep"),
            2,
            log=lambda line: None,
            stopped=lambda: len(list(tmp_path.glob("*.pid"))) == 2,
        )
    assert not running(tmp_path)


def test_another_key_is_refused(loopback: tuple[str, int], use_hosts: Any) -> None:
    use_hosts("127.0.0.1:1,localhost:1", loopback[1], key="another key than the agent's")
    with pytest.raises(BadInput, match=r"agent on 127\.0\.0\.1 .* do not share a key"):
        launch(reduce, 1, 2)


def test_a_host_without_an_agent_is_named(use_hosts: Any) -> None:
    port = free_port()
    use_hosts("127.0.0.1:1,localhost:1", port)
    with pytest.raises(HostLost, match=f"host 127.0.0.1 does not answer on port {port}: Connection refused"):
        launch(reduce, 1, 2)


def test_more_ranks_than_slots_are_refused(use_hosts: Any) -> None:
    use_hosts("127.0.0.1:1,localhost:2", 1)
    with pytest.raises(BadInput, match="4 ranks, and UPDRAFT_HOSTS has 3 slots"):
        launch(reduce, 1, 4)


@pytest.mark.parametrize("value", ["gpu1", "gpu1:0", "gpu1:2,gpu1:2", "gpu1:2 gpu2:2"])
def test_hosts_that_are_none_are_refused(use_hosts: Any, value: str) -> None:
    use_hosts(value, 1)
    with pytest.raises(BadInput, match="UPDRAFT_HOSTS"):
        launch(reduce, 1, 1)


@pytest.mark.parametrize("key", ["", "short"])
def test_an_agent_without_a_good_key_does_not_start(use_hosts: Any, key: str) -> None:
    use_hosts("", free_port(), key)
    with pytest.raises(BadInput, match="UPDRAFT_AGENT_KEY"):
        Agent(settings(), "127.0.0.1", print)


def test_ranks_fill_the_hosts_in_their_order() -> None:
    parts = hosts.assign({"a": 2, "b": 4, "c": 1}, 3)
    assert {host: [slot.rank for slot in part] for host, part in parts.items()} == {"a": [0, 1], "b": [2]}
