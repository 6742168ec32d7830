"""A partition's Data Docs page: Great Expectations' own sections in one file that loads and runs nothing."""

import html
from collections.abc import Mapping
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body{font-family:sans-serif;margin:2rem;max-width:75rem}
h1{font-size:1.4rem}h2{font-size:1.2rem}h5,h6{font-size:1rem;margin:1rem 0 .3rem}
table{border-collapse:collapse}td,th{border-top:1px solid #ccc;padding:.3rem .8rem;text-align:left;vertical-align:top}
.badge{background:#e8e8e8;border-radius:.2rem;padding:0 .3rem}a{color:inherit;text-decoration:none}
.collapse,.cooltip .top,a[data-toggle],[hidden]{display:none}
.fa-check-circle::before{content:"\\2714";color:#080}.fa-times::before{content:"\\2718";color:#c00}
.fa-exclamation-triangle::before{content:"\\26a0";color:#c60}
</style></head><body><h1>{{ title }}</h1>
{% for heading, sections in parts.items() %}<h2>{{ heading }}</h2>
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}{% endfor %}
</body></html>
"""


class _View(DefaultJinjaPageView):
    """Great Expectations' view for a document whose strings are escaped, all of them, and none twice."""

    def __init__(self) -> None:
        super().__init__()
        self.env.loader = ChoiceLoader([DictLoader({"partition.j2": _PAGE}), *filter(None, [self.env.loader])])

    @staticmethod
    def _escape_template_param_value(value: Any) -> Any:
        return value


def render_page(title: str, validations: Mapping[str, ExpectationSuiteValidationResult]) -> str:
    """The HTML page about the validations of a partition, by what each of them covers.

    Great Expectations puts values of the data into its pages as they are, and loads scripts and styles from elsewhere:
    here everything is escaped, and the browser is told to load nothing.
    """
    parts = {html.escape(covered): _sections(result) for covered, result in validations.items()}
    return _View()._get_template("partition.j2").render(title=html.escape(title), parts=parts)


def _sections(result: ExpectationSuiteValidationResult) -> Any:
    return _escaped(ValidationResultsPageRenderer().render(_shortened(result)).to_json_dict()["sections"])


def _shortened(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """The result without the complete lists, which would be megabytes: the quarantine has all rows."""
    return ExpectationSuiteValidationResult(
        success=bool(result.success),
        results=[_shorten(item) for item in result.results],
        suite_name=result.suite_name,
        statistics=result.statistics,
        meta=result.meta,
    )


def _shorten(item: ExpectationValidationResult) -> ExpectationValidationResult:
    complete = {"unexpected_list", "unexpected_index_list", "unexpected_index_query"}
    return ExpectationValidationResult(
        success=item.success,
        expectation_config=item.expectation_config,
        result={key: value for key, value in item.result.items() if key not in complete},
        meta=item.meta,
        exception_info=item.exception_info,
    )


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        # The icon is Great Expectations' own mark-up.
        return {key: inner if key == "html_success_icon" else _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value
