"""Features of a table's rows: typed columns in, one array per feature group out; features stage and endpoint call it.

Every value is a function of its row alone, to the bit: sines come from tables of the few angles there are, since
NumPy's vectorized sine may round differently at another place of an array.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.spec import Categorical, Crossed, Feature, TableFeature, TextTerms

JOINT = "\x1f"
"""Between the values of a crossed feature: ASCII's unit separator."""

WORD = r"[\p{L}\p{M}\p{N}_]"
"""A character of a word, as RE2 spells it; the transform graph splits texts by it, too."""

DATE_PARTS = ("year", "day", "month_sin", "month_cos", "weekday_sin", "weekday_cos", "hour_sin", "hour_cos")
"""Dimensions of ``date_parts`` per column, in order; January, Monday and midnight stand at angle 0."""

TEXT_STATS = ("length", "words", "word_length", "upper", "digits", "punctuation", "distinct_words")
"""Dimensions of ``text_stats`` per column, in order: counts of characters and words, characters of the mean word,
shares of the characters, and distinct words (in any case) as a share of the words."""

_LARGEST = float(np.finfo(np.float32).max)


def extract_table(columns: Mapping[str, pa.Array], features: Sequence[Feature]) -> dict[str, np.ndarray]:
    """Computes the spec's features of rows.

    Args:
        columns: the source's columns, N values each, typed as `tasks.runtime.rows.parse` gives them.
        features: the spec's extractors of tables.

    Returns:
        The group's name to an array (N, F): float32, NaN where the value is missing; or, if `is_text`, an object array
        of str, "" where it is missing.
    """
    return {
        feature.group: _EXTRACTORS[feature.kind]([columns[name] for name in feature.columns])
        for feature in features
        if isinstance(feature, TableFeature)
    }


def dimension_names(feature: TableFeature) -> tuple[str, ...]:
    """The names of the F dimensions of a feature's group: what drift reports and explanations show."""
    if isinstance(feature, Crossed):
        return ("_x_".join(feature.columns),)
    parts = {"date_parts": DATE_PARTS, "text_stats": TEXT_STATS}.get(feature.kind)
    return (
        feature.columns if parts is None else tuple(f"{column}.{part}" for column in feature.columns for part in parts)
    )


def is_text(feature: Feature) -> bool:
    """Whether the feature's group holds strings; else it holds float32."""
    return isinstance(feature, Categorical | Crossed | TextTerms)


def _numeric(columns: Sequence[pa.Array]) -> np.ndarray:
    return _floats([column.cast(pa.float64()) for column in columns])


def _categorical(columns: Sequence[pa.Array]) -> np.ndarray:
    return _strings([column.cast(pa.string()) for column in columns])


def _crossed(columns: Sequence[pa.Array]) -> np.ndarray:
    return _strings([pc.binary_join_element_wise(*(pc.fill_null(c.cast(pa.string()), "") for c in columns), JOINT)])


def _date_parts(columns: Sequence[pa.Array]) -> np.ndarray:
    return _floats([part for column in columns for part in _parts(column)])


def _parts(column: pa.Array) -> list[pa.Array]:
    circles = [
        circle
        for position, steps in (
            (pc.subtract(pc.month(column), 1), 12),
            (pc.day_of_week(column), 7),
            (pc.hour(column), 24),
        )
        for circle in _circle(position, steps)
    ]
    return [pc.year(column), pc.day(column), *circles]


def _circle(position: pa.Array, steps: int) -> tuple[pa.Array, pa.Array]:
    """Sine and cosine of ``position`` of ``steps`` around the circle."""
    angles = 2 * np.pi * np.arange(steps) / steps
    return pa.array(np.sin(angles)).take(position), pa.array(np.cos(angles)).take(position)


def _text_stats(columns: Sequence[pa.Array]) -> np.ndarray:
    return _floats([statistic for column in columns for statistic in _statistics(column)])


def _statistics(column: pa.Array) -> list[pa.Array]:
    length = pc.utf8_length(column)
    upper, digits, punctuation = (pc.count_substring_regex(column, kind) for kind in (r"\p{Lu}", r"\p{Nd}", r"\p{P}"))
    words = pc.count_substring_regex(column, f"{WORD}+")
    shares = [_ratio(count, length) for count in (upper, digits, punctuation)]
    inside = pc.count_substring_regex(column, WORD)
    return [length, words, _ratio(inside, words), *shares, _ratio(_distinct_words(column), words)]


def _distinct_words(column: pa.Array) -> pa.Array:
    """How many different words each text has."""
    lists = pc.split_pattern_regex(pc.utf8_lower(pc.fill_null(column, "")), f"[^{WORD[1:-1]}]+")
    rows, words = np.asarray(pc.list_parent_indices(lists)), lists.flatten()
    kept = np.asarray(pc.not_equal(words, ""), bool)
    codes = np.asarray(words.dictionary_encode().indices, np.int64)
    pairs = np.unique(rows[kept] * np.int64(len(words) + 1) + codes[kept])
    return pa.array(np.bincount(pairs // (len(words) + 1), minlength=len(column)))


def _ratio(part: pa.Array, whole: pa.Array) -> pa.Array:
    """part / whole; 0 where whole is 0."""
    return pc.divide(part.cast(pa.float64()), pc.max_element_wise(whole, 1, skip_nulls=False).cast(pa.float64()))


def _floats(columns: Sequence[pa.Array]) -> np.ndarray:
    """(N, F) float32; what float32 cannot hold becomes the largest it can."""
    wide = np.stack([np.asarray(pc.fill_null(c.cast(pa.float64()), np.nan)) for c in columns], axis=1)
    return np.clip(wide, -_LARGEST, _LARGEST).astype(np.float32)


def _strings(columns: Sequence[pa.Array]) -> np.ndarray:
    return np.stack([pc.fill_null(c, "").to_numpy(zero_copy_only=False) for c in columns], axis=1).astype(object)


_EXTRACTORS: Mapping[str, Callable[[Sequence[pa.Array]], np.ndarray]] = {
    "numeric": _numeric,
    "categorical": _categorical,
    "crossed": _crossed,
    "date_parts": _date_parts,
    "text_stats": _text_stats,
    "text": _categorical,
}
