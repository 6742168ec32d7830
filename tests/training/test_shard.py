"""Which rows a rank trains on and measures."""

import numpy as np
import pytest

from tasks.core.errors import BadInput
from tasks.training.distributed import Place, shard, share


def test_shards_of_a_step_are_disjoint_parts_of_one_global_batch() -> None:
    whole = shard(103, 12, rank=0, size=1, seed=3, epoch=5)
    parts = [shard(103, 4, rank=rank, size=3, seed=3, epoch=5) for rank in range(3)]
    assert whole.shape == (8, 12)
    assert len(np.unique(whole)) == whole.size
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_order_is_another_in_every_epoch_and_for_every_seed_and_the_same_when_asked_again() -> None:
    def order(**changed: int) -> list[int]:
        return shard(64, 8, **{"rank": 0, "size": 2, "seed": 1, "epoch": 0, **changed}).ravel().tolist()

    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=2)


def test_fewer_rows_than_a_global_batch_are_refused_with_the_batch_that_fits() -> None:
    with pytest.raises(BadInput, match="at most 5"):
        shard(11, 8, rank=0, size=2, seed=0, epoch=0)


def test_an_epoch_has_whole_updates_only() -> None:
    found = [shard(103, 4, rank=rank, size=3, seed=3, epoch=5, accumulate=3) for rank in range(3)]
    assert {rows.shape for rows in found} == {(6, 4)}
    with pytest.raises(BadInput, match="at most 3"):
        shard(103, 4, rank=0, size=3, seed=0, epoch=0, accumulate=9)


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (7, 7), (2, 3)])
def test_ranks_measure_each_row_equally_often(rows: int, size: int) -> None:
    counts = np.bincount([row for rank in range(size) for row in share(rows, Place(rank, size))], minlength=rows)
    assert (counts == counts[0]).all() and counts[0] > 0
