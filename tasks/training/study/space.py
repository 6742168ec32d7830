"""The search space as Optuna sees it: distributions, what is searched under which condition, and a grid's points."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tasks.core.errors import BadInput
from tasks.core.spec import Space

Spaces = Mapping[str, Space]
Params = dict[str, Any]
"""Dotted spec field to the value that a trial gives it."""


def suggest(trial: optuna.Trial, spaces: Spaces) -> Params:
    """The trial's parameters: drawn where it has none yet, and only of those fields whose conditions hold."""
    params: Params = {}
    for field in in_order(spaces):
        if _is_searched(spaces[field], params):
            params[field] = _suggest(trial, field, spaces[field])
    return params


def in_order(spaces: Spaces) -> list[str]:
    """The fields by name, but each after those that its condition names.

    Raises:
        BadInput: conditions that wait for each other.
    """
    order: list[str] = []
    while len(order) < len(spaces):
        ready = [field for field in sorted(spaces.keys() - set(order)) if set(spaces[field].when) <= set(order)]
        if not ready:
            fields = ", ".join(sorted(spaces.keys() - set(order)))
            raise BadInput(f"tuning.space: the conditions of {fields} wait for each other.", "Take one `when` away.")
        order += ready
    return order


def distribution(space: Space) -> BaseDistribution:
    """What Optuna draws from. A choice may be a list (``model.units``), so choices are kept as JSON."""
    if space.values is not None:
        return CategoricalDistribution([json.dumps(value) for value in space.values])
    assert space.low is not None and space.high is not None, "the spec checks this"
    if space.integer:
        return IntDistribution(int(space.low), int(_top(space)), log=space.log, step=int(space.step or 1))
    return FloatDistribution(space.low, float(_top(space)), log=space.log, step=space.step)


def lies_in(space: Space, value: Any) -> bool:
    """Whether a study over ``space`` could have drawn ``value``."""
    if space.values is not None:
        return json.dumps(value) in {json.dumps(choice) for choice in space.values}
    if isinstance(value, bool) or not isinstance(value, int if space.integer else int | float):
        return False
    low, high = float(space.low or 0), float(_top(space))
    steps = (value - low) / space.step if space.step else 0.0
    return low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-9)


def grid(spaces: Spaces) -> Iterator[Params]:
    """All combinations, each once: a field whose condition does not hold stands in none."""
    return _combinations(spaces, in_order(spaces), {})


def encoded(spaces: Spaces, params: Params) -> Params:
    """The parameters as Optuna stores them."""
    return {field: value if spaces[field].values is None else json.dumps(value) for field, value in params.items()}


def decoded(spaces: Spaces, params: Params) -> Params:
    """The spec's values of what Optuna stored, by field."""
    found = {field: params[field] for field in sorted(params)}
    return {field: value if spaces[field].values is None else json.loads(value) for field, value in found.items()}


def _suggest(trial: optuna.Trial, field: str, space: Space) -> Any:
    found = distribution(space)
    if isinstance(found, CategoricalDistribution):
        return json.loads(trial.suggest_categorical(field, found.choices))  # type: ignore[arg-type]
    if isinstance(found, IntDistribution):
        return trial.suggest_int(field, found.low, found.high, step=found.step, log=found.log)
    assert isinstance(found, FloatDistribution)
    return trial.suggest_float(field, found.low, found.high, step=found.step, log=found.log)


def _is_searched(space: Space, params: Params) -> bool:
    """A field that is not searched itself fulfils no condition."""
    return all(
        other in params and json.dumps(params[other]) in {json.dumps(value) for value in values}
        for other, values in space.when.items()
    )


def _combinations(spaces: Spaces, fields: list[str], chosen: Params) -> Iterator[Params]:
    if not fields:
        yield chosen
        return
    field, *rest = fields
    if not _is_searched(spaces[field], chosen):
        yield from _combinations(spaces, rest, chosen)
        return
    for value in _points(spaces[field]):
        yield from _combinations(spaces, rest, {**chosen, field: value})


def _points(space: Space) -> Iterator[Any]:
    if space.values is not None:
        yield from (json.loads(json.dumps(value)) for value in space.values)
        return
    low, step, whole = _exact(space.low), _exact(space.step or 1), int if space.integer else float
    yield from (
        whole(low + step * k) for k in itertools.takewhile(lambda k: low + step * k <= _top(space), itertools.count())
    )


def _top(space: Space) -> Decimal:
    """The highest value that the steps reach."""
    low, high = _exact(space.low), _exact(space.high)
    return high if space.step is None else low + (high - low) // _exact(space.step) * _exact(space.step)


def _exact(number: float | None) -> Decimal:
    """The number as it is written, so that steps of 0.1 meet 0.3."""
    return Decimal(str(number))
