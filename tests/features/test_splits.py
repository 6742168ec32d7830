"""The split: shares, what may never straddle, and what later rows may never move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.shards import SPLITS
from tasks.core.spec import Split
from tasks.features.splits import NOWHERE, Candidates, home, share_out

SPLIT = Split(train=0.6, validation=0.2, test=0.2, seed=3, folds=4)
BY_TIME = SPLIT.model_copy(update={"by": "time"})


@given(
    seed=st.integers(0, 1000),
    shares=st.tuples(*[st.floats(0.05, 1)] * 3),
    entities=st.lists(st.text(max_size=12), min_size=1, max_size=30, unique=True),
)
def test_an_entitys_home_hangs_on_entity_and_seed_alone(
    seed: int, shares: tuple[float, ...], entities: list[str]
) -> None:
    train, validation = shares[0] / sum(shares), shares[1] / sum(shares)
    split = Split(train=train, validation=validation, test=1 - train - validation, seed=seed)
    larger = Split(train=train + validation / 2, validation=validation / 2, test=split.test, seed=seed)
    for entity in entities:
        assert home(split, entity) == home(split, entity)
        moved = (home(split, entity), home(larger, entity))
        assert moved[0] == moved[1] or moved == ("validation", "train")


@pytest.mark.parametrize("seed", [0, 7])
def test_the_shares_are_what_the_spec_asks_for(seed: int) -> None:
    split = Split(train=0.7, validation=0.1, test=0.2, seed=seed)
    names = [home(split, str(number)) for number in range(20_000)]
    for name in SPLITS:
        assert names.count(name) / 20_000 == pytest.approx(getattr(split, name), abs=0.01)


FEW = settings(max_examples=30)
"""Finding near hashes costs a fixed tenth of a second."""

Drawn = list[tuple[str, int, int, int | None]]
_ROWS = st.lists(
    st.tuples(
        st.sampled_from([f"e{n}" for n in range(12)]),
        st.integers(0, 9),
        st.integers(0, 3),
        st.one_of(st.none(), st.sampled_from([0, 1, 3, 7, 15, 31, 63, 255, -1, -2])),
    ),
    min_size=1,
    max_size=30,
)
"""Entity, event, arrival and perceptual hash; the hashes form chains of one bit."""


def candidates(rows: Drawn, bits: int = 1) -> Candidates:
    return Candidates(
        entities=[row[0] for row in rows],
        events=np.array([row[1] for row in rows], np.int64),
        arrivals=np.array([row[2] for row in rows], np.int64),
        hashes=np.array([row[3] or 0 for row in rows], np.int64),
        hashed=np.array([row[3] is not None for row in rows]),
        bits=bits,
    )


def alike(one: tuple, other: tuple, bits: int = 1) -> bool:
    if one[0] == other[0]:
        return True
    return one[3] is not None and other[3] is not None and ((one[3] ^ other[3]) & (2**64 - 1)).bit_count() <= bits


@FEW
@given(rows=_ROWS, split=st.sampled_from([SPLIT, BY_TIME]))
def test_rows_that_are_alike_stand_on_one_side(rows: Drawn, split: Split) -> None:
    """Where its first member belongs; and a row is left out only where its likes are apart."""
    places, folds = share_out(split, candidates(rows))
    kept = [number for number in range(len(rows)) if places[number] != NOWHERE]
    assert set(places[kept]) <= set(SPLITS)
    for one in kept:
        for other in kept:
            if alike(rows[one], rows[other]):
                assert places[one] == places[other] and folds[one] == folds[other]
    if split.by == "entity":
        first = min(range(len(rows)), key=lambda n: (rows[n][2], rows[n][1], rows[n][0]))
        assert places[first] == home(SPLIT, rows[first][0])
    for out in set(range(len(rows))) - set(kept):
        assert len({places[other] for other in kept if alike(rows[out], rows[other])}) > 1
    assert all((folds[number] == -1) == (places[number] in ("test", NOWHERE)) for number in range(len(rows)))


@FEW
@given(rows=_ROWS, later=_ROWS)
def test_later_rows_move_no_earlier_one(rows: Drawn, later: Drawn) -> None:
    before, _ = share_out(SPLIT, candidates(rows))
    arrived = [(entity, event, arrival + 10, known) for entity, event, arrival, known in later]
    after, _ = share_out(SPLIT, candidates([*rows, *arrived]))
    assert after[: len(rows)].tolist() == before.tolist()


@FEW
@given(rows=_ROWS, seed=st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(rows: Drawn, seed: int) -> None:
    rows = sorted(set(rows), key=repr)
    order = np.random.default_rng(seed).permutation(len(rows))
    for split in (SPLIT, BY_TIME):
        places, folds = share_out(split, candidates(rows))
        shuffled, refolded = share_out(split, candidates([rows[n] for n in order]))
        assert shuffled.tolist() == places[order].tolist() and refolded.tolist() == folds[order].tolist()


@FEW
@given(rows=_ROWS)
def test_by_time_nothing_that_trains_is_newer_than_all_that_tests(rows: Drawn) -> None:
    places, _ = share_out(BY_TIME, candidates(rows))
    events = np.array([row[1] for row in rows])
    newest = {name: events[places == name].max() for name in SPLITS if (places == name).any()}
    ordered = [newest[name] for name in SPLITS if name in newest]
    assert ordered == sorted(ordered)


def test_by_time_shares_hold_for_whole_entities() -> None:
    rows: Drawn = [(f"e{n // 3}", n, 0, None) for n in range(900)]
    places, _ = share_out(BY_TIME, candidates(rows))
    assert [int((places == name).sum()) for name in SPLITS] == [540, 180, 180]


def test_a_large_cluster_that_is_torn_is_shared_out_row_by_row() -> None:
    rows: Drawn = [(f"e{n}", n, 0, 0 if n % 2 else None) for n in range(4000)]
    places, _ = share_out(SPLIT, candidates(rows))
    assert set(places[1::2]) == {home(SPLIT, "e1")} and len(set(places[::2])) == 3
