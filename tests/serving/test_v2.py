"""The Open Inference Protocol over HTTP: spoken by a public client, unchanged, and by hand where that is strict."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.packages import png, register
from tests.serving.conftest import Running, logged

INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def served(endpoint: Running) -> Running:
    """The endpoint with champions of images, rows and prices."""
    for package, name in (("first", "tiny"), ("numbers", "people"), ("prices", "prices")):
        endpoint.make_champion(register(endpoint.registry, endpoint.store, package, name=name).version, name)
    return endpoint


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[triton.InferenceServerClient]:
    """NVIDIA's client."""
    with triton.InferenceServerClient(served.url.removeprefix("http://")) as client:
        yield client


def _input(name: str, values: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(values.shape), datatype)
    return given.set_data_from_numpy(values, binary_data=binary)


def _pixels(*levels: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 1), level, np.uint8) for level in levels])


def test_the_server_and_its_models_describe_themselves(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("tiny") and client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("tiny", "2") and not client.is_model_ready("idle")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    images = client.get_model_metadata("tiny")
    assert (images["versions"], images["platform"]) == (["1"], "updraft_onnx")
    assert images["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}]
    assert [output["name"] for output in images["outputs"]] == ["probabilities", "label"]
    rows = client.get_model_metadata("people")["inputs"]
    assert [(column["name"], column["datatype"]) for column in rows] == [("age", "FP64"), ("member", "BOOL")]


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_and_files_get_the_answer_of_v1(
    served: Running, client: triton.InferenceServerClient, *, binary: bool
) -> None:
    pixels = client.infer("tiny", [_input("image", _pixels(20, 200), "UINT8", binary=binary)])
    files = np.array([png(20), png(200)], object)
    if not binary:
        files = np.array([base64.b64encode(file) for file in files], object)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")]
    received = client.infer("tiny", [_input("image", files, "BYTES", binary=binary)], outputs=wanted)
    assert received.as_numpy("label").astype("U").tolist() in (["dark", "bright"], ["b'dark'", "b'bright'"])
    np.testing.assert_array_equal(received.as_numpy("probabilities"), pixels.as_numpy("probabilities"))
    image = {"content": png(200), "headers": {"content-type": "image/png"}}
    (first,) = served.client.post("/v1/tiny/predict", **image).json()["predictions"]
    assert pixels.as_numpy("probabilities")[1].max() == pytest.approx(first["probability"])


def test_columns_are_tensors(client: triton.InferenceServerClient) -> None:
    ages, members = np.array([80.0, 20.0]), np.array([True, False])
    answer = client.infer("people", [_input("age", ages, "FP64"), _input("member", members, "BOOL")])
    assert answer.as_numpy("label").tolist() == [b"bright", b"dark"]
    assert answer.as_numpy("probabilities").shape == (2, 2)
    whole = client.infer("prices", [_input("age", np.array([[10], [50]], np.int32), "INT32")], model_version="1")
    assert whole.as_numpy("value").tolist() == [80, 400]


def test_null_in_json_is_missing(served: Running) -> None:
    age = {"name": "age", "datatype": "FP64", "shape": [2], "data": [80, 20]}
    member = {"name": "member", "datatype": "FP32", "shape": [2], "data": [None, 1]}
    texts = {"name": "member", "datatype": "BYTES", "shape": [2], "data": [None, "true"]}
    for index, given in enumerate((member, texts)):
        value = {"inputs": [age, given], "id": f"with-null-{index}"}
        answer = served.client.post("/v2/models/people/infer", json=value).json()
        assert answer["outputs"][1]["data"] == ["bright", "dark"]
        records = logged("people", value["id"], 2)
        assert [record["features"] for record in records] == [{"numeric": [80, None]}, {"numeric": [20, 1]}]


def test_feedback_finds_the_request_by_its_id(served: Running, client: triton.InferenceServerClient) -> None:
    answer = client.infer("tiny", [_input("image", _pixels(77), "UINT8")], request_id="order-8").get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("order-8", "tiny", "1")
    (record,) = logged("tiny", "order-8", 1)
    assert record["features"]["image_stats"][0] == pytest.approx(77 / 255, abs=1e-5)
    unnamed = client.infer("tiny", [_input("image", _pixels(78), "UINT8")]).get_response()
    assert len(logged("tiny", unnamed["id"], 1)) == 1


def test_the_client_reads_our_errors(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="There is no such project"):
        client.infer("other", [_input("image", _pixels(1), "UINT8")])
    with pytest.raises(InferenceServerException, match="idle has no champion yet"):
        client.infer("idle", [_input("image", _pixels(1), "UINT8")])
    with pytest.raises(InferenceServerException, match="Image 1: "):
        client.infer("tiny", [_input("image", np.array([png(1), b"none"], object), "BYTES")])
    with pytest.raises(InferenceServerException, match="age takes a number"):
        client.infer("people", [_input("age", np.array([b"old"], object), "BYTES")])


def _image(**fields: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [9] * 64, **fields}


def test_nested_data_is_read_row_by_row(served: Running) -> None:
    answer = served.client.post(INFER, json={"inputs": [_image(data=_pixels(200).tolist())]})
    assert answer.json()["outputs"][1] == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["bright"]}


@pytest.mark.parametrize(
    ("status", "said", "value"),
    [
        (400, "must be a JSON object", []),
        (400, "inputs must be a list", {"inputs": []}),
        (400, "inputs must be a list", {"inputs": [{"datatype": "UINT8"}]}),
        (400, "names one twice", {"inputs": [_image(), _image()]}),
        (400, "is none of BOOL", {"inputs": [_image(datatype="BF16")]}),
        (400, "whole numbers", {"inputs": [_image(shape=[1, -8, 8, 1])]}),
        (400, "do not fill the shape", {"inputs": [_image(shape=[2, 8, 8, 1])]}),
        (400, "do not fill the shape", {"inputs": [_image(shape=[])]}),
        (400, "data is not UINT8", {"inputs": [_image(data=[256] * 64)]}),
        (400, "data is not UINT8", {"inputs": [_image(data=[0.5] * 64)]}),
        (400, "data is not UINT8", {"inputs": [_image(data=["9"] * 64)]}),
        (400, "data is not UINT8", {"inputs": [_image(data=[[1], [2, 3]])]}),
        (400, "neither data nor", {"inputs": [_image(data=None)]}),
        (400, "0 bytes are left", {"inputs": [_image(parameters={"binary_data_size": 64})]}),
        (400, "parameters must be", {"inputs": [_image(parameters=3)]}),
        (400, "no output 'logits'", {"inputs": [_image()], "outputs": [{"name": "logits"}]}),
        (400, "id may have", {"inputs": [_image()], "id": "a b"}),
        (400, "not base64", {"inputs": [_image(datatype="BYTES", shape=[1], data=["?"])]}),
        (422, 'one input, "image"', {"inputs": [_image(name="pixels")]}),
        (422, "UINT8 [N, 8, 8, 1]", {"inputs": [_image(shape=[1, 64])]}),
        (422, "UINT8 [N, 8, 8, 1]", {"inputs": [_image(datatype="FP32")]}),
        (422, "no images", {"inputs": [_image(shape=[0, 8, 8, 1], data=[])]}),
        (413, "257 images", {"inputs": [_image(datatype="BYTES", shape=[257], data=[""] * 257)]}),
    ],
)
def test_what_is_not_the_protocol_is_refused(served: Running, status: int, said: str, value: Any) -> None:
    response = served.client.post(INFER, json=value)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"} and said in response.json()["error"]


def _binary(size: int, sent: bytes, **fields: Any) -> tuple[bytes, int]:
    entry = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}, **fields}
    head = json.dumps({"inputs": [entry]}).encode()
    return head + sent, len(head)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("Inference-Header-Content-Length is 999999", (b"{}", 999_999)),
        ("Inference-Header-Content-Length must be", (b"{}", "-1")),
        ("not valid JSON", (b"{}", 1)),
        ("longer than what is left", _binary(4, b"\xff\0\0\0")),
        ("longer than what is left", _binary(3, b"\0\0\0")),
        ("belong to no input", _binary(4, b"\0\0\0\0more")),
        ("no whole number of FP32", _binary(3, b"abc", datatype="FP32")),
    ],
)
def test_bytes_that_do_not_add_up_are_refused(served: Running, said: str, sent: tuple[bytes, int | str]) -> None:
    body, header = sent
    headers = {"inference-header-content-length": str(header)}
    response = served.client.post(INFER, content=body, headers=headers)
    assert response.status_code == 400 and said in response.json()["error"]


@pytest.mark.parametrize(
    ("status", "method", "path", "options"),
    [
        (404, "GET", "/v2/models/tiny/versions/9", {}),
        (404, "GET", "/v2/models/tiny/config", {}),
        (404, "GET", "/v2/nothing", {}),
        (405, "GET", INFER, {}),
        (400, "POST", INFER, {}),
        (413, "POST", INFER, {"content": b" " * 65_537}),
        (415, "POST", INFER, {"content": b"x", "headers": {"content-encoding": "gzip"}}),
    ],
)
def test_errors_have_the_protocols_shape(
    served: Running, status: int, method: str, path: str, options: Mapping[str, Any]
) -> None:
    response = served.client.request(method, path, **options)
    assert response.status_code == status, response.text
    assert isinstance(response.json()["error"], str) and set(response.json()) == {"error"}
