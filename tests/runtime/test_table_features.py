"""Features of tables: what each dimension means, and the same numbers for one row as for all of them."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.spec import Categorical, Crossed, DateParts, Numeric, TextStats, TextTerms
from tasks.runtime.extractors import names, widths
from tasks.runtime.rows import TYPES
from tasks.runtime.table_features import DATE_PARTS, TEXT_STATS, dimension_names, extract_table, is_text

ALL = (
    Numeric(kind="numeric", columns=("price", "sold")),
    Categorical(kind="categorical", columns=("colour", "sold")),
    Crossed(kind="crossed", columns=("colour", "sold")),
    DateParts(kind="date_parts", columns=("at",)),
    TextStats(kind="text_stats", columns=("note",)),
    TextTerms(kind="text", column="note"),
)
KINDS = {"price": "number", "sold": "boolean", "colour": "category", "at": "time", "note": "text"}


def columns(**values: list) -> dict[str, pa.Array]:
    return {name: pa.array(given, TYPES[KINDS[name]]) for name, given in values.items()}


def text_stats(note: str) -> Mapping[str, float]:
    (row,) = extract_table(columns(note=[note]), ALL[4:5])["text_stats"]
    return dict(zip(TEXT_STATS, row.tolist(), strict=True))


def date_parts(moment: datetime) -> Mapping[str, float]:
    (row,) = extract_table(columns(at=[moment]), ALL[3:4])["date_parts"]
    return dict(zip(DATE_PARTS, row.tolist(), strict=True))


def test_numbers_and_booleans_are_float32() -> None:
    found = extract_table(columns(price=[0.1, None, 1e300], sold=[True, False, None]), ALL[:1])["numeric"]
    largest = np.finfo(np.float32).max
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[0.1, 1], [np.nan, 0], [largest, np.nan]], np.float32))


def test_categories_are_strings_alone_and_crossed() -> None:
    found = extract_table(columns(colour=["red", None], sold=[True, None]), ALL[1:3])
    assert found["categorical"].tolist() == [["red", "true"], ["", ""]]
    assert found["crossed"].tolist() == [["red\x1ftrue"], ["\x1f"]]


def test_a_text_is_passed_on_as_it_stands() -> None:
    assert extract_table(columns(note=[" Ünï 🌳\n", None]), ALL[5:])["text"].tolist() == [[" Ünï 🌳\n"], [""]]


def test_parts_of_a_date() -> None:
    monday_midnight = date_parts(datetime(2024, 1, 1, tzinfo=UTC))
    assert monday_midnight["year"] == 2024
    assert monday_midnight["day"] == 1
    assert [monday_midnight[f"{part}_{axis}"] for part in ("month", "weekday", "hour") for axis in ("sin", "cos")] == [
        *(0.0, 1.0),
        *(0.0, 1.0),
        *(0.0, 1.0),
    ]
    morning = date_parts(datetime(2024, 4, 1, 6, 59, tzinfo=UTC))
    assert (morning["hour_sin"], morning["month_sin"]) == (1.0, 1.0)
    assert morning["hour_cos"] == pytest.approx(0, abs=1e-7)


def test_december_is_next_to_january_and_sunday_next_to_monday() -> None:
    december = date_parts(datetime(2023, 12, 31, 23, tzinfo=UTC))
    january = date_parts(datetime(2024, 1, 1, 0, tzinfo=UTC))
    for part, steps in (("month", 12), ("weekday", 7), ("hour", 24)):
        apart = [december[f"{part}_{axis}"] - january[f"{part}_{axis}"] for axis in ("sin", "cos")]
        assert np.hypot(*apart) == pytest.approx(2 * np.sin(np.pi / steps), abs=1e-6)


def test_statistics_of_a_text() -> None:
    assert text_stats("Hello, hello World 42!") == pytest.approx(
        {
            "length": 22,
            "words": 4,
            "word_length": 17 / 4,
            "upper": 2 / 22,
            "digits": 2 / 22,
            "punctuation": 2 / 22,
            "distinct_words": 3 / 4,
        }
    )


def test_a_text_without_words_has_no_word_length() -> None:
    assert text_stats("?!")["punctuation"] == 1
    assert [text_stats("?!")[name] for name in ("words", "word_length", "distinct_words")] == [0, 0, 0]


def test_words_of_other_scripts_are_words() -> None:
    assert text_stats("naïve हिन्दी Ωμέγα")["words"] == 3


@settings(max_examples=50, deadline=None)
@example("".join(chr(256 * block + 65) for block in range(24)))
@given(st.text() | st.text(st.characters(max_codepoint=0x24F)) | st.text("aZ9_-?—٣ΩßÀ漢字"))
def test_a_text_gives_the_same_bits_beside_a_book(note: str) -> None:
    # Regular expressions name fewer characters where the texts are few.
    together = extract_table(columns(note=[note, "x" * 100_000]), ALL[4:5])["text_stats"]
    np.testing.assert_array_equal(extract_table(columns(note=[note]), ALL[4:5])["text_stats"][0], together[0])


def test_letters_that_are_far_from_their_small_ones() -> None:
    # U+212A becomes k, U+023A becomes U+2C65.
    assert text_stats("\u212a k \u023a")["distinct_words"] == pytest.approx(2 / 3)


def test_a_missing_time_or_text_is_nan() -> None:
    found = extract_table(columns(at=[None], note=[None]), ALL[3:5])
    assert np.isnan(found["date_parts"]).all()
    assert np.isnan(found["text_stats"]).all()


def test_names_and_widths_are_those_of_the_arrays() -> None:
    rows = columns(price=[1.0], sold=[True], colour=["red"], at=[datetime(2024, 1, 1, tzinfo=UTC)], note=["hi"])
    found = extract_table(rows, ALL)
    assert {group: values.shape[1] for group, values in found.items()} == widths(ALL, None)
    for feature in ALL:
        assert names(ALL, None)[feature.group] == dimension_names(feature)
        assert (found[feature.group].dtype == object) == is_text(feature)
    assert dimension_names(ALL[2]) == ("colour_x_sold",)
    assert dimension_names(ALL[3])[0] == "at.year"


ROWS = st.fixed_dictionaries(
    {
        "price": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "sold": st.none() | st.booleans(),
        "colour": st.none() | st.text(),
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "note": st.none() | st.text(),
    }
)


@settings(max_examples=50)
@given(st.lists(ROWS, max_size=8))
def test_a_row_alone_gives_the_same_bits_as_among_others(rows: list[Mapping[str, object]]) -> None:
    together = extract_table(columns(**{name: [row[name] for row in rows] for name in KINDS}), ALL)
    for number, row in enumerate(rows):
        alone = extract_table(columns(**{name: [value] for name, value in row.items()}), ALL)
        for group, values in alone.items():
            assert values.shape == (1, together[group].shape[1])
            np.testing.assert_array_equal(values[0], together[group][number])
