"""The tab Model: the card of the last candidate beside the champion's."""

import json
from pathlib import Path

import pytest
from fastapi import HTTPException

from plugins import updraft_pages as pages
from tasks.core.artifacts import Manifest
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome, execute
from tests.digits import open_platform, project
from tests.stages import stage


@stage("card", "description", reproducible=False)
def _card(ctx: Context) -> Outcome:
    (ctx.out / "card.html").write_text(f"<html><body><h1>{ctx.spec.description}</h1></body></html>")
    (ctx.out / "card.json").write_text(json.dumps({"project": ctx.spec.name, "is": ctx.spec.description}))
    return Outcome()


def _made(text: str) -> Manifest:
    platform = open_platform()
    spec = project({"description": text})
    return execute(_card, spec, {}, store=platform.store, registry=platform.registry)


def _page(page: object) -> str:
    assert hasattr(page, "body")
    assert hasattr(page, "headers")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    return bytes(page.body).decode()


def test_before_the_first_training_it_says_so(home: Path) -> None:
    assert "no card of a candidate yet" in _page(pages.model("digits_train"))
    assert "no card of a champion yet" in _page(pages.champion("digits_train"))
    with pytest.raises(HTTPException):
        pages.card_json("digits_train", "champion")


def test_candidate_and_champion_lead_to_one_another(home: Path) -> None:
    first = _made("the first")
    registry = Registry(settings().registry_url)
    version = registry.register("digits", "key", "digits/package/key/manifest.json", {"card": first.path})
    registry.move_alias("digits", "champion", version.version, expected=None, who="test", why="test")
    _made("the second")
    shown = _page(pages.model("digits_train"))
    assert "the second" in shown
    assert "href='/updraft/digits_train/model/champion'" in shown
    shown = _page(pages.champion("digits_train"))
    assert "the first" in shown
    assert "href='/updraft/digits_train/model'" in shown
    assert json.loads(bytes(pages.card_json("digits_train", "champion").body))["is"] == "the first"
    assert json.loads(bytes(pages.card_json("digits_train", "candidate").body))["is"] == "the second"


def test_a_champion_of_before_there_were_cards_has_none(home: Path) -> None:
    registry = Registry(settings().registry_url)
    version = registry.register("digits", "key", "digits/package/key/manifest.json", {})
    registry.move_alias("digits", "champion", version.version, expected=None, who="test", why="test")
    assert "no card of a champion yet" in _page(pages.champion("digits_train"))


def test_rejected_rows_are_read_as_a_table_and_run_nothing(home: Path) -> None:
    row = {
        "row": {"row_id": 7, "entity": "<script>a</script>"},
        "reason": "truncated_image",
        "detail": "a.png: cut off",
    }
    line = json.dumps({**row, "replay": "updraft stage ingest digits --partition 2026-01-02"})
    store = open_platform().store
    store.put_new("digits/quarantine/date=2026-01-02/rows.jsonl", f"{line}\n".encode())
    shown = _page(pages.quarantine("digits_features", "2026-01-02"))
    assert "<td>7<td>&lt;script&gt;" in shown and "truncated_image" in shown and "a.png: cut off" in shown
    assert "updraft stage ingest digits" in shown and "href='2026-01-02.jsonl'" in shown and "href='../data'" in shown
    assert json.loads(_page(pages.quarantine_lines("digits_features", "2026-01-02"))) == json.loads(line)
    store.put_new("digits/quarantine/date=2026-01-03/rows.jsonl", b"")
    assert "No rows" in _page(pages.quarantine("digits_features", "2026-01-03"))
    with pytest.raises(HTTPException):
        pages.quarantine("digits_features", "2026-01-04")
