"""Why a prediction is what it is, from the package alone: what it becomes when parts of what was sent are taken away.

Images: occlusion (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014). Rows: sampled
Shapley values (Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature
contributions", 2014). Neither asks for gradients, so every form and runtime of a model is explained alike.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from tasks.core.errors import BadInput
from tasks.core.spec import TableFeature
from tasks.runtime.baseline import Baseline
from tasks.runtime.instances import Row, typed
from tasks.runtime.predictor import Inputs, Predictor, Signature
from tasks.runtime.typical import typical_row

GRID = 8
"""Places a side that an image is covered at, one after the other."""

ORDERS = 16
"""Orders, and as many reversed ones, in which the columns of a row are put in."""

VALUES = 2**16
"""Values, rows times columns, that are predicted from for one explanation, about: of many columns, fewer orders."""

WORDS = 64
"""Words of a text that are left out, one after the other: its first ones."""

_DECIMALS = 6
_SEED = 20140801
_SIDE = 256
_RED, _BLUE = (178, 24, 43), (33, 102, 172)


def explain(
    predictor: Predictor, given: Inputs | Row, label: str | None = None, baseline: Baseline | None = None
) -> dict[str, Any]:
    """Explains the prediction of one image or one row of a table.

    Args:
        given: the image as `Predictor.prepare` gives it; or a row, column to value, as JSON has it.
        label: the class whose probability is explained; None: the likeliest. A regression has none.
        baseline: the package's; it tells the values that are typical of a column. Without it they are missing.

    Returns:
        As JSON has it. Of an image: ``method`` occlusion, ``label``, its ``probability``, and ``grid``, lines of
        numbers: how much less likely the label is when that place is covered; below 0, it is more likely then. Of a
        row: ``method`` shapley, ``label``, ``probability``, ``typical`` (the probability for the typical row), and
        ``contributions``, the largest first, each with ``column``, ``value``, ``typical`` and ``contribution``; they
        add up to the difference of the two probabilities. Where there are texts, ``words``: how much less likely the
        label is without the word. A regression has ``value`` in place of ``label`` and ``probability``, and its number
        is what becomes less.

    Raises:
        BadInput: there is no such class.
        BadRow: the row is none that this package takes.
    """
    if isinstance(given, Inputs):
        return _occluded(predictor, given, label)
    return _shared_out(predictor, given, label, baseline)


def heatmap(pixels: np.ndarray, grid: Sequence[Sequence[float]]) -> bytes:
    """A PNG of the image, red where it speaks for the label and blue where it speaks against it.

    Args:
        pixels: uint8 (H, W, C).
        grid: as `explain` gives it.
    """
    height, width = pixels.shape[:2]
    larger = max(1, -(-_SIDE // min(height, width)))
    size = (width * larger, height * larger)
    grey = pixels if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    picture = cv2.resize(grey.reshape(height, width), size, interpolation=cv2.INTER_NEAREST)[..., None]
    values = cv2.resize(np.asarray(grid, np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
    opacity = 0.8 * np.abs(values) / (np.abs(values).max() or 1)
    colour = np.where(values > 0, np.array(_RED), np.array(_BLUE))
    blended = np.round(picture * (1 - opacity) + colour * opacity).astype(np.uint8)
    return bytes(cv2.imencode(".png", blended[..., ::-1])[1])


def _occluded(predictor: Predictor, inputs: Inputs, label: str | None) -> dict[str, Any]:
    assert inputs.pixels is not None
    found = predictor.predict(inputs)[0]
    target = _target(predictor, found, label)
    image = inputs.pixels[0]
    rows, columns = (_windows(side) for side in image.shape[:2])
    # A line of the grid at a time: all of a large image's copies may not fit into memory.
    lines = [predictor.predict(predictor.prepare_pixels(_covered(image, row, columns)))[:, target] for row in rows]
    grid = (found[target] - np.stack(lines)).astype(np.float64)
    return {"method": "occlusion", **_answer(predictor, found, target), "grid": np.round(grid, _DECIMALS).tolist()}


def _windows(side: int) -> list[slice]:
    """What is covered at each place of the grid: its cell and half of the neighbouring ones."""
    edges = np.linspace(0, side, min(GRID, side) + 1).round().astype(int)
    margin = max(1, side // (2 * GRID))
    return [slice(max(0, low - margin), high + margin) for low, high in pairwise(edges)]


def _covered(image: np.ndarray, row: slice, columns: Sequence[slice]) -> np.ndarray:
    """A copy per column of windows, covered with the image's mean colour."""
    copies = np.repeat(image[None], len(columns), axis=0)
    colour = image.reshape(-1, image.shape[2]).mean(axis=0).round()
    for copy, column in zip(copies, columns, strict=True):
        copy[row, column] = colour
    return copies


def _shared_out(predictor: Predictor, row: Row, label: str | None, baseline: Baseline | None) -> dict[str, Any]:
    found = predictor.predict(predictor.prepare_rows([row]))[0]
    target = _target(predictor, found, label)
    usual = typical_row(predictor.signature, baseline)
    columns = [name for name in _used(predictor.signature) if row.get(name) != usual[name]]
    members, inverse, orders = _coalitions(len(columns))
    values = predictor.predict(_mixed(predictor.signature, usual, row, columns, members))[:, target].astype(np.float64)
    shares = _shapley(values[inverse], orders)
    contributions = [
        {"column": name, "value": row.get(name), "typical": usual[name], "contribution": round(float(share), _DECIMALS)}
        for name, share in zip(columns, shares, strict=True)
    ]
    answer = {
        "method": "shapley",
        **_answer(predictor, found, target),
        "typical": round(float(values[inverse[0, 0]]), _DECIMALS),
        "contributions": sorted(contributions, key=lambda each: -abs(each["contribution"])),
    }
    words = _words(predictor, row, target, float(found[target]))
    return answer | ({"words": words} if words else {})


def _mixed(signature: Signature, usual: Row, row: Row, columns: Sequence[str], members: np.ndarray) -> Inputs:
    """The typical row with the given row's values of some ``columns``: of those in each set, bool (S, columns)."""
    # Brings pyarrow, which the endpoint of images does without.
    from tasks.runtime.table_features import extract_table

    # Each value is typed once. Not strictly: what is typical may be missing, where no row may lack it.
    both = typed([usual, row], signature.columns)
    sources = dict(zip(columns, members.T.astype(np.int64), strict=True))
    typical = np.zeros(len(members), np.int64)
    mixed = {name: values.take(sources.get(name, typical)) for name, values in both.items()}
    return Inputs(None, extract_table(mixed, signature.features))


def _coalitions(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sets of columns that are put in one by one, in random orders and their reverses, which halves the error.

    Returns:
        The distinct sets, bool (S, ``count``); for each order and number of columns that are in, from 0 on, which set
        that is, int (M, ``count`` + 1); and the orders, int (M, ``count``).
    """
    random = np.random.default_rng(_SEED)
    drawn = [random.permutation(count) for _ in range(max(1, min(ORDERS, VALUES // (2 * (count + 1) ** 2))))]
    orders = np.array([order for each in drawn for order in (each, each[::-1])], int)
    # A column is in from its place on.
    places = np.argsort(orders, axis=1)
    sets = places[:, None, :] < np.arange(count + 1)[None, :, None]
    members, inverse = np.unique(sets.reshape(len(orders) * (count + 1), count), axis=0, return_inverse=True)
    return members, inverse.reshape(len(orders), count + 1), orders


def _shapley(values: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The mean over the orders of what each column adds when it is put in: float64 (columns,).

    Args:
        values: what is predicted with the first 0, 1, ... columns of each order, (M, columns + 1).
        orders: int (M, columns).
    """
    added = np.zeros(orders.shape)
    np.put_along_axis(added, orders, np.diff(values, axis=1), axis=1)
    return added.mean(axis=0)


def _words(predictor: Predictor, row: Row, target: int, whole: float) -> dict[str, list[dict[str, Any]]]:
    """Column of texts to its words with what each of them adds, in their order."""
    texts = {column.name for column in predictor.signature.columns if column.type == "text"}
    found = {}
    for name in [name for name in _used(predictor.signature) if name in texts]:
        words = str(row.get(name) or "").split()
        without = [{**row, name: " ".join(words[:n] + words[n + 1 :])} for n in range(min(WORDS, len(words)))]
        left = predictor.predict_rows(without, strict=False)[:, target]
        found[name] = [
            {"word": word, "contribution": round(whole - float(value), _DECIMALS)}
            for word, value in zip(words, left, strict=False)
        ]
    return {name: words for name, words in found.items() if words}


def _used(signature: Signature) -> list[str]:
    """The columns that some feature is made from, in the source's order."""
    used = {name for feature in signature.features if isinstance(feature, TableFeature) for name in feature.columns}
    return [column.name for column in signature.columns if column.name in used]


def _target(predictor: Predictor, found: np.ndarray, label: str | None) -> int:
    if predictor.is_regression:
        return 0
    if label is None:
        return int(found.argmax())
    if label not in predictor.classes:
        raise BadInput(f"There is no class {label!r}.", f"Known: {', '.join(predictor.classes[:20])}.")
    return predictor.classes.index(label)


def _answer(predictor: Predictor, found: np.ndarray, target: int) -> Mapping[str, Any]:
    if predictor.is_regression:
        return {"value": float(found[0])}
    return {"label": predictor.classes[target], "probability": float(found[target])}
