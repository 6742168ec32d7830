"""Great Expectations over some rows of a partition: a checkpoint of the same rules that DuckDB evaluates on all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.exceptions import ExpectationNotFoundError
from great_expectations.expectations.expectation import ExpectationConfiguration
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)
from pydantic.v1 import ValidationError

from tasks.core.errors import StageFailed, UpdraftError
from tasks.core.spec import Project
from tasks.data.expectations import Rule, bad_expectation


@dataclass(frozen=True)
class Finding:
    """What Great Expectations found about one rule.

    Attributes:
        rows: the ``row_id`` of every unexpected row, sorted; of a uniqueness rule, of all rows that share a value.
        broken: what was observed, where the rule is about the whole table and does not hold; else None.
    """

    rule: Rule
    rows: list[int]
    broken: str | None


def run_checkpoint(
    spec: Project, rules: Sequence[Rule], frame: pd.DataFrame
) -> tuple[list[Finding], ExpectationSuiteValidationResult]:
    """Evaluates the rules on the rows of ``frame``, in a context that leaves nothing behind.

    Raises:
        BadInput: an expectation of the project's suite is unknown, or cannot be evaluated.
        StageFailed: a rule of our own cannot.
    """
    names = _told_apart(frame.columns)
    suite = gx.ExpectationSuite(spec.name, expectations=[_expectation(spec, rule, names) for rule in rules])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("ingest").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("partition")
    definition = gx.ValidationDefinition(name=spec.name, data=batch, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(
        name=spec.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row_id"]},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame.rename(columns=names)})
    (result,) = outcome.run_results.values()
    return [_finding(spec, rules, item) for item in result.results], result


def _told_apart(columns: Sequence[str]) -> dict[str, str]:
    """Names that differ in more than case: Great Expectations takes ``Label`` for the first column called ``label``."""
    names: dict[str, str] = {}
    for column in columns:
        same = sum(column.casefold() == other.casefold() for other in names)
        names[column] = f"{column} ({same + 1})" if same else column
    return names


def _expectation(spec: Project, rule: Rule, names: Mapping[str, str]) -> Any:
    try:
        implementation = get_expectation_impl(rule.type)
    except ExpectationNotFoundError:
        known = sorted(list_registered_expectation_implementations())
        close = ", ".join(get_close_matches(rule.type, known, n=3)) or "see greatexpectations.io/expectations"
        raise bad_expectation(spec, rule.type, rule.kwargs, "there is no such expectation", f"Near: {close}.") from None
    try:
        return implementation(**_renamed(rule.kwargs, names), meta={"rule": rule.number, "reason": rule.reason})
    except (ValidationError, TypeError, ValueError) as error:
        raise _useless(spec, rule, str(error).replace("\n", " ")) from None


def _renamed(kwargs: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    one = {key: names[kwargs[key]] for key in ("column", "column_A", "column_B") if key in kwargs}
    several = {"column_list": [names[column] for column in kwargs["column_list"]]} if "column_list" in kwargs else {}
    return {**kwargs, **one, **several}


def _finding(spec: Project, rules: Sequence[Rule], item: ExpectationValidationResult) -> Finding:
    configuration = item.expectation_config
    assert isinstance(configuration, ExpectationConfiguration)
    rule = next(rule for rule in rules if rule.number == configuration.meta["rule"])
    raised = _raised(item.exception_info or {})
    if raised is not None:
        raise _useless(spec, rule, raised)
    rows = sorted(int(entry["row_id"]) for entry in item.result.get("unexpected_index_list") or ())
    # An expectation about rows that passes because of `mostly` still lists them.
    broken = None if item.success or rows else str(item.result.get("observed_value", "no details"))
    return Finding(rule, rows, broken)


def _raised(info: Mapping[str, Any]) -> str | None:
    """The message of what an evaluation raised; Great Expectations files it by metric, or plainly."""
    for entry in [info, *(entry for entry in info.values() if isinstance(entry, Mapping))]:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return None


def _useless(spec: Project, rule: Rule, problem: str) -> UpdraftError:
    if rule.own:
        fix = "Correct its arguments, or name another column."
        return bad_expectation(spec, rule.type, rule.kwargs, f"it cannot be evaluated: {problem}", fix)
    return StageFailed(f"The rule {rule.name} could not be evaluated: {problem}.", "Report this.")
