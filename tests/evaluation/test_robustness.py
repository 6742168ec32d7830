"""Disturbed images and rows: the same for everybody, of the same kind as the clean ones, and disturbed at all."""

import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.datasets import load_digits

from tasks.core.shards import Split, evenly
from tasks.core.spec import Column, Project
from tasks.evaluation.corruptions import corrupt
from tasks.evaluation.robustness import ATTACKS, disturbed
from tasks.evaluation.shifts import UNSEEN, shift
from tests import digits, packages

CORRUPTIONS = ("gaussian_noise", "blur", "brightness", "rotation", "jpeg")
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))


def scans(count: int = 20) -> np.ndarray:
    """Real digits, uint8 (N, 8, 8, 1)."""
    return np.round(load_digits().images[:count, :, :, None] * (255 / 16)).astype(np.uint8)


@pytest.mark.parametrize("test", CORRUPTIONS)
@example_settings(max_examples=25)
@given(pixels=arrays.arrays(np.uint8, SHAPES))
def test_any_image_stays_an_image_and_becomes_the_same_one_each_time(test: str, pixels: np.ndarray) -> None:
    before = pixels.copy()
    found = corrupt(test, pixels)
    assert found.shape == pixels.shape and found.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert np.array_equal(found, corrupt(test, pixels))


@pytest.mark.parametrize("test", CORRUPTIONS)
def test_a_later_severity_changes_more(test: str) -> None:
    """The same scan five times: each copy meets the next severity; the sixth the first again."""
    for scan in (scans(3)[2], large_image()):
        copies = np.repeat(scan[None], 6, axis=0).astype(int)
        changes = np.abs(corrupt(test, copies.astype(np.uint8)) - copies).mean(axis=(1, 2, 3))
        assert changes[0] > 0 and changes[4] > 1.5 * changes[0]
        assert abs(changes[5] - changes[0]) < changes[4] - changes[5]


def large_image() -> np.ndarray:
    """A colour image of 100 x 80 pixels with soft edges: uint8."""
    noise = np.random.default_rng(0).random((13, 10, 3)).astype(np.float32)
    return np.round(cv2.resize(noise, (80, 100), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 200).astype(np.uint8)


def test_brightness_keeps_the_hue_and_noise_has_the_deviation_of_the_benchmark() -> None:
    colour = np.full((1, 8, 8, 3), (200, 100, 0), np.uint8)
    brighter = corrupt("brightness", colour)[0, 0, 0].astype(int)
    assert brighter.tolist() == [213, 106, 0]
    black = np.zeros((1, 4, 4, 3), np.uint8)
    assert (corrupt("brightness", black) == 13).all()
    grey = np.full((5, 60, 60, 1), 128, np.uint8)
    deviations = corrupt("gaussian_noise", grey).std(axis=(1, 2, 3)) / 255
    assert deviations == pytest.approx([0.04, 0.06, 0.08, 0.09, 0.10], rel=0.05)


def test_rotation_turns_by_its_degrees_around_the_middle() -> None:
    bar = np.zeros((5, 41, 41, 1), np.uint8)
    bar[:, 20, 5:36] = 255
    bar[:, 19, 5:36] = bar[:, 21, 5:36] = 128
    for image, degrees in zip(corrupt("rotation", bar), (5, 10, 15, 20, 25), strict=True):
        rows, columns = np.nonzero(image[:, :, 0] > 100)
        slope = np.polyfit(columns, rows, 1)[0]
        assert abs(np.degrees(np.arctan(slope))) == pytest.approx(degrees, abs=1.5)


def _split(images: np.ndarray | None, rows: list[dict[str, Any]] | None = None) -> Split:
    count = len(images) if images is not None else len(rows or ())
    names = [str(number) for number in range(count)]
    sent = None if rows is None else [json.dumps(row) for row in rows]
    return Split(images, {}, np.zeros(count, np.int32), names, names, np.zeros(count, np.int32), sent)


def test_the_tests_of_images_come_in_the_specs_order_and_attacks_from_whoever_makes_them() -> None:
    spec, split = digits.project(), _split(scans())
    rows = evenly(20, 7)
    assert [name for name, _ in disturbed(spec, split, rows)] == list(CORRUPTIONS)
    found = dict(disturbed(spec, split, rows, lambda name, chosen: split.images[chosen] + ATTACKS.index(name) + 1))
    assert list(found) == [*CORRUPTIONS, *ATTACKS]
    assert np.array_equal(found["pgd"], split.images[rows] + 2)
    assert np.array_equal(found["blur"], corrupt("blur", split.images[rows]))
    few = digits.project({"evaluation": {"robustness": ["rotation", "fgsm"]}})
    assert [name for name, _ in disturbed(few, split, rows)] == ["rotation"]


def test_a_table_is_disturbed_where_it_can_be() -> None:
    people = packages.people(200)
    found = dict(disturbed(packages.project("people"), _split(None, people), evenly(200, 100)))
    assert list(found) == ["missing_values", "category_shift"]
    chosen = [people[number] for number in evenly(200, 100)]
    assert [row["age"] for row in found["missing_values"]] == [row["age"] for row in chosen], "age may not be missing"
    known = [row for row, before in zip(found["missing_values"], chosen, strict=True) if before["member"] is not None]
    assert sum(row["member"] is None for row in known) == pytest.approx(0.3 * len(known), abs=12)


def test_a_test_that_would_change_nothing_is_none_of_the_table() -> None:
    columns = [{"name": "age", "type": "number"}]
    values = packages.project("people").model_dump(mode="json")
    values["source"]["columns"] = columns
    values["features"] = [{"kind": "numeric", "columns": ["age"]}]
    assert Project.model_validate(values).tests == ()
    values["evaluation"]["robustness"] = ["missing_values"]
    with pytest.raises(ValueError, match=r"missing_values changes nothing that people has; take none: \[\]"):
        Project.model_validate(values)


def test_texts_lose_words_but_never_all_and_keep_their_order() -> None:
    rows = [{"words": " ".join(f"w{n}" for n in range(100))} for _ in range(20)] + [{"words": "one"}, {"words": None}]
    found = shift("missing_values", rows, [Column(name="words", type="text", nullable=True)])
    kept = [row["words"].split() for row in found[:20]]
    assert all(words == sorted(words, key=lambda word: int(word[1:])) for words in kept)
    assert np.mean([len(words) for words in kept]) == pytest.approx(70, abs=5)
    assert [row["words"] for row in found[20:]] == ["one", None]


CATEGORIES = Column(name="sky", type="category")
FLAGS = Column(name="open", type="boolean")


def test_categories_become_those_of_other_rows_or_unseen_ones() -> None:
    rows = [{"sky": f"sky {number}", "open": number < 500, "age": number} for number in range(1000)]
    found = shift("category_shift", rows, [CATEGORIES, FLAGS, Column(name="age", type="number")])
    assert [row["age"] for row in found] == list(range(1000))
    changed = [row["sky"] for row, before in zip(found, rows, strict=True) if row["sky"] != before["sky"]]
    assert len(changed) == pytest.approx(300, abs=50)
    assert sum(sky == UNSEEN for sky in changed) == pytest.approx(150, abs=40)
    assert {row["open"] for row in found} == {True, False}
    assert sum(a["open"] != b["open"] for a, b in zip(found, rows, strict=True)) == pytest.approx(150, abs=40)


ROWS = st.lists(
    st.fixed_dictionaries(
        {"sky": st.none() | st.text(max_size=3), "open": st.none() | st.booleans(), "words": st.none() | st.text()}
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("test", ["missing_values", "category_shift"])
@given(rows=ROWS)
def test_any_rows_stay_rows_of_the_same_columns(test: str, rows: list[dict[str, Any]]) -> None:
    columns = [CATEGORIES, FLAGS.model_copy(update={"nullable": True}), Column(name="words", type="text")]
    before = json.dumps(rows)
    found = shift(test, rows, columns)
    assert json.dumps(rows) == before
    assert found == shift(test, rows, columns)
    assert [list(row) for row in found] == [list(row) for row in rows]
    known = {row["sky"] for row in rows} | {UNSEEN}
    assert all(row["sky"] in known and row["open"] in (None, True, False) for row in found)


@given(count=st.integers(1, 2000), most=st.integers(1, 600))
def test_evenly_chosen_rows_are_distinct_ascending_and_reach_both_ends(count: int, most: int) -> None:
    rows = evenly(count, most)
    assert len(rows) == min(count, most) and (np.diff(rows) > 0).all()
    assert rows[0] == 0 and (most == 1 or rows[-1] == count - 1)
