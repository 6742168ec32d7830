"""A search space: what is searched when, and the points of its grid."""

import pytest

from tasks.core.errors import BadInput
from tasks.core.spec import Space
from tasks.training.study.space import grid, in_order, lies_in

OPTIMIZER = Space(values=("adam", "momentum"))
MOMENTUM = Space(low=0.5, high=0.9, step=0.2, when={"training.optimizer": ("momentum",)})


def test_a_grid_has_each_combination_once_and_conditions_hold() -> None:
    spaces = {"training.momentum": MOMENTUM, "training.optimizer": OPTIMIZER, "model.units": Space(values=((8,), (4,)))}
    points = [*grid(spaces)]
    plain = [{"training.optimizer": "adam"}]
    plain += [{"training.optimizer": "momentum", "training.momentum": value} for value in (0.5, 0.7, 0.9)]
    assert len(points) == 8
    for units in ([8], [4]):
        for point in plain:
            assert {**point, "model.units": units} in points


def test_the_steps_of_a_grid_end_at_the_highest_value_they_reach() -> None:
    assert [*grid({"a": Space(low=0, high=0.3, step=0.1)})] == [{"a": 0.0}, {"a": 0.1}, {"a": 0.2}, {"a": 0.3}]
    assert [*grid({"a": Space(low=2, high=7, step=2, integer=True)})] == [{"a": 2}, {"a": 4}, {"a": 6}]
    assert [*grid({})] == [{}]


def test_a_field_comes_after_those_of_its_condition() -> None:
    depth = Space(values=(1, 2), when={"z": (1,)})
    assert in_order({"a": Space(values=(1,), when={"b": (1,)}), "b": depth, "z": Space(values=(1,))}) == ["z", "b", "a"]


def test_conditions_that_wait_for_each_other_are_refused() -> None:
    one, other = Space(values=(1,), when={"b": (1,)}), Space(values=(1,), when={"a": (1,)})
    with pytest.raises(BadInput, match="a, b wait for each other"):
        in_order({"a": one, "b": other})


@pytest.mark.parametrize(
    ("space", "inside", "outside"),
    [
        (Space(low=0.1, high=0.5), [0.1, 0.3, 0.5], [0.05, 0.6, "0.3", True]),
        (Space(low=0, high=0.5, step=0.1), [0.3, 0.5], [0.25]),
        (Space(low=1, high=4, integer=True), [1, 4], [2.5, 5]),
        (Space(values=((8, 4), (8,))), [[8, 4]], [[4]]),
        (Space(values=(True, "relu")), [True, "relu"], [1, "gelu"]),
    ],
)
def test_what_lies_in_a_space(space: Space, inside: list[object], outside: list[object]) -> None:
    assert all(lies_in(space, value) for value in inside)
    assert not any(lies_in(space, value) for value in outside)
