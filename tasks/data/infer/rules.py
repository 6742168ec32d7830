"""Expectations that what was seen suggests, with a margin for what was not."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.infer.columns import UNIQUE, Profile

STRAYS = 0.005
"""Share of values that may be mistakes: a rule need not let them pass."""

_SET = 20
"""A category of at most so many values is expected to keep to them."""

_SEEN = 5
"""A value seen less often may have companions that were not seen at all."""

Rule = dict[str, Any]
"""One entry of the suite: type, kwargs, meta."""


def column_rules(profiles: Sequence[Profile]) -> list[Rule]:
    """Ranges of numbers, lengths of texts, and the values of small categories."""
    makers = {"number": _range, "text": _lengths, "category": _set}
    found = (makers[each.type](each) for each in profiles if each.type in makers and len(each.present))
    return [rule for rule in found if rule]


def entity_rules(entity: Profile | None, timed: bool) -> list[Rule]:
    """That an entity comes once, where each one seen did; without event times this always holds."""
    if entity is None or not timed or entity.distinct < max(UNIQUE, 1 - 2 * STRAYS) * len(entity.values):
        return []
    return [rule("expect_column_values_to_be_unique", "entity", "repeated_entity")]


def image_rules(widths: np.ndarray, heights: np.ndarray) -> list[Rule]:
    """Sizes in pixels: from half the smallest to twice the largest; just the one, where all are alike."""
    rules = []
    for column, values in (("width", widths), ("height", heights)):
        low, high = int(values.min()), int(values.max())
        margin = {"min_value": max(1, low // 2), "max_value": high * 2} if low < high else {}
        limits = margin or {"min_value": low, "max_value": high}
        rules.append(rule("expect_column_values_to_be_between", column, f"{column}_out_of_range", **limits))
    return rules


def broken(rules: Sequence[Rule], profiles: Mapping[str, Profile], rows: int) -> np.ndarray:
    """Mask of the kept rows that break a range, a length or a set."""
    mask = np.zeros(rows, bool)
    for each in rules:
        found = profiles.get(each["kwargs"]["column"])
        if found is None:
            continue
        values, limits = found.values, each["kwargs"]
        if "value_set" in limits:
            bad = pc.invert(pc.is_in(values, value_set=pa.array(limits["value_set"], values.type)))
        else:
            measured = pc.utf8_length(values) if found.type == "text" else values
            bad = pc.or_(pc.less(measured, limits["min_value"]), pc.greater(measured, limits["max_value"]))
        mask |= pc.and_(pc.fill_null(bad, False), pc.is_valid(values)).to_numpy(zero_copy_only=False)
    return mask


def rule(type: str, column: str, reason: str, **limits: Any) -> Rule:
    """One expectation and the code that its rows are counted by."""
    return {"type": type, "kwargs": {"column": column, **limits}, "meta": {"reason": reason}}


def slug(text: str, fallback: str = "column") -> str:
    """The text as a name of lower-case letters, digits and underscores."""
    plain = re.sub("[^a-z0-9]+", "_", text.casefold()).strip("_")
    return plain if plain[:1].isalpha() else f"{fallback}_{plain}".rstrip("_")


def _range(found: Profile) -> Rule:
    values = np.sort(found.present.to_numpy(zero_copy_only=False))
    stray = int(len(values) * STRAYS)
    likely = values[stray : len(values) - stray]
    span = float(likely[-1] - likely[0]) or abs(float(likely[-1])) or 1.0
    # Far from all others: a mistake, if it is seldom.
    near = values[(values >= likely[0] - 3 * span) & (values <= likely[-1] + 3 * span)]
    low, high = float(near[0]) - span / 4, float(near[-1]) + span / 4
    if likely[0] >= 0:
        low = max(low, 0.0)
    limits = {"min_value": _rounded(low, np.floor, span), "max_value": _rounded(high, np.ceil, span)}
    reason = f"{slug(found.name)}_out_of_range"
    return rule("expect_column_values_to_be_between", found.name, reason, **limits)


def _rounded(value: float, how: np.ufunc, span: float) -> float | int:
    """The value to two digits of the span, away from the data."""
    step = 10.0 ** (np.floor(np.log10(span)) - 1) if np.isfinite(span) and span > 0 else 1.0
    result = float(f"{how(value / step) * step:.12g}") if np.isfinite(value / step) else value
    return int(result) if result.is_integer() and abs(result) < 1e15 else result


def _lengths(found: Profile) -> Rule:
    lengths = np.sort(pc.utf8_length(found.present).to_numpy())
    shortest = int(lengths[int(len(lengths) * 2 * STRAYS)])
    limits = {"min_value": max(1, shortest // 2), "max_value": int(lengths[-1]) * 4}
    return rule("expect_column_value_lengths_to_be_between", found.name, f"{slug(found.name)}_length", **limits)


def _set(found: Profile) -> Rule | None:
    counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in found.present.value_counts()}
    if len(counts) > _SET or min(counts.values()) < _SEEN:
        return None
    reason = f"unknown_{slug(found.name)}"
    return rule("expect_column_values_to_be_in_set", found.name, reason, value_set=sorted(counts))
