"""Slices: rows that are measured on their own, declared in the spec or found because the candidate does worst there."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from scipy.special import stdtr

from tasks.core.errors import BadInput
from tasks.core.shards import Split
from tasks.core.spec import Project, Slice
from tasks.evaluation.columns import Values, find, known, telling

ALIKE = 0.5
"""A group that shares more of its rows with an earlier one (their intersection over their union) is left out."""

_QUARTERS = (0.25, 0.5, 0.75)
_DAY = 86_400
_FEW = 8
"""Numbers with so many different values at most are taken value by value."""
_KEPT = 20
"""Candidates kept for each slice that is looked for; the others are too much alike or less surely bad."""


@dataclass(frozen=True)
class Group:
    """Some rows of a split.

    Attributes:
        name: of a declared slice its own, else its condition in words.
        rows: their numbers, int (n,).
        p_value: how likely so bad a group would come up by chance where none is worse than another, over all groups
            that were looked at; None of a declared slice.
    """

    name: str
    rows: np.ndarray
    p_value: float | None = None


def declared(spec: Project, split: Split) -> list[Group]:
    """The rows of each of ``evaluation.slices``.

    Raises:
        BadInput: there is no such column, or it holds texts and the slice gives bounds.
    """
    return [Group(part.name, np.flatnonzero(_within(spec, part, split))) for part in spec.evaluation.slices]


def found(spec: Project, split: Split, losses: np.ndarray, taken: Sequence[Group] = ()) -> list[Group]:
    """The groups that the model does worst on: at most ``evaluation.worst_slices``, the most surely worse first.

    Every value of a column is a group; of numbers every quarter of the rows, and those where it is missing. A group's
    losses are held against those of all other rows by Welch's t-test (as Chung et al., "Slice Finder", 2019, do), and
    its p-value is adjusted for the number of groups looked at (Holm, 1979). None is much the same as another, or as one
    of ``taken``.

    Args:
        losses: how wrong the model is about each row, float (N,).
    """
    wanted, least = spec.evaluation.worst_slices, spec.evaluation.slice_rows
    looks = 0

    def candidates() -> Iterator[Group]:
        nonlocal looks
        for values in telling(spec, split):
            labels, codes = _coded(values)
            p_values, worse = _welch(codes, len(labels), losses, least)
            looks += int((~np.isnan(p_values)).sum())
            for code in np.flatnonzero(worse):
                yield Group(labels[code], np.flatnonzero(codes == code), float(p_values[code]))

    ranked = heapq.nsmallest(_KEPT * wanted, candidates(), key=lambda group: group.p_value or 0.0)
    return _distinct(_adjusted(ranked, looks), taken)[:wanted]


def _within(spec: Project, part: Slice, split: Split) -> np.ndarray:
    if part.column not in known(spec):
        shown = ", ".join(known(spec)[:20])
        raise BadInput(
            f"evaluation.slices: {part.name}: there is no {part.column!r} to slice by.", f"Use one of: {shown}."
        )
    values = find(spec, split, part.column)
    if part.values:
        return _one_of(values, part.values)
    if values.numbers is None:
        fix = "List the values that belong to the slice in place of min and max."
        raise BadInput(f"evaluation.slices: {part.name}: {part.column} holds no numbers.", fix)
    low, high = (-np.inf if part.min is None else part.min), (np.inf if part.max is None else part.max)
    inside: np.ndarray = (values.numbers >= low) & (values.numbers < high)
    return inside


def _one_of(values: Values, wanted: Sequence[str | float]) -> np.ndarray:
    if values.numbers is not None:
        return np.isin(values.numbers, [float(value) for value in wanted])
    texts = {value if isinstance(value, str) else f"{value:g}" for value in wanted}
    return np.array([value in texts for value in values.texts], bool) if values.texts is not None else np.zeros(0, bool)


def _coded(values: Values) -> tuple[list[str], np.ndarray]:
    """The groups of a column in words, and the group of each row, int (N,)."""
    if values.texts is not None:
        texts = np.array(["" if text is None else text for text in values.texts], object)
        kinds, codes = np.unique(texts, return_inverse=True)
        return [f"{values.name} = {kind}" if kind else f"{values.name} is missing" for kind in kinds], codes
    assert values.numbers is not None
    missing = np.isnan(values.numbers)
    labels, codes = _numbers_coded(values, np.unique(values.numbers[~missing]), missing)
    return [*labels, f"{values.name} is missing"], np.where(missing, len(labels), codes)


def _numbers_coded(values: Values, kinds: np.ndarray, missing: np.ndarray) -> tuple[list[str], np.ndarray]:
    """As `_coded`; ``kinds`` are the distinct numbers, ascending."""
    name, numbers = values.name, np.asarray(values.numbers)
    if len(kinds) <= _FEW and not values.is_time:
        return [f"{name} = {kind:g}" for kind in kinds], np.searchsorted(kinds, numbers)
    edges, shown = _legible(values, np.quantile(numbers[~missing], _QUARTERS, method="higher"))
    between = [f"{name} from {low} to {high}" for low, high in pairwise(shown)]
    labels = [f"{name} below {shown[0]}", *between, f"{name} at least {shown[-1]}"]
    return labels, np.searchsorted(edges, numbers, side="right")


def _legible(values: Values, edges: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The edges rounded as far as they stay apart, so that a group's name tells the bounds that were used."""
    if values.is_time:
        days = np.unique(edges // _DAY * _DAY)
        return days, [f"{datetime.fromtimestamp(day, UTC):%F}" for day in days]
    apart = np.unique(edges)
    for digits in range(4, 17):
        shown = [f"{edge:.{digits}g}" for edge in apart]
        if len(set(shown)) == len(apart):
            break
    return np.array([float(edge) for edge in shown]), shown


def _welch(codes: np.ndarray, groups: int, losses: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """For each group the p-value of its mean loss being no higher than the others', float (groups,), NaN where it or
    the rest is too small to tell; and whether it is higher, bool (groups,).
    """
    inside = np.bincount(codes, minlength=groups).astype(np.float64)
    sums, squares = (np.bincount(codes, power, minlength=groups) for power in (losses, losses**2))
    outside = len(losses) - inside
    told = (inside >= max(least, 2)) & (outside >= 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        means, others = sums / inside, (losses.sum() - sums) / outside
        spread = np.maximum(squares / inside - means**2, 0) / (inside - 1)
        rest = np.maximum(((losses**2).sum() - squares) / outside - others**2, 0) / (outside - 1)
        t = (means - others) / np.sqrt(spread + rest)
        freedom = (spread + rest) ** 2 / (spread**2 / (inside - 1) + rest**2 / (outside - 1))
        p_values = np.where(spread + rest > 0, stdtr(np.where(freedom > 0, freedom, 1), -t), means <= others)
    return np.where(told, p_values, np.nan), told & (means > others)


def _adjusted(ranked: Sequence[Group], looks: int) -> list[Group]:
    """The groups with their p-values times the number of those that are no surer; they do not fall along the list."""
    highest, result = 0.0, []
    for rank, group in enumerate(ranked):
        highest = max(highest, min(1.0, (group.p_value or 0.0) * (looks - rank)))
        result.append(replace(group, p_value=float(f"{highest:.3g}")))
    return result


def _distinct(ranked: Sequence[Group], taken: Sequence[Group]) -> list[Group]:
    kept: list[Group] = []
    for group in ranked:
        if all(_overlap(group.rows, other.rows) <= ALIKE for other in (*taken, *kept)):
            kept.append(group)
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)
