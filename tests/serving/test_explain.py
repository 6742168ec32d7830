"""``POST /v1/{project}/explain``: pictures for images, contributions for rows."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.packages import png
from tests.serving.in_process import asking

PNG = {"content-type": "image/png"}
OLD = {"age": 71, "member": True}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with asking(tmp_path_factory.mktemp("explain"), "tiny", "people", "prices") as client:
        yield client


def _rows(client: httpx.Client, *rows: Any, project: str = "people", query: str = "") -> httpx.Response:
    return client.post(f"/v1/{project}/explain{query}", json={"instances": rows})


def test_an_image_is_explained_by_a_grid_and_its_picture(client: httpx.Client) -> None:
    answer = client.post("/v1/tiny/explain", content=png(200, seed=3), headers=PNG).json()
    (found,) = answer["explanations"]
    assert (answer["version"], found["method"], found["label"]) == (1, "occlusion", "bright")
    grid = np.array(found["grid"])
    assert grid.ndim == 2 and np.abs(grid).max() > 0
    picture = Image.open(io.BytesIO(base64.b64decode(found["heatmap"])))
    assert picture.format == "PNG" and min(picture.size) >= 256


def test_another_class_may_be_explained(client: httpx.Client) -> None:
    image = png(200, seed=3)
    one, other = (
        client.post(f"/v1/tiny/explain?label={label}", content=image, headers=PNG).json()["explanations"][0]
        for label in ("bright", "dark")
    )
    # Of two classes, what speaks for the one speaks against the other.
    np.testing.assert_allclose(np.array(one["grid"]), -np.array(other["grid"]), atol=1e-5)
    assert one["probability"] + other["probability"] == pytest.approx(1)


def test_a_rows_contributions_add_up_to_its_answer(client: httpx.Client) -> None:
    asked = client.post("/v1/people/predict", json={"instances": [OLD]}).json()["predictions"][0]
    (found,) = _rows(client, OLD).json()["explanations"]
    assert (found["method"], found["label"]) == ("shapley", asked["label"])
    assert found["probability"] == pytest.approx(asked["probability"])
    total = sum(each["contribution"] for each in found["contributions"])
    assert total == pytest.approx(found["probability"] - found["typical"], abs=1e-4)
    assert found["contributions"][0]["column"] == "age" and found["contributions"][0]["value"] == 71


def test_several_rows_and_numbers_are_explained(client: httpx.Client) -> None:
    first, second = _rows(client, {"age": 10}, {"age": 90}, project="prices").json()["explanations"]
    assert first["value"] < first["typical"] < second["value"]
    assert first["contributions"][0]["contribution"] < 0 < second["contributions"][0]["contribution"]


@pytest.mark.parametrize(
    ("status", "code", "said", "path", "rows"),
    [
        (422, "unknown_label", "'grey' is no label", "/v1/people/explain?label=grey", [OLD]),
        (422, "unknown_label", "it predicts a number", "/v1/prices/explain?label=dark", [OLD]),
        (422, "missing_value", "Instance 1: age is missing.", "/v1/people/explain", [OLD, {"member": True}]),
        (413, "too_many_to_explain", "at most 8", "/v1/people/explain", [OLD] * 9),
        (503, "no_champion", "no champion", "/v1/idle/explain", [OLD]),
    ],
)
def test_what_cannot_be_explained_is_named(
    client: httpx.Client, status: int, code: str, said: str, path: str, rows: list[Any]
) -> None:
    response = client.post(path, json={"instances": rows})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert said in response.json()["error"]["message"]


def test_entities_cannot_be_explained(client: httpx.Client) -> None:
    response = client.post("/v1/people/explain", json={"entities": ["anyone"]})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "rows_wanted")


def test_an_image_that_cannot_be_decoded_is_named(client: httpx.Client) -> None:
    response = client.post("/v1/tiny/explain", content=b"no image", headers=PNG)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "unreadable_image")
