"""The kernel's count of processes that it killed for lack of memory, as both versions of cgroups say it."""

from pathlib import Path

import pytest

from tasks.training.jobs.memory import kills


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"


@pytest.mark.parametrize(
    ("cgroup", "path", "text"),
    [
        ("0::/jobs/a\n", "jobs/a/memory.events", EVENTS),
        ("0::/of/the/host\n", "memory.events", EVENTS),
        ("9:cpu:/x\n4:memory:/jobs/a\n0::/\n", "memory/jobs/a/memory.oom_control", CONTROL),
        ("4:memory:/of/the/host\n", "memory/memory.oom_control", CONTROL),
    ],
    ids=["v2", "v2 in a container", "v1", "v1 in a container"],
)
def test_the_count_of_this_process_s_cgroup(tmp_path: Path, cgroup: str, path: str, text: str) -> None:
    write(tmp_path, "proc/self/cgroup", cgroup)
    write(tmp_path, f"sys/fs/cgroup/{path}", text)
    assert kills(tmp_path) == 2


def test_a_host_that_does_not_say_is_no_evidence(tmp_path: Path) -> None:
    assert kills(tmp_path) is None
