"""The documentation says what the code does."""

import re

import pytest

from docs.generate import HERE, pages
from tasks.core.settings import ROOT


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (HERE / name).read_text(encoding="utf-8") == pages()[name], "run: make docs"


def test_every_field_and_command_is_described() -> None:
    for name, page in pages().items():
        if name.endswith(".md"):
            empty = [line for line in page.splitlines() if re.search(r"\| *\|$", line)]
            assert empty == [], name


def test_every_row_of_a_table_is_one_line() -> None:
    for name, page in pages().items():
        if name.endswith(".md"):
            cut = [line for line in page.splitlines() if line.startswith("|") and not line.endswith("|")]
            assert cut == [], name


def test_the_readme_links_only_to_what_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
