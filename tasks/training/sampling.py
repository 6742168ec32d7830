"""Few and skewed rows: what the training split is drawn from. Validation and test stay as they are.

Rows that are drawn again, left out or made up between neighbours are only numbers here; their values are gathered, and
interpolated, batch by batch.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.errors import BadInput
from tasks.core.spec import Project
from tasks.training.batches import Rows


@dataclass(frozen=True)
class Pool:
    """The rows that an epoch goes through: stored ones, and points on the line between two stored ones.

    Attributes:
        stored: the training split.
        left: number of the stored row that each starts from, int64 (N,).
        right: number of the one it goes towards, int64 (N,).
        step: how far, 0 to 1, float32 (N,); 0: a stored row as it is.
        labels: int32 (N,); of a regression float32.
        weights: in the loss, float32 (N,); None: all the same.
    """

    stored: Rows
    left: np.ndarray
    right: np.ndarray
    step: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.left)

    def take(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """See `tasks.training.batches.Source`; pixels between two images are rounded."""
        found = self.stored.take(self.left[numbers])
        between = np.nonzero(self.step[numbers])
        if not len(between[0]):
            return found
        made = numbers[between]
        towards = self.stored.take(self.right[made])
        for name, values in found.items():
            start, end = values[between].astype(np.float32), towards[name].astype(np.float32)
            mixed = start + self.step[made].reshape(-1, *[1] * (start.ndim - 1)) * (end - start)
            values[between] = np.rint(mixed) if values.dtype == np.uint8 else mixed
        return found


def draw(stored: Rows, spec: Project) -> Pool:
    """The pool that ``spec.sampling.balance`` makes of the training split: a function of both and ``training.seed``.

    ``class_weights`` makes every class count the same in the loss; ``oversample`` and ``smote`` bring every class to
    the size of the largest, ``undersample`` to that of the smallest.

    Raises:
        BadInput: SMOTE (Chawla et al., 2002) finds a class with a single row, which has no neighbour.
    """
    every = np.arange(len(stored))
    balance = spec.sampling.balance
    if balance == "none" or len(np.unique(stored.labels)) < 2:
        return _pool(stored, every)
    if balance == "class_weights":
        return _pool(stored, every, weights=class_weights(stored.labels))
    if balance == "smote":
        return _smote(stored, spec)
    return _pool(stored, _resampled(stored.labels, balance, spec.training.seed))


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Each row's weight, float32 (N,): in inverse proportion to the size of its class, 1 on average."""
    _, member, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights: np.ndarray = (len(labels) / (len(sizes) * sizes[member])).astype(np.float32)
    return weights


def _pool(stored: Rows, numbers: np.ndarray, weights: np.ndarray | None = None) -> Pool:
    step = np.zeros(len(numbers), np.float32)
    return Pool(stored, numbers, numbers, step, stored.labels[numbers], weights)


def _resampled(labels: np.ndarray, balance: str, seed: int) -> np.ndarray:
    # Here and below, since few projects need what takes a second to import.
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    sampler = {"oversample": RandomOverSampler, "undersample": RandomUnderSampler}[balance](random_state=seed)
    numbers, _ = sampler.fit_resample(np.arange(len(labels))[:, None], labels)
    return np.sort(numbers[:, 0])


def _smote(stored: Rows, spec: Project) -> Pool:
    """Neighbours are sought among the transformed features.

    imbalanced-learn is given the identity matrix for data: a row it makes up then names its parents and their shares.
    """
    from imblearn.over_sampling import SMOTE
    from scipy.sparse import identity
    from threadpoolctl import threadpool_limits

    _refuse_lonely(stored.labels, spec)
    neighbours = _neighbours(stored, spec.sampling.neighbours)
    sampler = SMOTE(random_state=spec.training.seed, k_neighbors=neighbours)
    with threadpool_limits(1):  # distances, and so the nearest, depend on the number of threads
        shares, labels = sampler.fit_resample(identity(len(stored), format="csr"), stored.labels)
    shares.eliminate_zeros()
    shares.sort_indices()
    first, last = shares.indptr[:-1], shares.indptr[1:] - 1
    step = np.where(first == last, 0, shares.data[last]).astype(np.float32)
    return Pool(stored, shares.indices[first], shares.indices[last], step, labels)


def _neighbours(stored: Rows, count: int) -> Any:
    """What imbalanced-learn asks for neighbours: rows of the identity stand for those of ``stored``.

    A class with fewer other rows than ``count`` has them all as neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    class Neighbours(NearestNeighbors):
        def fit(self, chosen: Any, y: None = None) -> "Neighbours":
            self.n_neighbors = min(count + 1, chosen.shape[0])
            return super().fit(stored.features_of(chosen.indices))

        def kneighbors(self, chosen: Any, **options: Any) -> Any:
            return super().kneighbors(stored.features_of(chosen.indices), **options)

    return Neighbours()


def _refuse_lonely(labels: np.ndarray, spec: Project) -> None:
    found, sizes = np.unique(labels, return_counts=True)
    lonely = [spec.classes[label] for label in found[sizes == 1]]
    if lonely:
        raise BadInput(
            f"sampling.balance smote: {', '.join(lonely)} has a single row in the training split, and no neighbour.",
            "Use oversample, or bring more rows of that class.",
        )
