"""The endpoint of tables and texts over real HTTP, beside images in one BentoML server."""

from collections.abc import Mapping
from typing import Any

import httpx
import psutil
import pytest

from tests.packages import png, register
from tests.serving.conftest import Running, logged

PATH = "/v1/people/predict"


@pytest.fixture(scope="module")
def served(endpoint: Running) -> Running:
    """The endpoint with a champion of rows of numbers."""
    version = register(endpoint.registry, endpoint.store, "numbers", name="people").version
    endpoint.make_champion(version, "people")
    return endpoint


def _predict(served: Running, *rows: Any, path: str = PATH) -> httpx.Response:
    return served.client.post(path, json={"instances": rows})


def test_rows_are_answered_in_order(served: Running) -> None:
    answer = _predict(served, {"age": 80, "member": True}, {"age": "20"}, {"age": 79.5, "member": None}).json()
    assert (answer["project"], answer["version"]) == ("people", 1)
    assert [row["label"] for row in answer["predictions"]] == ["bright", "dark", "bright"]
    assert answer["predictions"][0]["probability"] > 0.9


@pytest.fixture(scope="module")
def priced(endpoint: Running) -> Running:
    """The endpoint with a champion that gives numbers."""
    version = register(endpoint.registry, endpoint.store, "prices", name="prices").version
    endpoint.make_champion(version, "prices")
    return endpoint


def test_a_regression_answers_with_numbers_and_logs_them(priced: Running) -> None:
    answer = _predict(priced, {"age": 10}, {"age": 50.5}, path="/v1/prices/predict").json()
    assert answer["predictions"] == [{"value": 80}, {"value": 404}]
    records = logged("prices", answer["request_id"], 2)
    assert [record["value"] for record in records] == [80, 404] and "label" not in records[0]
    described = priced.client.get("/v1/prices").json()
    assert described["task"] == "regression" and described["classes"] == []


def test_a_number_has_no_likeliest_classes(priced: Running) -> None:
    response = _predict(priced, {"age": 1}, path="/v1/prices/predict?top_k=1")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_top_k")


def test_a_row_so_large_that_the_model_gives_no_number_is_named(priced: Running) -> None:
    response = _predict(priced, {"age": 1}, {"age": 1e300}, path="/v1/prices/predict")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "not_a_number") and error["message"].startswith("Instance 1:")
    response = _predict(priced, {"age": 1e300}, path="/v1/prices/explain")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "not_a_number")


@pytest.mark.parametrize(("label", "status"), [(12.5, 202), (7, 202), ("12.5", 400), (True, 400), (None, 400)])
def test_feedback_of_a_regression_is_a_number(priced: Running, label: Any, status: int) -> None:
    given = {"request_id": f"about-{label}", "label": label}
    response = priced.client.post("/v1/prices/feedback", json=given)
    assert response.status_code == status, response.text
    if status == 202:
        assert [record["label"] for record in logged("prices", given["request_id"], 1)] == [label]


@pytest.mark.parametrize("number", ["1e999", "NaN", "1" + "0" * 400])
def test_feedback_that_no_model_could_learn_is_refused(priced: Running, number: str) -> None:
    body = '{"request_id": "about", "label": ' + number + "}"
    response = priced.client.post("/v1/prices/feedback", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_feedback")


def test_a_project_describes_its_columns(served: Running) -> None:
    described = served.client.get("/v1/people").json()
    assert described["image"] is None
    assert described["columns"] == [
        {"name": "age", "type": "number", "nullable": False},
        {"name": "member", "type": "boolean", "nullable": True},
    ]


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ({"age": "old"}, "wrong_type", "Instance 1: age is 'old'. age takes a number."),
        ({"member": True}, "missing_value", "Instance 1: age is missing. age takes a number."),
        ({"age": 1, "member": "?"}, "wrong_type", "member is '?'. member takes true or false or null."),
        ({"age": 1, "Age": 1}, "unknown_column", "there is no column 'Age'. Known: age, member."),
        ({"image": "aGk="}, "unknown_column", "there is no column 'image'. Known: age, member."),
    ],
)
def test_a_row_that_cannot_be_taken_is_named(served: Running, row: Mapping[str, Any], code: str, said: str) -> None:
    response = _predict(served, {"age": 1}, row)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == code and said in error["message"]
    assert error["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("status", "code", "options"),
    [
        (422, "rows_wanted", {"content": png(1), "headers": {"content-type": "image/png"}}),
        (422, "rows_wanted", {"files": {"f": ("rows.csv", b"age\n1\n", "text/csv")}}),
        (415, "unsupported_media_type", {"content": b"age\n1\n", "headers": {"content-type": "text/csv"}}),
        (400, "empty_body", {"headers": {"content-type": "application/json"}}),
        (400, "bad_json", {"content": b"{", "headers": {"content-type": "application/json"}}),
        (400, "bad_instances", {"json": {"instances": []}}),
        (400, "bad_instances", {"json": {"instances": [{"age": 1}, [1, True]]}}),
        (400, "bad_instances", {"json": {"age": 1}}),
        (413, "too_many_rows", {"json": {"instances": [0] * 10_001}}),
        (413, "body_too_large", {"content": b" " * 65_537, "headers": {"content-type": "application/json"}}),
    ],
)
def test_every_error_has_one_shape(served: Running, status: int, code: str, options: Mapping[str, Any]) -> None:
    response = served.client.post(PATH, **options)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert "Traceback" not in response.text


def test_what_is_missing_is_logged_as_null(served: Running) -> None:
    sent = _predict(served, {"age": 33.25}).json()
    (record,) = logged("people", sent["request_id"], 1)
    assert record["features"] == {"numeric": [33.25, None]}


@pytest.mark.slow
def test_tensorflow_is_loaded_when_a_model_of_strings_goes_live_and_texts_are_not_logged(served: Running) -> None:
    assert _predict(served, {"age": 80}).status_code == 200
    assert not _holds_tensorflow(served.pid)
    version = register(served.registry, served.store, "words", name="weather").version
    served.make_champion(version, "weather")
    assert _holds_tensorflow(served.pid)
    rows = [{"sky": "sun", "words": "so warm"}, {"sky": "rain", "words": "so wet"}]
    answer = _predict(served, *rows, path="/v1/weather/predict").json()
    assert [row["label"] for row in answer["predictions"]] == ["bright", "dark"]
    assert _predict(served, {"age": 80}).json()["predictions"][0]["label"] == "bright"
    records = logged("weather", answer["request_id"], 2)
    assert [record["features"] for record in records] == [{"categorical": ["sun"]}, {"categorical": ["rain"]}]


def _holds_tensorflow(server: int) -> bool:
    """Whether any process of the server has TensorFlow's library mapped."""
    workers = psutil.Process(server).children(recursive=True)
    assert workers
    return any("libtensorflow_cc" in mapped.path for worker in workers for mapped in worker.memory_maps())
