"""Who trains, who judges, who tests: rows shared out so that nothing alike stands on two sides.

Rows of one entity, and images whose perceptual hashes are near, form clusters, and a cluster stays together. By
entity, a row's place never changes when later rows arrive: a cluster goes where its first member's digest puts it, and
a later row that would tie two clusters of different places together is left out. By time, the boundaries move on with
the data.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.shards import SPLITS
from tasks.core.spec import Split
from tasks.runtime.near import groups

NOWHERE = ""
"""The place of a row that is like rows of several splits."""


@dataclass(frozen=True)
class Candidates:
    """The rows to be shared out, N of each.

    Attributes:
        entities: what each row is about.
        events: int64, microseconds: when it happened.
        arrivals: int64, microseconds: when the platform had it.
        hashes: int64 perceptual hashes; None where near-duplicates are not sought.
        hashed: bool: which rows have a hash.
        bits: how many bits of near hashes may differ.
    """

    entities: Sequence[str]
    events: np.ndarray
    arrivals: np.ndarray
    hashes: np.ndarray | None = None
    hashed: np.ndarray | None = None
    bits: int = 0

    def __len__(self) -> int:
        return len(self.entities)

    def near(self) -> np.ndarray:
        """Each row's cluster of near hashes: int64 (N,)."""
        if self.hashes is None:
            return np.arange(len(self))
        return groups(self.hashes, self.bits, self.hashed)


def home(split: Split, entity: str) -> str:
    """The split that an entity's digest puts it into, whatever other entities there are."""
    place = int(digest(split, entity)[:16], 16) / 2**64
    if place < split.train:
        return "train"
    return "validation" if place < split.train + split.validation else "test"


def digest(split: Split, entity: str) -> str:
    """64 hexadecimal digits of the entity and the split's seed."""
    return hashlib.sha256(f"{split.seed}:{entity}".encode()).hexdigest()


def share_out(split: Split, rows: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Puts every row into a split, and outside the test split into a fold.

    Returns:
        The splits' names, object (N,), `NOWHERE` for rows left out; and the folds, int32 (N,), -1 in test.
    """
    _, entity = np.unique(np.array(rows.entities, object), return_inverse=True)
    clusters = _clusters(entity, rows.near())
    order = np.lexsort((entity, rows.events, rows.arrivals))
    places = _by_time(split, rows, clusters) if split.by == "time" else _by_entity(split, rows, entity, clusters, order)
    folds = np.full(len(rows), -1, np.int32)
    fitted = np.isin(places, SPLITS[:2])
    folds[fitted] = _folds(split, rows, clusters, order)[fitted]
    return places, folds


def _clusters(entity: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Connected components of rows that share an entity or a near-cluster: the lowest row number of each."""
    component = np.arange(len(entity))
    while True:
        before = component
        for key in (entity, near):
            lowest = np.full(len(component), len(component))
            np.minimum.at(lowest, key, component)
            component = lowest[key]
        component = component[component]
        if np.array_equal(component, before):
            return component


def _by_entity(
    split: Split, rows: Candidates, entity: np.ndarray, clusters: np.ndarray, order: np.ndarray
) -> np.ndarray:
    homes = {entity: home(split, entity) for entity in set(rows.entities)}
    places = np.array([homes[entity] for entity in rows.entities], object)
    number = np.array([SPLITS.index(place) for place in places], np.int64)
    low, high = np.full(len(rows), len(SPLITS)), np.full(len(rows), -1)
    np.minimum.at(low, clusters, number)
    np.maximum.at(high, clusters, number)
    torn = order[(low < high)[clusters[order]]]
    for members in _grouped(torn, clusters[torn]):
        places[members] = _one_by_one(rows, entity, members, places[members])
    return places


def _one_by_one(rows: Candidates, entity: np.ndarray, members: np.ndarray, homes: np.ndarray) -> np.ndarray:
    """Places a cluster's rows in the order of their arrival: with those alike that are there already, else at home."""
    places = homes.copy()
    kept = np.zeros(len(members), bool)
    for number, row in enumerate(members):
        earlier = np.flatnonzero(kept[:number])
        found = sorted(set(places[earlier[_alike(rows, entity, row, members[earlier])]]))
        places[number] = (found[0] if len(found) == 1 else NOWHERE) if found else homes[number]
        kept[number] = places[number] != NOWHERE
    return places


def _alike(rows: Candidates, entity: np.ndarray, row: int, others: np.ndarray) -> np.ndarray:
    """Which of ``others`` (row numbers) are of the row's entity or near it: bool."""
    same = entity[others] == entity[row]
    if rows.hashes is None or rows.hashed is None or not rows.hashed[row]:
        return same
    distance = np.bitwise_count(rows.hashes[others].view(np.uint64) ^ rows.hashes[[row]].view(np.uint64))
    return same | (rows.hashed[others] & (distance <= rows.bits))


def _by_time(split: Split, rows: Candidates, clusters: np.ndarray) -> np.ndarray:
    """Clusters in the order of their last event: nothing that trains is later than a boundary."""
    last = np.full(len(rows), np.iinfo(np.int64).min)
    np.maximum.at(last, clusters, rows.events)
    found, sizes = np.unique(clusters, return_counts=True)
    names = np.array([min(rows.entities[i] for i in members) for members in _grouped(np.arange(len(rows)), clusters)])
    order = np.lexsort((names, last[found]))
    middle = np.empty(len(found))
    middle[order] = (np.cumsum(sizes[order]) - sizes[order] / 2) / max(1, len(rows))
    bounds = np.array([split.train, split.train + split.validation])
    return np.array(SPLITS, object)[np.searchsorted(bounds, middle, side="right")][np.searchsorted(found, clusters)]


def _folds(split: Split, rows: Candidates, clusters: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The fold of each row's cluster, by the digest of its first member."""
    position = np.empty(len(rows), np.int64)
    position[order] = np.arange(len(rows))
    first = np.full(len(rows), len(rows))
    np.minimum.at(first, clusters, position)
    leaders = order[first[np.unique(clusters)]]
    fold = {clusters[i]: int(digest(split, f"fold:{rows.entities[i]}")[:16], 16) % split.folds for i in leaders}
    return np.array([fold[cluster] for cluster in clusters], np.int32)


def _grouped(rows: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """``rows`` by their key, keys ascending, each group in the order given."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return np.split(rows[order], starts[1:]) if len(rows) else []
