"""Predictions by entity id, over real HTTP: Feast has written the features, and the endpoint looks them up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.core.spec import Online
from tests.features.conftest import Platform, Row
from tests.packages import png, project, register
from tests.serving.conftest import Running, logged
from tests.serving.in_process import asking

PATH = "/v1/people/predict"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(endpoint: Running) -> Iterator[Running]:
    """The endpoint with a champion of ``people``, and entities of two ages in Feast's online store."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    before = int((now - midnight) / timedelta(minutes=1)) - 5

    def row(entity: str, age: float | None, member: float | None = 1.0, minutes: int = 0) -> Row:
        values = None if age is None else [age, member]
        return Row(entity, str(now.date()), minute=before - minutes, features={"numeric": values})

    rows = [row("old one", 80), row("ünï", 20), row("long ago", 80, minutes=49 * 60), row("blank", None)]
    platform = Platform(project("people"), endpoint.store, endpoint.registry)
    platform.materialize([*rows, row("half", 80, float("nan"))], str(now.date()))
    _serve(endpoint, "first")
    yield endpoint


def _serve(endpoint: Running, key: str, **online: Any) -> None:
    version = register(endpoint.registry, endpoint.store, key, name="people", online=Online(**online)).version
    endpoint.make_champion(version, "people")


def _ask(served: Running, *entities: Any) -> httpx.Response:
    return served.client.post(PATH, json={"entities": entities})


def test_entities_are_answered_as_their_rows_are(served: Running) -> None:
    answer = _ask(served, "ünï", "old one", "half", "ünï").json()
    rows = [{"age": 20, "member": True}, {"age": 80, "member": True}, {"age": 80}, {"age": 20, "member": True}]
    by_rows = served.client.post(PATH, json={"instances": rows}).json()
    beside = [{name: each.pop(name) for name in ("entity", "event_time", "expired")} for each in answer["predictions"]]
    assert answer["predictions"] == by_rows["predictions"]
    assert [each["entity"] for each in beside] == ["ünï", "old one", "half", "ünï"]
    assert not any(each["expired"] for each in beside)
    assert datetime.now(UTC) - datetime.fromisoformat(beside[0]["event_time"]) < timedelta(minutes=30)
    assert len(logged("people", answer["request_id"], 4)) == 4


def test_features_that_a_row_had_not_are_missing(served: Running) -> None:
    (prediction,) = _ask(served, "blank").json()["predictions"]
    assert prediction["label"] == "dark"


def test_an_unknown_entity_is_named(served: Running) -> None:
    response = _ask(served, "old one", "nobody", "no'body")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (404, "unknown_entity")
    assert "'nobody', \"no'body\"" in error["message"] and "old one" not in error["message"]


def test_an_expired_entity_is_told_as_the_project_wants_it(served: Running) -> None:
    assert _ask(served, "long ago").status_code == 200
    _serve(served, "reject", ttl_hours=48)
    response = _ask(served, "old one", "long ago")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "stale_entity")
    assert "'long ago' are 49." in response.json()["error"]["message"]
    assert _ask(served, "old one").status_code == 200
    _serve(served, "default", ttl_hours=48, expired="default")
    response = _ask(served, "long ago")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_entity")
    _serve(served, "flag", ttl_hours=48, expired="flag")
    assert [each["expired"] for each in _ask(served, "old one", "long ago").json()["predictions"]] == [False, True]
    assert served.client.get("/v1/people").json()["entities"] == {"ttl_hours": 48, "expired": "flag"}


@pytest.mark.parametrize(
    ("status", "code", "entities"),
    [
        (400, "bad_entities", []),
        (400, "bad_entities", "old one"),
        (400, "bad_entities", [7]),
        (400, "bad_entities", [""]),
        (400, "bad_entities", ["x" * 1001]),
        (413, "too_many_entities", ["a"] * 1001),
    ],
)
def test_what_names_no_entity_is_refused(served: Running, status: int, code: str, entities: Any) -> None:
    response = served.client.post(PATH, json={"entities": entities})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_half_a_character_is_refused(served: Running) -> None:
    response = served.client.post(
        PATH, content=b'{"entities": ["\\ud800"]}', headers={"content-type": "application/json"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_entities")


def test_features_alone_do_not_suffice_for_images(served: Running) -> None:
    served.make_champion(register(served.registry, served.store, "pixels").version)
    assert served.client.post("/v1/tiny/predict", content=png(9), headers={"content-type": "image/png"}).is_success
    response = served.client.post("/v1/tiny/predict", json={"entities": ["old one"]})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "images_wanted")


def test_a_store_that_holds_nothing_is_told_apart_from_an_unknown_entity(served: Running) -> None:
    served.make_champion(register(served.registry, served.store, "prices", name="prices").version, "prices")
    response = served.client.post("/v1/prices/predict", json={"entities": ["old one"]})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "nothing_online")
    assert "updraft backfill prices --local" in response.json()["error"]["message"]


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_store_that_does_not_answer_is_503_and_named_in_the_log_alone(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UPDRAFT_ONLINE_STORE", f"{scheme}://user:hidden@127.0.0.1:9")
    with asking(tmp_path, "people") as client, caplog.at_level("WARNING"):
        response = client.post(PATH, json={"entities": ["old one"]})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "online_store_unavailable")
    assert "127.0.0.1:9" not in response.text and response.headers["retry-after"]
    assert f"{scheme}://127.0.0.1:9" in caplog.text and "hidden" not in caplog.text
