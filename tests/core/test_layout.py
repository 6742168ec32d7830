"""The layout of the feature vector."""

import json
from pathlib import Path

import numpy as np

from tasks.core.layout import FILE, Layout, Slice, counts

LAYOUT = Layout.beside(
    {
        "numeric": Layout.one("number", 2),
        "categorical": Layout.beside({"sky": Layout.one("category", 3), "wind": Layout.one("category", 2)}),
        "text": Layout.one("tokens", 4, 6),
    }
)


def test_slices_stand_one_after_the_other() -> None:
    assert LAYOUT.slices == (
        Slice("numeric", "number", 0, 2),
        Slice("categorical.sky", "category", 2, 5),
        Slice("categorical.wind", "category", 5, 7),
        Slice("text", "tokens", 7, 11, 6),
    )
    assert LAYOUT.width == 11
    assert [each.name for each in LAYOUT.of("number", "tokens")] == ["numeric", "text"]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"slices": LAYOUT.as_json()}), encoding="utf-8")
    assert Layout.read(tmp_path) == LAYOUT


def test_words_are_counted_and_nothing_else_changes() -> None:
    features = np.arange(22, dtype=np.float32).reshape(2, 11)
    features[:, 7:] = [[5, 1, 5, 0], [0, 0, 0, 0]]
    found = counts(LAYOUT, features)
    assert found.dtype == np.float32
    assert np.array_equal(found[:, :7], features[:, :7])
    assert found[:, 7:].tolist() == [[1, 0, 0, 0, 2], [0, 0, 0, 0, 0]]
    assert counts(LAYOUT, features, most=1)[:, 7:].tolist() == [[1], [0]]
    assert np.array_equal(counts(Layout.plain(11), features), features)
