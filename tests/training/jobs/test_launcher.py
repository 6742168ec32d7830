"""A job of ranks: what comes back, what is logged, and that nothing survives any way of ending it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import BadInput, OutOfMemory, Preempted, RankFailed, RankRaised
from tasks.training.jobs import forked, launcher, zygote

Run = Callable[..., list[Any]]


def identify(greeting: str) -> tuple[str, str, str]:
    print(greeting, "from a print")
    os.write(2, b"no newline at the end")
    return os.environ["HOROVOD_RANK"], os.environ["HOROVOD_SIZE"], os.environ["COLOUR"]


def cores(payload: None) -> set[int]:
    return os.sched_getaffinity(0)


def fill(size: int) -> bytes:
    return bytes([int(os.environ["HOROVOD_RANK"])]) * size


def misbehave(payload: tuple[str, str]) -> None:
    """Rank 1 does what it is told once rank 0 has settled down for a long sleep, with a child that sleeps as well."""
    folder, what = Path(payload[0]), payload[1]
    if os.environ["HOROVOD_RANK"] == "0":
        if what == "ignore SIGTERM":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        (folder / "pids.new").write_text(f"{os.getpid()} {child.pid}")
        (folder / "pids.new").rename(folder / "pids")
        print("ready")
        time.sleep(600)
    wait_for((folder / "pids").exists)
    if what == "raise":
        raise ValueError("this batch has no labels")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(7)
    if what == "preempted":
        os.kill(os.getpid(), signal.SIGTERM)
    if what == "memory":
        raise MemoryError
    if what == "disk":
        raise OSError(28, "No space left on device")
    if what == "input":
        raise BadInput("rows.csv has no column 'label'", "name the column in source.label")
    time.sleep(600)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within two minutes"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks import this module by name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))


@pytest.fixture(params=[forked.run, zygote.run], ids=["forked", "zygote"])
def run(request: pytest.FixtureRequest) -> Run:
    """``launch`` along each of its two ways, whichever of them this process would get."""

    def start(
        target: Callable[..., Any], payload: Any, log: Callable[[str], None] = print, stopped: Any = bool, **limits: Any
    ) -> list[Any]:
        limits = {"timeout": 60, "grace": 5.0, "env": {"COLOUR": "blue"}, **limits}
        job = forked.Job(target=f"{__name__}:{target.__name__}", payload=payload, ranks=2, **limits)
        return request.param(job, log, stopped)

    return start


@pytest.fixture
def survivors(tmp_path: Path) -> Callable[[], list[int]]:
    """Which of the processes that ``misbehave`` reports are still there; it must have reported two."""

    def look() -> list[int]:
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(pids) == 2
        return [pid for pid in pids if not gone(pid)]

    return look


def test_results_come_back_in_rank_order_and_lines_carry_their_rank(run: Run) -> None:
    lines: list[str] = []
    assert run(identify, "hello", lines.append) == [("0", "2", "blue"), ("1", "2", "blue")]
    assert sorted(lines) == sorted(
        f"[rank {rank}] {text}" for rank in (0, 1) for text in ("hello from a print", "no newline at the end")
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) % 2 == 1, reason="cores that two ranks cannot share out evenly")
def test_ranks_share_the_cores_out(run: Run) -> None:
    first, second = run(cores, None)
    assert len(first) == len(second)
    assert not first & second
    assert first | second == os.sched_getaffinity(0)


def test_a_result_larger_than_a_pipe_comes_back_whole(run: Run) -> None:
    assert run(fill, 3_000_000) == [b"\0" * 3_000_000, b"\1" * 3_000_000]


@pytest.mark.parametrize(
    ("what", "error", "how", "quoted"),
    [
        ("raise", RankRaised, "rank 1 of 2 ended with exit code 1", "[rank 1] ValueError: this batch has no labels"),
        ("die", RankFailed, "rank 1 of 2 was killed by SIGKILL", ""),
        ("exit", RankFailed, "rank 1 of 2 ended with exit code 7", ""),
        ("preempted", Preempted, "rank 1 of 2 was ended by SIGTERM from outside", ""),
        ("memory", OutOfMemory, "rank 1 of 2 ended with exit code 1", "[rank 1] MemoryError"),
        ("disk", RankFailed, "rank 1 of 2 ended with exit code 1", "[rank 1] OSError: [Errno 28] No space left on"),
    ],
)
def test_the_first_bad_end_ends_the_job(
    run: Run,
    tmp_path: Path,
    survivors: Callable[[], list[int]],
    what: str,
    error: type[RankFailed],
    how: str,
    quoted: str,
) -> None:
    with pytest.raises(RankFailed) as caught:
        run(misbehave, (str(tmp_path), what))
    assert type(caught.value) is error
    assert how in caught.value.message
    assert quoted in caught.value.message
    wait_for(lambda: not survivors())


def test_an_error_meant_for_people_reaches_the_caller_as_it_is(run: Run, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(BadInput) as caught:
        run(misbehave, (str(tmp_path), "input"), lines.append)
    assert caught.value.message == "rows.csv has no column 'label'"
    assert caught.value.fix == "name the column in source.label"
    assert not [line for line in lines if "Traceback" in line]


def lose_a_peer(what: str) -> None:
    """Rank 1 raises or dies while rank 0 reduces with it, for ever."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    for step in range(1_000_000):
        if hvd.rank() == 1 and step == 3:
            if what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("this batch has no labels")
        hvd.allreduce(tf.ones(1), name="gradient")


@pytest.mark.parametrize(("what", "told"), [("raise", "this batch has no labels"), ("die", "was killed by SIGKILL")])
def test_the_cause_is_told_and_not_its_consequence(what: str, told: str) -> None:
    job = forked.Job(f"{__name__}:lose_a_peer", what, 2, 120, {}, 5.0)
    with pytest.raises(RankFailed, match="rank 1 of 2") as caught:
        zygote.run(job, print, bool)
    assert told in caught.value.message


def eat(megabytes: int) -> None:
    """Rank 1 takes so much memory."""
    if os.environ["HOROVOD_RANK"] == "1":
        bytearray(megabytes << 20)
    time.sleep(600)


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup with 200 MB."""
    version_1 = Path("/sys/fs/cgroup/memory")
    folder = (version_1 if version_1.exists() else version_1.parent) / f"updraft-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1.exists() else "memory.max")).write_text(str(200 << 20))
    except OSError as error:
        pytest.skip(f"this machine makes no memory cgroups: {error}")
    yield folder
    folder.rmdir()


def test_what_the_kernel_kills_for_memory_is_told_apart(small_cgroup: Path) -> None:
    program = (
        f"import os, sys; sys.path[:] = {sys.path!r}\n"
        f"open('{small_cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "from tasks.training.jobs import forked\n"
        "try:\n"
        f"    forked.run(forked.Job('{__name__}:eat', 800, 2, 60, {{}}, 1.0), print, bool)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.stdout.startswith("OutOfMemory rank 1 of 2 was killed by the kernel")


def test_out_of_time_even_if_a_rank_ignores_sigterm(run: Run, tmp_path: Path, survivors: Callable[[], Any]) -> None:
    with pytest.raises(RankFailed, match=r"ran out of its 3 seconds while rank\(s\) 0, 1 ran"):
        run(misbehave, (str(tmp_path), "ignore SIGTERM"), timeout=3, grace=0.3)
    wait_for(lambda: not survivors())


def test_a_flag_stops_the_job(run: Run, tmp_path: Path, survivors: Callable[[], Any]) -> None:
    with pytest.raises(RankFailed, match="stopped"):
        run(misbehave, (str(tmp_path), "sleep"), stopped=(tmp_path / "pids").exists)
    wait_for(lambda: not survivors())


def test_an_exception_in_the_launcher_ends_the_job(run: Run, tmp_path: Path, survivors: Callable[[], Any]) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="ready"):
        run(misbehave, (str(tmp_path), "sleep"), interrupt)
    wait_for(lambda: not survivors())


@pytest.mark.parametrize(
    ("way", "number"), [("forked", signal.SIGKILL), ("forked", signal.SIGTERM), ("zygote", signal.SIGKILL)]
)
def test_a_killed_launcher_leaves_no_rank(
    tmp_path: Path, survivors: Callable[[], Any], way: str, number: signal.Signals
) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from tasks.training.jobs import forked, {way}\n"
        f"job = forked.Job('{__name__}:misbehave', ({str(tmp_path)!r}, 'sleep'), 2, None, {{}}, 1.0)\n"
        f"{way}.run(job, print, bool)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as caller:
        try:
            wait_for((tmp_path / "pids").exists)
        finally:
            caller.send_signal(number)
    rank, child = map(int, (tmp_path / "pids").read_text().split())
    wait_for(lambda: gone(rank))
    if way == "forked":
        os.kill(child, signal.SIGKILL)  # the kernel ends what the launcher forked, and no more than that
    wait_for(lambda: not survivors())


def test_what_cannot_run_is_refused_before_any_process_starts() -> None:
    with pytest.raises(BadInput, match="0 ranks"):
        launcher.launch(f"{__name__}:identify", None, ranks=0)
    with pytest.raises(BadInput, match="no function 'identity'"):
        launcher.launch(f"{__name__}:identity", None, ranks=1)
    with pytest.raises(BadInput, match="no_such_module"):
        launcher.launch("no_such_module:identify", None, ranks=1)


@pytest.mark.slow
def test_forking_is_safe_until_tensorflow_runs_in_either_of_its_modes() -> None:
    program = """
import os, tensorflow as tf
from tasks.training.jobs.forked import fork_is_safe

def eager():
    tf.constant(1.0)

def graph():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        session.run(tf.constant(1.0))

print("imported", fork_is_safe(), flush=True)
for mode in (eager, graph):
    if os.fork() == 0:
        mode()
        print(mode.__name__, fork_is_safe(), flush=True)
        os._exit(0)
    os.wait()
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["imported True", "eager False", "graph False"]
