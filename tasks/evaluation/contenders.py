"""The packaged models that are measured: every form of the candidate, and the champion."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tasks.core.errors import BadInput, StageFailed
from tasks.core.registry import Version
from tasks.core.shards import Split
from tasks.core.spec import CnnEmbedding
from tasks.core.stages import Context
from tasks.core.store import Store
from tasks.evaluation.robustness import Disturbed
from tasks.runtime.predictor import Inputs, Predictor

PLAIN = "plain"
"""The candidate as it was trained; what its smaller forms are held against."""

CHAMPION = "champion"


@dataclass(frozen=True)
class Contender:
    """One packaged model.

    Attributes:
        folder: the package.
        classes: the spec's, in the order of the answers; none of a regression.
    """

    folder: Path
    predictor: Predictor
    classes: tuple[str, ...]

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Probabilities, float32 (N, classes), 0 for a class that it does not know; of a regression numbers, (N,)."""
        return self._ours(self.predictor.predict(inputs))

    def predict_received(self, store: Store, split: Split) -> np.ndarray:
        """What `predict` gives for the rows as they were received: with its own decoder, features and transform."""
        if split.rows is None:
            return self._ours(self.predictor.predict_bytes(map(store.read_bytes, split.uris)))
        # Not strict: columns may have come and gone since it was trained.
        return self._ours(self.predictor.predict_rows(map(json.loads, split.rows), strict=False))

    def prepare(self, given: Disturbed) -> Inputs:
        """The features of disturbed rows, ready for `predict`."""
        if isinstance(given, np.ndarray):
            return self.predictor.prepare_pixels(given)
        return self.predictor.prepare_rows(given, strict=False)

    def sees_as(self, other: "Contender") -> bool:
        """Whether both compute the same features, so that what one has prepared does for the other."""
        mine, theirs = self.predictor.signature, other.predictor.signature
        if any(isinstance(feature, CnnEmbedding) for feature in mine.features):
            # The networks may be different ones.
            return mine.build == theirs.build
        return (mine.image, mine.columns, mine.features) == (theirs.image, theirs.columns, theirs.features)

    def takes(self, given: Disturbed) -> bool:
        """Whether it takes pixels of this size; rows it takes as they come."""
        image = self.predictor.signature.image
        return image is None or (isinstance(given, np.ndarray) and given.shape[1:] == image.shape)

    def _ours(self, found: np.ndarray) -> np.ndarray:
        return in_our_order(found, self.predictor.classes, self.classes) if self.classes else found[:, 0]


def forms(ctx: Context) -> dict[str, Contender]:
    """Every form of the candidate that was exported, the plain one first."""
    exported = ctx.input("export")
    names = sorted(exported.metrics["forms"], key=lambda name: name != PLAIN)
    folders = {name: ctx.file(exported, name) for name in names}
    return {name: Contender(folder, Predictor.load(folder), ctx.spec.classes) for name, folder in folders.items()}


def load_champion(ctx: Context, version: Version) -> Contender:
    """The package that serves.

    Raises:
        BadInput: it predicts classes and the candidate numbers, or the other way round.
    """
    folder = ctx.store.fetch(PurePosixPath(version.package).parent.as_posix())
    predictor = Predictor.load(folder)
    if predictor.is_regression != ctx.spec.is_regression:
        message = (
            f"{ctx.spec.name}: champion version {version.version} predicts something else than this {ctx.spec.task}."
        )
        raise BadInput(message, "Give the new task a project of its own.")
    return Contender(folder, predictor, ctx.spec.classes)


def ask(contenders: Mapping[str, Contender], store: Store, split: Split) -> dict[str, np.ndarray]:
    """Everybody's answers for a whole split, see `Contender.predict`.

    Raises:
        StageFailed: some of the plain form's are no numbers.
    """
    plain, inputs = contenders[PLAIN], Inputs(split.images, split.features)
    answers = {
        name: each.predict(inputs) if each.sees_as(plain) else each.predict_received(store, split)
        for name, each in contenders.items()
    }
    check_finite(answers[PLAIN])
    return answers


def ask_disturbed(contenders: Mapping[str, Contender], given: Disturbed) -> dict[str, np.ndarray]:
    """The answers for disturbed rows of everybody who takes them."""
    plain = contenders[PLAIN]
    inputs = plain.prepare(given)
    return {
        name: each.predict(inputs if each.sees_as(plain) else each.prepare(given))
        for name, each in contenders.items()
        if each.takes(given)
    }


def check_finite(found: np.ndarray) -> None:
    """Refuses a candidate that predicts no numbers, (N, ...).

    Raises:
        StageFailed: for some of the rows it does not.
    """
    bad = int((~np.isfinite(found.reshape(len(found), -1)).all(axis=1)).sum())
    if bad:
        raise StageFailed(
            f"The candidate predicts no numbers for {bad} of {len(found)} test rows: its training diverged.",
            "Lower training.learning_rate, or the upper end of its search space.",
        )


def in_our_order(found: np.ndarray, theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Columns of ``found`` (N, theirs) by class name: (N, ours), 0 for a class that they do not know."""
    columns = [
        found[:, list(theirs).index(name)] if name in theirs else np.zeros(len(found), found.dtype) for name in ours
    ]
    return np.stack(columns, axis=1)
