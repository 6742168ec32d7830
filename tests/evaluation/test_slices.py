"""Declared slices, and those that are found: planted ones first, and by chance alone hardly ever sure."""

import json
from typing import Any

import numpy as np
import pytest

from tasks.core.config import replace
from tasks.core.errors import BadInput, UpdraftError
from tasks.core.shards import Split
from tasks.core.spec import Project
from tasks.evaluation.slices import Group, declared, found
from tasks.runtime.instances import typed
from tasks.runtime.table_features import extract_table

SHOPS = Project.model_validate(
    {
        "name": "shops",
        "task": "tabular_classification",
        "start": "2026-01-01",
        "classes": ["no", "yes"],
        "source": {
            "uri": "landing/shops",
            "format": "table",
            "columns": [
                {"name": "country", "type": "category", "nullable": True},
                {"name": "channel", "type": "category"},
                {"name": "amount", "type": "number", "nullable": True},
                {"name": "items", "type": "number"},
                {"name": "member", "type": "boolean"},
                {"name": "placed", "type": "time"},
                {"name": "note", "type": "text"},
            ],
        },
        "features": [
            {"kind": "numeric", "columns": ["amount", "items", "member"]},
            {"kind": "crossed", "columns": ["country", "channel"]},
            {"kind": "text_stats", "columns": ["note"]},
        ],
        "model": {"family": "mlp"},
        "gates": [{"metric": "accuracy", "min": 0.5}],
    }
)
ROWS = 1200


def _shops(seed: int = 0, spec: Project = SHOPS) -> Split:
    random = np.random.default_rng(seed)
    rows = [_row(random, number) for number in range(ROWS)]
    features = extract_table(typed(rows, spec.source.columns), spec.features)
    labels = random.integers(0, 2, ROWS).astype(np.float32 if spec.is_regression else np.int32)
    names = [str(row) for row in range(ROWS)]
    return Split(None, features, labels, names, names, np.zeros(ROWS, np.int32), [json.dumps(row) for row in rows])


def _row(random: np.random.Generator, number: int) -> dict[str, Any]:
    return {
        "country": str(random.choice(["de", "fr", "it"])) if number % 10 else None,
        "channel": str(random.choice(["web", "shop"])),
        "amount": float(random.gamma(4, 25)) if number % 8 else None,
        "items": int(random.integers(1, 5)),
        "member": bool(random.random() < 0.5),
        "placed": f"2026-{1 + number % 12:02d}-15T12:00:00Z",
        "note": "word " * int(random.integers(1, 40)),
    }


def _values(split: Split, column: str) -> list[Any]:
    return [json.loads(row)[column] for row in split.rows or ()]


def _declared(split: Split, spec: Project = SHOPS, **fields: Any) -> np.ndarray:
    slices = [{"name": "part", **fields}]
    return declared(replace(spec, {"evaluation.slices": slices}), split)[0].rows


def test_slices_are_declared_by_values_or_bounds_of_columns_features_and_label() -> None:
    split = _shops()
    countries, amounts = _values(split, "country"), np.array(_values(split, "amount"), float)
    assert _declared(split, column="country", values=["de", "it"]).tolist() == [
        row for row, value in enumerate(countries) if value in ("de", "it")
    ]
    assert _declared(split, column="items", values=[2, 3.0]).tolist() == [
        row for row, value in enumerate(_values(split, "items")) if value in (2, 3)
    ]
    assert (
        _declared(split, column="member", values=["true"]).tolist() == np.flatnonzero(_values(split, "member")).tolist()
    )
    inside = (amounts >= 50) & (amounts < 100)
    assert _declared(split, column="amount", min=50, max=100).tolist() == np.flatnonzero(inside).tolist()
    assert _declared(split, column="text_stats.note.words", max=3).tolist() == [
        row for row, value in enumerate(_values(split, "note")) if len(value.split()) < 3
    ]
    assert _declared(split, column="label", values=["yes"]).tolist() == np.flatnonzero(split.labels == 1).tolist()
    pairs = zip(countries, _values(split, "channel"), strict=True)
    assert _declared(split, column="crossed.country_x_channel", values=["de, web"]).tolist() == [
        row for row, pair in enumerate(pairs) if pair == ("de", "web")
    ]


def test_a_class_that_looks_like_a_number_is_meant_by_one() -> None:
    spec = replace(SHOPS, {"classes": ["7", "8"]})
    split = _shops(spec=spec)
    assert _declared(split, spec, column="label", values=[7]).tolist() == np.flatnonzero(split.labels == 0).tolist()


def test_a_slice_of_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"part: there is no 'numeric\.colour' to slice by") as refused:
        _declared(_shops(), column="numeric.colour", max=3)
    assert "numeric.amount" in refused.value.fix
    with pytest.raises(BadInput, match="part: country holds no numbers"):
        _declared(_shops(), column="country", max=3)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "part", "column": "colour", "values": ["red"]}, "part: there is no 'colour'"),
        ({"name": "missing_values", "column": "label", "values": ["no"]}, "gates call something else"),
        ({"name": "part", "column": "amount"}, "give either values, or min, max or both"),
    ],
)
def test_the_spec_says_what_it_slices(part: dict[str, Any], message: str) -> None:
    with pytest.raises(UpdraftError, match=message):
        replace(SHOPS, {"evaluation.slices": [part]})


@pytest.mark.parametrize(
    ("name", "column", "bad"),
    [
        ("country = fr", "country", lambda value: value == "fr"),
        ("country is missing", "country", lambda value: value is None),
        ("items = 4", "items", lambda value: value == 4),
        ("member = true", "member", lambda value: value),
        ("amount is missing", "amount", lambda value: value is None),
        ("placed at least 2026-10-15", "placed", lambda value: value >= "2026-10-15"),
    ],
)
def test_a_planted_group_is_found_first_and_surely(name: str, column: str, bad: Any) -> None:
    split, random = _shops(), np.random.default_rng(1)
    planted = np.array([bool(bad(value)) for value in _values(split, column)])
    losses = random.random(ROWS) + 0.5 * planted
    first = found(SHOPS, split, losses)[0]
    assert first.name == name and first.rows.tolist() == np.flatnonzero(planted).tolist()
    assert first.p_value is not None and first.p_value < 1e-6


def test_a_group_of_two_columns_is_found_by_their_crossing() -> None:
    split = _shops()
    both = np.array(_values(split, "country")) == "it"
    both &= np.array(_values(split, "channel")) == "web"
    first = found(SHOPS, split, np.random.default_rng(1).random(ROWS) + both)[0]
    assert first.name == "crossed.country_x_channel = it, web"


def test_a_quarter_of_a_number_is_named_by_its_bounds() -> None:
    split = _shops()
    amounts = np.array(_values(split, "amount"), float)
    first = found(SHOPS, split, np.nan_to_num(amounts > 130) + np.random.default_rng(0).random(ROWS) / 10)[0]
    bound = float(first.name.removeprefix("amount at least "))
    assert first.rows.tolist() == np.flatnonzero(amounts >= bound).tolist()


def test_where_no_group_is_worse_hardly_one_is_called_sure() -> None:
    """In forty splits without any pattern, at 5%; each looks at about forty groups."""
    split = _shops()
    sure = 0
    for seed in range(40):
        losses = np.random.default_rng(seed).random(ROWS) < 0.1
        groups = found(SHOPS, split, losses.astype(float))
        assert [group.p_value for group in groups] == sorted(group.p_value or 0 for group in groups)
        sure += (groups[0].p_value or 0) <= 0.05
    assert sure <= 6


def test_groups_are_large_enough_few_enough_and_not_alike() -> None:
    spec = replace(SHOPS, {"evaluation.slice_rows": 250, "evaluation.worst_slices": 4})
    split = _shops()
    groups = found(spec, split, np.random.default_rng(3).random(ROWS))
    assert 0 < len(groups) <= 4 and all(len(group.rows) >= 250 for group in groups)
    for one in groups:
        for other in groups:
            shared = len(np.intersect1d(one.rows, other.rows)) / len(np.union1d(one.rows, other.rows))
            assert one is other or shared <= 0.5


def test_what_was_declared_is_not_found_again() -> None:
    split = _shops()
    losses = (np.array(_values(split, "items")) == 4).astype(float)
    taken = Group("four", _declared(split, column="items", values=[4]))
    assert "items = 4" not in [group.name for group in found(SHOPS, split, losses, [taken])]
    none_wanted = replace(SHOPS, {"evaluation.worst_slices": 0})
    assert found(none_wanted, split, losses) == []


def test_a_number_for_a_label_is_sliced_like_any_other() -> None:
    changed = {"task": "tabular_regression", "classes": [], "gates": [{"metric": "mae", "max": 1}]}
    spec = Project.model_validate({**SHOPS.model_dump(mode="json"), **changed})
    split = _shops(spec=spec)
    assert _declared(split, spec, column="label", min=1).tolist() == np.flatnonzero(split.labels == 1).tolist()
    assert found(spec, split, split.labels.astype(float))[0].name == "label = 1"
