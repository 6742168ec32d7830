"""The OpenAPI document: well-formed, and true of what the endpoint answers."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from jsonschema import Draft202012Validator

from tests.packages import png
from tests.serving.in_process import asking

PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with asking(tmp_path_factory.mktemp("openapi"), "tiny", "people", "prices") as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_it_is_well_formed_and_names_every_live_project(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    labels = {found.ok().label for found in schema.get_all_operations()}
    for project in ("tiny", "people", "prices"):
        assert f"GET /v1/{project}" in labels
        assert {f"POST /v1/{project}/{what}" for what in ("predict", "explain", "feedback")} <= labels
    assert not any("idle" in label for label in labels)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/", {}),
        ("GET", "/livez", {}),
        ("GET", "/readyz", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/v1/tiny", {}),
        ("GET", "/v1/prices", {}),
        ("POST", "/v1/tiny/predict", {"content": png(9), "headers": PNG}),
        ("POST", "/v1/tiny/predict?top_k=1", {"content": png(9), "headers": PNG}),
        ("POST", "/v1/tiny/explain", {"content": png(9, seed=1), "headers": PNG}),
        ("POST", "/v1/people/predict", {"json": {"instances": [{"age": 3}, {"age": "4", "member": None}]}}),
        ("POST", "/v1/people/explain", {"json": {"instances": [{"age": 3, "member": False}]}}),
        ("POST", "/v1/prices/predict", {"json": {"instances": [{"age": 3}]}}),
        ("POST", "/v1/prices/explain", {"json": {"instances": [{"age": 3}]}}),
        ("POST", "/v1/prices/feedback", {"json": {"request_id": "a", "label": 7.5}}),
        ("POST", "/v1/tiny/feedback", {"json": {"request_id": "a", "index": 3.0, "label": "dark"}}),
        ("POST", "/v1/tiny/feedback", {"json": {"request_id": "a", "label": "grey"}}),
        ("POST", "/v1/tiny/predict", {"content": b"", "headers": PNG}),
        ("POST", "/v1/people/predict", {"json": {"instances": [{"age": "?"}]}}),
        ("POST", "/v1/people/predict", {"json": {"entities": ["nobody"]}}),
        ("POST", "/v1/people/predict", {"content": b"a,b", "headers": {"content-type": "text/csv"}}),
    ],
)
def test_answers_are_as_described(
    client: httpx.Client, document: dict[str, Any], method: str, path: str, options: dict[str, Any]
) -> None:
    response = client.request(method, path, **options)
    described = document["paths"][path.partition("?")[0]][method.lower()]["responses"]
    _check(document, described, response)


@pytest.mark.parametrize(
    ("row", "fits"),
    [
        ({"age": 3}, True),
        ({"age": 3.5, "member": None}, True),
        ({"age": "3", "member": "yes"}, True),
        ({"member": True}, False),
        ({"age": None}, False),
        ({"age": 3, "height": 1}, False),
        ({"age": [3]}, False),
        ({"age": "three"}, False),
    ],
)
def test_the_schema_of_a_row_fits_what_is_taken(
    client: httpx.Client, document: dict[str, Any], row: dict[str, Any], fits: bool
) -> None:
    sent = {"instances": [row]}
    asked = document["paths"]["/v1/people/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert Draft202012Validator(asked["schema"]).is_valid(sent) is fits
    assert (client.post("/v1/people/predict", json=sent).status_code == 200) is fits


def test_the_example_is_a_typical_row_and_is_answered(client: httpx.Client, document: dict[str, Any]) -> None:
    asked = document["paths"]["/v1/people/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert asked["example"] == {"instances": [client.get("/v1/people").json()["example"]]}
    assert 40 < asked["example"]["instances"][0]["age"] < 60
    assert client.post("/v1/people/predict", json=asked["example"]).status_code == 200
    explained = client.post("/v1/people/explain", json=asked["example"])
    assert explained.status_code == 200 and explained.json()["explanations"][0]["contributions"] == []


def _check(document: dict[str, Any], described: dict[str, Any], response: httpx.Response) -> None:
    """The status is one of those described, and the body fits its schema."""
    assert str(response.status_code) in described, response.text
    found = described[str(response.status_code)]
    if "$ref" in found:
        found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
    schema = found["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())
