"""How long a package takes for one row."""

import timeit

from tasks.runtime.predictor import Inputs, Predictor

_CALLS, _REPEATS = 20, 5


def milliseconds_per_row(predictor: Predictor, row: Inputs) -> float:
    """Of the graph alone; the best of several rounds, for only that one was not disturbed by what else runs here."""
    predictor.predict(row)
    return min(timeit.repeat(lambda: predictor.predict(row), number=_CALLS, repeat=_REPEATS)) / _CALLS * 1000
