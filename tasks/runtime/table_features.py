"""Features of a table's rows: typed columns in, one array per feature group out; features stage and endpoint call it.

Every value is a function of its row alone, to the bit: sines come from tables of the few angles there are, since
NumPy's vectorized sine may round differently at another place of an array.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

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

_BLOCK = 256
"""Characters of Unicode that are told apart together."""
_BLOCKS = 16
"""At most; for more (Chinese, or an attempt to keep the endpoint busy) classes of all of Unicode are cheaper."""
_SHORT = 1 << 16
"""Bytes of a column whose characters are looked at one by one."""
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


def _crossed(columns: Sequence[pa.Array]) -> np.ndarray:
    return _strings([pc.binary_join_element_wise(*map(_filled, columns), JOINT)])


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
    sines, cosines = _angles(steps)
    return sines.take(position), cosines.take(position)


@cache
def _angles(steps: int) -> tuple[pa.Array, pa.Array]:
    angles = 2 * np.pi * np.arange(steps) / steps
    return pa.array(np.sin(angles)), pa.array(np.cos(angles))


def _text_stats(columns: Sequence[pa.Array]) -> np.ndarray:
    return _floats([statistic for column in columns for statistic in _statistics(column)])


def _statistics(column: pa.Array) -> list[pa.Array]:
    length = pc.utf8_length(column)
    word, *others = _spelled_out(column, WORD, r"\p{Lu}", r"\p{Nd}", r"\p{P}")
    words, inside, *shown = (pc.count_substring_regex(column, kind) for kind in (f"{word}+", word, *others))
    some_words, some_length = _divisor(words), _divisor(length)
    shares = [pc.divide(count, some_length) for count in shown]
    return [length, words, pc.divide(inside, some_words), *shares, pc.divide(_distinct_words(column), some_words)]


def _distinct_words(column: pa.Array) -> pa.Array:
    """How many different words each text has."""
    lowered = pc.utf8_lower(_filled(column))
    (word,) = _spelled_out(lowered, WORD)
    lists = pc.split_pattern_regex(lowered, f"[^{word[1:-1]}]+")
    rows, words = np.asarray(pc.list_parent_indices(lists)), lists.flatten()
    kept = np.asarray(pc.not_equal(words, ""), bool)
    codes = np.asarray(words.dictionary_encode().indices, np.int64)
    pairs = np.unique(rows[kept] * np.int64(len(words) + 1) + codes[kept])
    return pa.array(np.bincount(pairs // (len(words) + 1), minlength=len(column)))


def _spelled_out(column: pa.Array, *kinds: str) -> list[str]:
    """Classes that match what these kinds of characters do in this column.

    RE2 takes longer to compile a class of all of Unicode than to read many texts, so that of short columns only the
    characters near their own are named.
    """
    if column.nbytes > _SHORT:
        return list(kinds)
    blocks = sorted({0, *(ord(character) // _BLOCK for character in set("".join(filter(None, column.to_pylist()))))})
    if len(blocks) > _BLOCKS:
        return list(kinds)
    return [f"[{''.join(_ranges(kind, block) for block in blocks)}]" for kind in kinds]


@cache
def _ranges(kind: str, block: int) -> str:
    """The characters of one kind in a block of Unicode, as the inside of a class; RE2 itself says which they are."""
    codes = range(block * _BLOCK, (block + 1) * _BLOCK)
    inside = np.asarray(pc.match_substring_regex(pa.array(map(chr, codes), pa.string()), kind), np.int8)
    edges = np.flatnonzero(np.diff(inside, prepend=0, append=0)).tolist()
    return "".join(
        rf"\x{{{codes[first]:X}}}-\x{{{codes[after - 1]:X}}}"
        for first, after in zip(edges[::2], edges[1::2], strict=True)
    )


def _divisor(count: pa.Array) -> pa.Array:
    """float64, at least 1: no part of nothing is 0."""
    return pc.max_element_wise(count, 1, skip_nulls=False).cast(pa.float64())


def _floats(columns: Sequence[pa.Array]) -> np.ndarray:
    """(N, F) float32; what float32 cannot hold becomes the largest it can."""
    # As one array: a call of Arrow costs more than the values of some rows.
    joined = pa.concat_arrays([_cast(column, pa.float64()) for column in columns])
    wide = np.asarray(pc.fill_null(joined, np.nan)).reshape(len(columns), -1).T
    return np.clip(wide, -_LARGEST, _LARGEST).astype(np.float32, order="C")


def _strings(columns: Sequence[pa.Array]) -> np.ndarray:
    return np.stack([_filled(column).to_numpy(zero_copy_only=False) for column in columns], axis=1).astype(object)


def _filled(column: pa.Array) -> pa.Array:
    """As text, "" where it is null."""
    text = _cast(column, pa.string())
    return pc.fill_null(text, "") if text.null_count else text


def _cast(column: pa.Array, type: pa.DataType) -> pa.Array:
    return column if column.type == type else column.cast(type)


_EXTRACTORS: Mapping[str, Callable[[Sequence[pa.Array]], np.ndarray]] = {
    "numeric": _floats,
    "categorical": _strings,
    "crossed": _crossed,
    "date_parts": _date_parts,
    "text_stats": _text_stats,
    "text": _strings,
}
