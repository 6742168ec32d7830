"""What waits for a model goes together, is refused when it is too much, and never stands in another request's way."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import memory
from serving.batching import Batcher
from serving.errors import Problem
from serving.memory import Loaded, Memory, worthwhile
from serving.models import Live, read_live
from tasks.runtime.predictor import Inputs, Predictor
from tests.packages import write_package

ROWS = 8
"""That the gated model predicts together."""


class Gated:
    """A live model of rows that predicts when it is let, and remembers how many rows each call had."""

    def __init__(self, folder: Path, timeout: float = 30, at_once: int = 0) -> None:
        write_package(folder, name="people")
        live = read_live(folder, Memory(None))
        self.live = replace(live, signature=live.signature.model_copy(update={"timeout_seconds": timeout}))
        self.calls: list[int] = []
        self.threads: set[str] = set()
        self.opened, self.entered = threading.Event(), threading.Event()
        predictor = self.live.predictor
        self.ungated = predictor.predict
        predictor.predict = self.predict  # type: ignore[method-assign]
        self.live.model.loaded = Loaded(predictor, ROWS, 1, at_once)

    def predict(self, inputs: Inputs) -> np.ndarray:
        """See `Predictor`."""
        self.calls.append(len(inputs))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.opened.wait(30)
        if np.isinf(inputs.features["numeric"]).any():
            raise ValueError("no such age")
        return self.ungated(inputs)


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[Gated]:
    """The gate is closed; it is open when the test ends, for the threads' sake."""
    gated = Gated(tmp_path)
    yield gated
    gated.opened.set()


@dataclass
class Rows:
    """Rows as `Preparable`."""

    ages: Sequence[float]
    refused: Exception | None = None
    prepared: bool = False

    def prepare(self, predictor: Predictor) -> Inputs:
        """See `Preparable`."""
        self.prepared = True
        if self.refused:
            raise self.refused
        return Inputs(None, {"numeric": np.array([[age, 1] for age in self.ages], np.float32)})

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `Preparable`."""
        return self.prepare(predictor) if len(self.ages) <= most else None


def _ages(*ages: float) -> Rows:
    return Rows(ages)


async def _while_busy(gated: Gated, batcher: Batcher, *others: Rows) -> list[Any]:
    """Has the model busy with one request until the others are prepared, too; what each got, the first one's first."""
    first = asyncio.create_task(batcher.run(gated.live, _ages(1)))
    await _until(gated.entered.is_set)
    rest = [asyncio.create_task(batcher.run(gated.live, other)) for other in others]
    await _until(lambda: all(other.prepared for other in others))
    await asyncio.sleep(0.1)
    gated.opened.set()
    return await asyncio.gather(first, *rest, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def _labels(answer: tuple[Inputs, np.ndarray]) -> list[int]:
    return answer[1].argmax(axis=1).tolist()


def test_what_waits_while_the_model_runs_goes_together(gated: Gated) -> None:
    answers = asyncio.run(_while_busy(gated, Batcher(), _ages(80), _ages(20, 90), _ages(10)))
    assert gated.calls == [1, 4]
    assert [_labels(answer) for answer in answers] == [[0], [1], [0, 1], [0]]
    assert [len(inputs) for inputs, _ in answers] == [1, 1, 2, 1]


def test_no_more_rows_go_together_than_pay(gated: Gated) -> None:
    others = [*(_ages(*[80.0] * 3) for _ in range(3)), _ages(*[80.0] * 20)]
    answers = asyncio.run(_while_busy(gated, Batcher(), *others))
    assert [len(found) for _, found in answers] == [1, 3, 3, 3, 20]
    assert sorted(gated.calls) == [1, 3, 6, 20]


def test_a_lone_request_waits_for_nobody(gated: Gated) -> None:
    gated.opened.set()

    async def one_by_one() -> list[list[int]]:
        batcher = Batcher()
        return [_labels(await batcher.run(gated.live, _ages(age))) for age in (80, 20)]

    assert asyncio.run(one_by_one()) == [[1], [0]]
    assert gated.calls == [1, 1]


def test_too_many_are_refused_and_later_ones_are_not(gated: Gated) -> None:
    async def crowd() -> None:
        batcher = Batcher(most=3)
        waiting = [asyncio.create_task(batcher.run(gated.live, _ages(80))) for _ in range(3)]
        await _until(lambda: batcher.waiting() == 3)
        with pytest.raises(Problem) as refused:
            await batcher.run(gated.live, _ages(80))
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (429, "overloaded", 1)
        gated.opened.set()
        await asyncio.gather(*waiting)
        assert batcher.waiting() == 0
        assert _labels(await batcher.run(gated.live, _ages(80))) == [1]

    asyncio.run(crowd())


def test_what_takes_too_long_is_told_so_and_not_predicted_any_more(tmp_path: Path) -> None:
    gated = Gated(tmp_path, timeout=0.3)

    async def late() -> None:
        batcher = Batcher()
        both = [batcher.run(gated.live, _ages(80)), batcher.run(gated.live, _ages(20, 20))]
        for answer in await asyncio.gather(*both, return_exceptions=True):
            assert isinstance(answer, Problem) and (answer.status, answer.code) == (503, "timeout")
        gated.opened.set()
        assert _labels(await batcher.run(gated.live, _ages(80))) == [1]

    asyncio.run(late())
    assert len(gated.calls) == 2


def test_a_request_that_cannot_be_predicted_fails_alone(gated: Gated) -> None:
    refuse = Rows([80], Problem(422, "wrong_type", "age is 'old'"))
    _, good, failed, refused = asyncio.run(_while_busy(gated, Batcher(), _ages(80), _ages(np.inf), refuse))
    assert _labels(good) == [1]
    assert isinstance(failed, ValueError) and isinstance(refused, Problem)
    assert gated.calls[:2] == [1, 2]


@pytest.fixture
def quick(tmp_path: Path) -> Gated:
    """A model of which requests of up to two rows are quickly done."""
    quick = Gated(tmp_path, at_once=2)
    quick.opened.set()
    return quick


def test_small_requests_to_a_quick_model_go_together_on_the_event_loop(quick: Gated) -> None:
    async def crowd() -> list[Any]:
        batcher = Batcher()
        sent = [_ages(80), _ages(20, 90), Rows([80], Problem(422, "wrong_type", "age is 'old'")), _ages(np.inf)]
        return await asyncio.gather(*(batcher.run(quick.live, rows) for rows in sent), return_exceptions=True)

    one, two, refused, failed = asyncio.run(crowd())
    assert (_labels(one), _labels(two)) == ([1], [0, 1])
    assert isinstance(refused, Problem) and isinstance(failed, ValueError)
    assert quick.calls == [4, 1, 2, 1], "together, and each alone where that fails"
    assert quick.threads == {threading.main_thread().name}


def test_as_many_rows_of_small_requests_go_together_as_pay(quick: Gated) -> None:
    async def crowd() -> list[Any]:
        batcher = Batcher()
        return await asyncio.gather(*(batcher.run(quick.live, _ages(80, 20)) for _ in range(6)))

    assert [_labels(answer) for answer in asyncio.run(crowd())] == [[1, 0]] * 6
    assert quick.calls == [ROWS, 4]


def test_small_requests_do_not_wait_for_a_large_one_to_the_same_model(quick: Gated) -> None:
    quick.opened.clear()

    async def large_and_small() -> tuple[list[int], list[int]]:
        batcher = Batcher()
        large = asyncio.create_task(batcher.run(quick.live, _ages(80, 80, 20)))
        await _until(quick.entered.is_set)
        quick.live.predictor.predict = quick.ungated  # type: ignore[method-assign]
        small = _labels(await batcher.run(quick.live, _ages(20)))
        assert not large.done()
        quick.opened.set()
        return small, _labels(await large)

    assert asyncio.run(large_and_small()) == ([0], [1, 1, 0])
    assert threading.main_thread().name not in quick.threads


def test_other_work_does_not_stand_before_predictions(gated: Gated) -> None:
    gated.opened.set()

    async def explain_and_predict() -> tuple[str, list[int]]:
        batcher, begun, ended = Batcher(), threading.Event(), threading.Event()

        def explain(predictor: Predictor) -> str:
            begun.set()
            assert ended.wait(30)
            return predictor.signature.project

        explaining = asyncio.create_task(batcher.call(gated.live, explain))
        await _until(begun.is_set)
        labels = _labels(await batcher.run(gated.live, _ages(80)))
        ended.set()
        return await explaining, labels

    assert asyncio.run(explain_and_predict()) == ("people", [1])


@pytest.mark.parametrize(
    ("call", "row", "rows"),
    [
        (1.0, 0.0, 64),  # the call is everything
        (0.0, 1.0, 1),  # the row is everything
        (1.0, 1.0, 16),  # a call of 16 is nearly as fast per row as one of 64
        (40.0, 400.0, 1),  # long calls are not tried
    ],
)
def test_as_many_rows_as_pay(monkeypatch: pytest.MonkeyPatch, call: float, row: float, rows: int) -> None:
    clock = [0.0]

    def predict(inputs: Inputs) -> None:
        clock[0] += (call + row * len(inputs)) / 10_000

    monkeypatch.setattr(memory.time, "perf_counter", lambda: clock[0])
    assert worthwhile(predict, lambda size: Inputs(None, {"x": np.zeros((size, 1))})) == rows


@pytest.fixture
def lives(room: Callable[[float], tuple[Memory, list[Live]]]) -> list[Live]:
    """Models where there is room for two."""
    return room(25)[1][:3]


def _loaded(lives: list[Live]) -> list[int]:
    return [number for number, live in enumerate(lives) if live.model.loaded]


async def _ask(live: Live) -> Any:
    return await Batcher().run(live, _ages(80))


def test_the_model_not_asked_for_longest_makes_room(lives: list[Live]) -> None:
    asked: list[list[int]] = []
    for number in (0, 1, 0, 2, 1):
        assert _labels(asyncio.run(_ask(lives[number]))) == [1]
        asked.append(_loaded(lives))
    assert asked == [[0], [0, 1], [0, 1], [0, 2], [1, 2]]


def test_a_model_that_cannot_be_loaded_is_503_and_the_others_stay(lives: list[Live]) -> None:
    asyncio.run(_ask(lives[0]))
    (lives[1].model.folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Problem) as refused:
        asyncio.run(_ask(lives[1]))
    assert (refused.value.status, refused.value.code) == (503, "model_unavailable")
    assert _loaded(lives) == [0]


def test_a_request_keeps_the_model_that_it_began_with(lives: list[Live]) -> None:
    predictor = lives[0].predictor
    for live in lives[1:]:
        asyncio.run(_ask(live))
    assert _loaded(lives) == [1, 2]
    assert predictor.predict(_ages(80).prepare(predictor)).argmax() == 1
