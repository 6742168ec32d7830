"""The rules that a clean row keeps, as a Great Expectations suite made from the spec, and their evaluation."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from tasks.core.errors import StageFailed
from tasks.core.spec import ColumnRange, Project

COLUMNS = (
    *("row_id", "entity", "event_time", "label", "image", "uri"),
    *("digest", "bytes", "width", "height", "mode", "defect"),
)
"""What ingestion publishes and the rules speak of."""


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    Attributes:
        reason: the rule's code.
        rule: its expectation's type and column: ``expect_column_values_to_be_unique(digest)``.
        column: the column alone.
        rows: the ``row_id`` of every row that breaks it, sorted; of a uniqueness rule, of all rows that share a value.
    """

    reason: str
    rule: str
    column: str
    rows: list[int]


def build_suite(spec: Project, day: date) -> gx.ExpectationSuite:
    """The rules for one partition, the worst first; each one's ``meta.reason`` is the code its rows are counted by."""
    rules = [
        _reason("missing_column", gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=False)),
        _reason("defect", gxe.ExpectColumnValuesToBeNull(column="defect")),
        *(_reason(f"null_{c}", gxe.ExpectColumnValuesToNotBeNull(column=c)) for c in ("entity", "label", "event_time")),
        _reason("unknown_label", gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(spec.classes))),
        _reason("outside_partition", _within(day)),
        *(_reason(f"{bounds.column}_out_of_range", _between(bounds)) for bounds in spec.validation.ranges),
        _reason("duplicate_image", gxe.ExpectColumnValuesToBeUnique(column="digest")),
        _reason("duplicate_entity", gxe.ExpectColumnValuesToBeUnique(column="entity")),
    ]
    return gx.ExpectationSuite(spec.name, expectations=rules)


def evaluate(suite: gx.ExpectationSuite, frame: pd.DataFrame) -> tuple[list[Finding], str]:
    """Evaluates every rule on the rows of one partition.

    Returns:
        A finding for each rule, in the suite's order, and the Data Docs page as HTML.

    Raises:
        StageFailed: a rule could not be evaluated.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("ingest").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("partition").get_batch({"dataframe": frame})
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["row_id"]}
    result = batch.validate(context.suites.add(suite), result_format=form)
    findings = [_finding(item) for item in result.results]
    # Great Expectations groups its results by column.
    order = [expectation.meta["reason"] for expectation in suite.expectations if expectation.meta]
    findings.sort(key=lambda finding: order.index(finding.reason))
    # A page of its own: the site that Great Expectations would build around it is 4 MB of images for every partition.
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result), template="page_minimal.j2")
    return findings, page


def _finding(item: ExpectationValidationResult) -> Finding:
    config = item.expectation_config
    assert config is not None
    column = config.kwargs.get("column", "")
    rows = sorted(int(entry["row_id"]) for entry in item.result.get("unexpected_index_list") or ())
    finding = Finding(config.meta["reason"], f"{config.type}({column})", column, rows)
    if not item.success and not rows:
        message = f"The rule {finding.rule} could not be evaluated: {item.exception_info or item.result}."
        raise StageFailed(message, "Report this.")
    return finding


def _reason(code: str, expectation: Expectation) -> Expectation:
    expectation.meta = {"reason": code}
    return expectation


def _within(day: date) -> Expectation:
    start = datetime.combine(day, datetime.min.time(), UTC)
    end = start + timedelta(days=1)
    return gxe.ExpectColumnValuesToBeBetween(column="event_time", min_value=start, max_value=end, strict_max=True)


def _between(bounds: ColumnRange) -> Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=bounds.column, min_value=bounds.min, max_value=bounds.max)
