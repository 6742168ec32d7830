"""The cache: what makes a HIT, what is said about a MISS, and that nothing half-made is ever seen."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.artifacts import MANIFEST, Manifest, Rows, digest_json
from tasks.core.config import load_project
from tasks.core.errors import Refused, UpdraftError
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome, Stage, execute, load_manifest
from tasks.core.store import open_store
from tests.stages import stage

calls: list[str] = []


@stage("first", "split.seed", "training")
def first(ctx: Context) -> Outcome:
    calls.append("first")
    (ctx.out / "value.txt").write_text(f"{ctx.spec.split.seed}")
    return Outcome(rows=Rows(received=3, published=2, quarantined=1), reasons={"bad": 1}, metrics={"x": 1})


@stage("second", reproducible=False)
def second(ctx: Context) -> Outcome:
    calls.append("second")
    (ctx.out / "copy.txt").write_text(ctx.file(ctx.input("first"), "value.txt").read_text())
    return Outcome()


@stage("watcher", outside=lambda ctx: {"world": (settings().home / "world").read_text()})
def watcher(ctx: Context) -> Outcome:
    return Outcome()


@stage("leaky")
def leaky(ctx: Context) -> Outcome:
    return Outcome(rows=Rows(received=3, published=1, quarantined=1))


@stage("failing")
def failing(ctx: Context) -> Outcome:
    (ctx.out / "half.txt").write_text("half")
    raise UpdraftError("It broke.", "Mend it.")


@stage("dying")
def dying(ctx: Context) -> Outcome:
    (ctx.out / "half.txt").write_text("half")
    if not (ctx.work / "been-here").exists():
        (ctx.work / "been-here").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    (ctx.out / "whole.txt").write_text("whole")
    return Outcome()


def run(
    which: Stage, inputs: dict[str, Any] | None = None, sets: dict[str, Any] | None = None, **options: Any
) -> Manifest:
    calls.clear()
    store, registry = open_store(settings().store_uri), Registry(settings().registry_url)
    return execute(which, load_project("digits", sets), inputs or {}, store=store, registry=registry, **options)


def published(home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in (home / "store" / "digits").rglob("*") if path.is_file()]


def test_the_same_key_runs_once_and_gives_the_same_manifest(home: Path) -> None:
    made, again = run(first, partition="2026-01-01"), run(first, partition="2026-01-01")
    assert (made.cache, made.because, again.cache) == ("MISS", "first run", "HIT")
    assert calls == []
    told = {"cache", "because", "seconds"}
    assert made.model_dump(exclude=told) == again.model_dump(exclude=told)
    stored = load_manifest(open_store(settings().store_uri), made.path)
    assert stored.rows == Rows(received=3, published=2, quarantined=1)


def test_a_miss_names_what_changed(home: Path) -> None:
    run(first)
    changed = run(first, sets={"split.seed": 8, "training.epochs": 5})
    assert changed.cache == "MISS"
    assert "split.seed changed: 7 -> 8" in changed.because
    assert "training.epochs changed: 30 -> 5" in changed.because
    assert run(first, sets={"tuning.trials": 99}).cache == "HIT", "a field that the stage does not declare"


def test_later_keys_follow_the_bytes_of_a_reproducible_input(home: Path) -> None:
    one = run(second, {"first": [run(first)]})
    same_bytes = run(second, {"first": [run(first, sets={"training.epochs": 5})]})
    other_bytes = run(second, {"first": [run(first, sets={"split.seed": 8})]})
    assert same_bytes.cache == "HIT"
    assert other_bytes.cache == "MISS"
    assert "input first" in other_bytes.because
    assert one.digest == one.key, "what cannot be reproduced stands for itself"


def test_outside_state_is_part_of_the_key(home: Path) -> None:
    home.mkdir()
    (home / "world").write_text("a")
    run(watcher)
    (home / "world").write_text("b")
    assert "world changed: a -> b" in run(watcher).because


def test_force_works_again_and_leaves_the_old_artifact(home: Path) -> None:
    old = run(first)
    new = run(first, force=True, run_id="manual-1")
    assert (new.cache, new.because) == ("MISS", "forced")
    assert new.key != old.key
    assert run(first).key == old.key


def test_an_artifact_that_lost_a_file_is_made_again(home: Path) -> None:
    made = run(first)
    (home / "store" / made.folder / "value.txt").unlink()
    again = run(first)
    assert (again.cache, again.digest) == ("MISS", made.digest)
    assert (home / "store" / made.folder / "value.txt").exists()


def test_rows_that_do_not_add_up_are_refused(home: Path) -> None:
    with pytest.raises(Refused, match="do not add up"):
        run(leaky)
    assert published(home) == []


def test_a_failed_stage_publishes_nothing(home: Path) -> None:
    with pytest.raises(UpdraftError, match="It broke"):
        run(failing)
    assert published(home) == []


def test_a_stage_killed_half_way_publishes_nothing_and_a_rerun_completes(home: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=run, args=(dying,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert published(home) == []
    made = run(dying)
    assert set(made.outputs) == {"half.txt", "whole.txt"}
    assert len(published(home)) == 3
    assert list((home / "work").iterdir()) == [], "the work folder goes once the artifact stands"


def test_two_attempts_at_once_do_the_work_once(home: Path) -> None:
    run(first, sets={"split.seed": 1})  # the registry and the folders stand
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(first,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    caches = [r.cache for r in Registry(settings().registry_url).runs("digits") if r.stage == "first"]
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(caches) == ["HIT", "HIT", "MISS", "MISS"]


def test_code_is_part_of_the_key_but_comments_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import tasks.core.code as code

    monkeypatch.setattr(code, "ROOT", tmp_path)
    (tmp_path / "tasks").mkdir()
    versions = []
    for source in ("x = 1\n", '"""Says what."""\n# and why\nx   =  1\n', "x = 2\n", "import tasks.helper\nx = 2\n"):
        (tmp_path / "tasks" / "mine.py").write_text(source)
        (tmp_path / "tasks" / "helper.py").write_text("y = 1\n")
        code.code_version.cache_clear()
        versions.append(code.code_version("tasks.mine"))
    (tmp_path / "tasks" / "helper.py").write_text("y = 2\n")
    code.code_version.cache_clear()
    versions.append(code.code_version("tasks.mine"))
    assert versions[0] == versions[1]
    assert len(set(versions[1:])) == 4
    assert "tasks.mine" not in sys.modules


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=1))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


def test_the_manifest_is_what_the_design_promises(home: Path) -> None:
    stored = (home / "store" / run(first).folder / MANIFEST).read_text()
    for field in ("project", "stage", "partition", "key", "cache", "because", "inputs", "outputs", "in", "published"):
        assert f'"{field}"' in stored
    assert str(home) not in stored, "a path of this machine would make it differ elsewhere"
