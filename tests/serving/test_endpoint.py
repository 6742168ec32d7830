"""The endpoint over real HTTP, in the real BentoML server."""

import base64
import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.core.errors import UpdraftError
from tasks.core.registry import Registry
from tasks.deployment.endpoint import await_endpoint
from tests.packages import png, register
from tests.serving.conftest import Running, logged, until

PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data"}


@pytest.fixture(scope="module")
def served(endpoint: Running) -> Running:
    """The endpoint with version 1 of ``tiny`` live."""
    endpoint.make_champion(register(endpoint.registry, endpoint.store, "first").version)
    return endpoint


def test_a_project_without_a_champion_is_503_and_the_service_ready(endpoint: Running) -> None:
    assert endpoint.client.get("/readyz").status_code == endpoint.client.get("/healthz").status_code == 200
    asked = endpoint.client.post("/v1/idle/predict", content=png(9), headers=PNG)
    for response in (endpoint.client.get("/v1/idle"), asked):
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "no_champion"


def test_raw_bytes_form_and_json_get_the_same_answer(served: Running) -> None:
    image = png(200)
    raw = _predict(served, image).json()
    form = served.client.post("/v1/tiny/predict", files={"file": ("i.png", image, "image/png")}).json()
    value = {"instances": [{"image": base64.b64encode(image).decode()}]}
    as_json = served.client.post("/v1/tiny/predict", json=value).json()
    assert raw["predictions"] == form["predictions"] == as_json["predictions"]
    (prediction,) = raw["predictions"]
    assert prediction["label"] == "bright" and prediction["probability"] > 0.9
    assert [row["label"] for row in prediction["top"]] == ["bright", "dark"]
    assert sum(row["probability"] for row in prediction["top"]) == pytest.approx(1)
    assert (raw["project"], raw["version"]) == ("tiny", 1)


def test_several_images_are_answered_in_order(served: Running) -> None:
    levels = [10, 250, 20, 240]
    files = [("files", (f"{n}.png", png(level), "image/png")) for n, level in enumerate(levels)]
    form = served.client.post("/v1/tiny/predict", files=files).json()
    instances = [{"image": base64.b64encode(png(level)).decode()} for level in levels]
    as_json = served.client.post("/v1/tiny/predict", json={"instances": instances}).json()
    for answer in (form, as_json):
        assert [row["label"] for row in answer["predictions"]] == ["dark", "bright", "dark", "bright"]


def test_the_callers_request_id_is_kept_and_a_bad_one_replaced(served: Running) -> None:
    kept = served.client.post("/v1/tiny/predict", content=png(1), headers={**PNG, "x-request-id": "order-7"})
    assert kept.json()["request_id"] == kept.headers["x-request-id"] == "order-7"
    replaced = served.client.post("/v1/tiny/predict", content=png(1), headers={**PNG, "x-request-id": "a b{}" * 50})
    assert replaced.json()["request_id"] == replaced.headers["x-request-id"] != "a b{}" * 50


def test_a_project_describes_its_champion(served: Running) -> None:
    described = served.client.get("/v1/tiny").json()
    assert (described["version"], described["classes"]) == (1, ["dark", "bright"])
    assert (described["form"], described["runtime"], described["package"]) == ("plain", "onnx", "first")
    assert described["metrics"] == {"accuracy": 0.9}
    assert datetime.fromisoformat(described["since"]) <= datetime.now(UTC)


B64 = base64.b64encode(png(1)).decode()


@pytest.mark.parametrize(
    ("status", "code", "method", "path", "options"),
    [
        (404, "not_found", "GET", "/nothing", {}),
        (404, "not_found", "POST", "/v1/tiny/predict/more", {}),
        (404, "not_found", "GET", "/metrics/more", {}),
        (404, "not_found", "GET", "/docs.json", {}),
        (404, "unknown_project", "GET", "/v1/other", {}),
        (404, "unknown_project", "POST", "/v1/other/predict", {"content": png(1), "headers": PNG}),
        (405, "method_not_allowed", "GET", "/v1/tiny/predict", {}),
        (405, "method_not_allowed", "DELETE", "/v1/tiny", {}),
        (400, "empty_body", "POST", "/v1/tiny/predict", {"headers": PNG}),
        (400, "bad_json", "POST", "/v1/tiny/predict", {"content": b"{", "headers": JSON}),
        (400, "bad_json", "POST", "/v1/tiny/predict", {"json": [1]}),
        (400, "bad_json", "POST", "/v1/tiny/predict", {"content": b"[" * 60_000, "headers": JSON}),
        (400, "bad_instances", "POST", "/v1/tiny/predict", {"json": {"instances": []}}),
        (400, "bad_instances", "POST", "/v1/tiny/predict", {"json": {"instances": [{"image": B64}, {}]}}),
        (400, "bad_instances", "POST", "/v1/tiny/predict", {"json": {"instances": [{"image": "é!"}]}}),
        (422, "images_wanted", "POST", "/v1/tiny/predict", {"json": {"instances": [{"age": 3, "member": True}]}}),
        (400, "bad_form", "POST", "/v1/tiny/predict", {"content": b"x", "headers": FORM}),
        (400, "bad_form", "POST", "/v1/tiny/predict", {"files": {"f": (None, "text")}}),
        (400, "bad_feedback", "POST", "/v1/tiny/feedback", {"json": {"request_id": "a", "label": "dark", "index": -1}}),
        (400, "bad_feedback", "POST", "/v1/tiny/feedback", {"json": {"request_id": "a", "label": "dark", "index": ""}}),
        (400, "bad_top_k", "POST", "/v1/tiny/predict?top_k=0", {"content": png(1), "headers": PNG}),
        (400, "bad_top_k", "POST", "/v1/tiny/predict?top_k=%C2%B2", {"content": png(1), "headers": PNG}),
        (413, "too_many_images", "POST", "/v1/tiny/predict", {"json": {"instances": [{"image": ""}] * 257}}),
        (413, "body_too_large", "POST", "/v1/tiny/predict", {"content": b"x" * 65_537, "headers": PNG}),
        (415, "unsupported_media_type", "POST", "/v1/tiny/predict", {"data": {"a": "b"}}),
        (415, "unsupported_media_type", "POST", "/v1/tiny/predict", {"content": png(1)}),
        (422, "unreadable_image", "POST", "/v1/tiny/predict", {"content": b"no image", "headers": PNG}),
        (422, "truncated_image", "POST", "/v1/tiny/predict", {"content": png(1)[:-20], "headers": PNG}),
        (422, "empty_file", "POST", "/v1/tiny/predict", {"json": {"instances": [{"image": ""}]}}),
        (422, "too_many_pixels", "POST", "/v1/tiny/predict", {"content": png(1, size=(65, 64)), "headers": PNG}),
        (400, "bad_feedback", "POST", "/v1/tiny/feedback", {"json": {"label": "dark"}}),
        (400, "bad_feedback", "POST", "/v1/tiny/feedback", {"json": {"request_id": "a\nb", "label": "dark"}}),
        (422, "unknown_label", "POST", "/v1/tiny/feedback", {"json": {"request_id": "a", "label": "grey"}}),
    ],
)  # fmt: skip
def test_every_error_has_one_shape(
    served: Running, status: int, code: str, method: str, path: str, options: Mapping[str, Any]
) -> None:
    response = served.client.request(method, path, **options)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["code"] == code
    assert error["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text and "File " not in response.text


def test_the_second_bad_image_of_several_is_named(served: Running) -> None:
    instances = [{"image": B64}, {"image": base64.b64encode(b"not one").decode()}]
    response = served.client.post("/v1/tiny/predict", json={"instances": instances})
    assert response.status_code == 422 and response.json()["error"]["message"].startswith("Image 1:")


def test_a_large_body_is_refused_without_its_length_announced(served: Running) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"x" * 16_384 for _ in range(5))

    response = served.client.post("/v1/tiny/predict", content=chunks(), headers=PNG)
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_huge_body_is_refused_before_it_is_sent(served: Running) -> None:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/tiny/predict")
    for name, value in {**PNG, "content-length": str(300 * 2**20)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_client_that_leaves_half_way_harms_nobody(served: Running) -> None:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/tiny/predict")
    for name, value in {**PNG, "content-length": "1000"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"half")
    connection.close()
    assert _predict(served, png(1)).status_code == 200


def test_predictions_and_feedback_are_logged_without_the_image(served: Running) -> None:
    sent = _predict(served, png(77)).json()
    told = {"request_id": sent["request_id"], "label": "bright"}
    assert served.client.post("/v1/tiny/feedback", json=told).status_code == 202
    prediction, feedback = logged("tiny", sent["request_id"], 2)
    assert (prediction["kind"], prediction["label"]) == ("prediction", sent["predictions"][0]["label"])
    assert prediction["version"] == 1
    assert prediction["features"]["image_stats"][0] == pytest.approx(77 / 255, abs=1e-5)
    assert set(prediction) == {"time", "kind", "request_id", "index", "version", "label", "probability", "features"}
    assert (feedback["kind"], feedback["label"]) == ("feedback", "bright")


def test_feedback_names_a_row_of_a_batch_and_may_come_before_anything_else(served: Running) -> None:
    told = {"request_id": "never-seen", "index": 7, "label": "dark"}
    response = served.client.post("/v1/tiny/feedback", json=told)
    assert (response.status_code, response.json()) == (202, {"project": "tiny", **told, "accepted": True})
    (record,) = logged("tiny", "never-seen", 1)
    assert {name: record[name] for name in told} == told


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("2", 2), ("999", 2)])
def test_as_many_classes_as_are_asked_for_are_listed(served: Running, asked: str, given: int) -> None:
    response = served.client.post(f"/v1/tiny/predict?top_k={asked}", content=png(200), headers=PNG)
    (prediction,) = response.json()["predictions"]
    assert [each["label"] for each in prediction["top"]] == ["bright", "dark"][:given]


def test_a_swap_fails_no_request_and_a_damaged_version_changes_nothing(served: Running) -> None:
    second = register(served.registry, served.store, "second", steepness=2.0).version
    damaged = register(served.registry, served.store, "damaged", damaged=True).version
    seen: list[tuple[int, int, float]] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            answer = _predict(served, png(200))
            body = answer.json() if answer.status_code == 200 else {"version": 0, "predictions": [{"probability": 0}]}
            seen.append((answer.status_code, body["version"], round(body["predictions"][0]["probability"], 3)))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    served.make_champion(second)
    _move(served, damaged, before=second)
    until(lambda: f"version {damaged} cannot be loaded" in served.log.read_text())
    assert served.client.get("/v1/tiny").json()["version"] == second
    _move(served, 1, before=damaged)
    served.wait_for(1)
    stopped.set()
    for thread in asking:
        thread.join()
    assert {status for status, _, _ in seen} == {200}
    # Each answer comes whole from one version: its number and its probabilities belong together.
    answers = {(version, probability) for _, version, probability in seen}
    assert len(answers) == 2 and {version for version, _ in answers} == {1, second}


def test_a_deployment_waits_for_the_endpoints_of_its_registry_alone(served: Running, tmp_path: Path) -> None:
    assert await_endpoint(served.registry, "tiny", 1) == f"{served.url}/v1/tiny answers with version 1"
    with pytest.raises(UpdraftError, match="still answers with 1"):
        await_endpoint(served.registry, "tiny", 99, seconds=0.5)
    other = Registry(f"sqlite:///{tmp_path / 'registry.db'}")
    assert await_endpoint(other, "tiny", 99) == "no endpoint is running"
    other.close()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("serving.service", {"tensorflow", "keras", "airflow", "pandas", "feast"}),
        # What a Bento lists as its requirements has to be enough.
        ("serving.packaged", {"tensorflow", "keras", "airflow", "pandas", "feast", "sqlalchemy", "pyarrow", "onnx"}),
    ],
)
def test_a_service_imports_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"starlette", "numpy"} <= set(loaded)
    assert not heavy & set(loaded)


def _predict(served: Running, image: bytes) -> httpx.Response:
    return served.client.post("/v1/tiny/predict", content=image, headers=PNG)


def _move(served: Running, version: int, before: int) -> None:
    served.registry.move_alias("tiny", "champion", version, expected=before, who="test", why="test")
