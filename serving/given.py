"""What a request asks about: images, rows of a table, or entities whose features are online."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from serving.errors import Problem, bad_image, bad_row
from tasks.runtime.baseline import Baseline
from tasks.runtime.images import BadImage
from tasks.runtime.instances import BadRow
from tasks.runtime.predictor import Inputs, Predictor

Explanation = dict[str, Any]

AT_ONCE_BYTES = 32 * 1024
"""Of a request whose images are decoded, or texts split, on the event loop."""

AT_ONCE_PIXELS = 256 * 256
"""Of each of its images: a few bytes can unpack to many pixels."""


class Preparable(Protocol):
    """One or more rows as they were received."""

    def prepare(self, predictor: Predictor) -> Inputs:
        """What the graph takes; in a thread.

        Raises:
            Problem: one of them is none that the model takes.
        """
        ...

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """The same on the event loop; None where it could take longer than some milliseconds.

        Args:
            most: rows that do not.

        Raises:
            Problem: see `prepare`.
        """
        ...


class Given(Preparable, Protocol):
    """One or more rows, whatever they were sent as."""

    def __len__(self) -> int:
        """How many."""
        ...

    def about(self, index: int) -> Mapping[str, Any]:
        """What is said of a row beside its prediction."""
        ...


class Explainable(Given, Protocol):
    """What a prediction can be explained for."""

    def explain(self, predictor: Predictor, baseline: Baseline | None, label: str | None) -> list[Explanation]:
        """Why the model answers so, for each; in a thread.

        Args:
            baseline: what training rows looked like.
            label: the class whose probability is explained; None: the likeliest.

        Raises:
            Problem: 422 one of them is none that the model takes.
        """
        ...


@dataclass(frozen=True)
class Images:
    """Images as they were received."""

    received: Sequence[bytes]

    def __len__(self) -> int:
        """See `Given`."""
        return len(self.received)

    def prepare(self, predictor: Predictor) -> Inputs:
        """See `Preparable`."""
        return Inputs.join(self._each(predictor.prepare))

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `Preparable`."""
        if len(self) > most or sum(map(len, self.received)) > AT_ONCE_BYTES:
            return None
        try:
            return Inputs.join(self._each(partial(predictor.prepare, max_pixels=AT_ONCE_PIXELS)))
        except Problem as problem:
            if problem.code == "too_many_pixels":
                return None
            raise

    def about(self, index: int) -> Mapping[str, Any]:
        """See `Given`."""
        return {}

    def explain(self, predictor: Predictor, baseline: Baseline | None, label: str | None) -> list[Explanation]:
        """See `Explainable`; with a picture of the grid over the image as base64 PNG."""
        from tasks.runtime.explanation import explain, heatmap

        def explained(row: Inputs) -> Explanation:
            assert row.pixels is not None
            found = explain(predictor, row, label, baseline)
            return {**found, "heatmap": base64.b64encode(heatmap(row.pixels[0], found["grid"])).decode()}

        return [explained(row) for row in self._each(predictor.prepare)]

    def _each(self, prepare: Callable[[bytes], Inputs]) -> list[Inputs]:
        return [_decoded(prepare, data, index) for index, data in enumerate(self.received)]


@dataclass(frozen=True)
class Rows:
    """Rows of a table, column to value."""

    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        """See `Given`."""
        return len(self.rows)

    def prepare(self, predictor: Predictor) -> Inputs:
        """See `Preparable`."""
        try:
            return predictor.prepare_rows(self.rows)
        except BadRow as error:
            raise bad_row(error) from None

    def at_once(self, predictor: Predictor, most: int) -> Inputs | None:
        """See `Preparable`."""
        is_small = len(self) <= most and sum(map(_letters, self.rows)) <= AT_ONCE_BYTES
        return self.prepare(predictor) if is_small else None

    def about(self, index: int) -> Mapping[str, Any]:
        """See `Given`."""
        return {}

    def explain(self, predictor: Predictor, baseline: Baseline | None, label: str | None) -> list[Explanation]:
        """See `Explainable`."""
        from tasks.runtime.explanation import explain

        # All are checked before the first is explained: that takes its time, and the error names the right row.
        self.prepare(predictor)
        return [explain(predictor, row, label, baseline) for row in self.rows]


def _letters(row: Mapping[str, Any]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))


def _decoded(prepare: Callable[[bytes], Inputs], data: bytes, index: int) -> Inputs:
    try:
        return prepare(data)
    except BadImage as error:
        raise bad_image(error, index) from None
