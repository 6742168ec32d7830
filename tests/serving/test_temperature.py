"""A package's temperature, in every answer of the endpoint."""

from pathlib import Path

import numpy as np
import pytest

from tests.serving.in_process import asking

ROW = {"age": 80, "member": True}
TENSORS = {
    "inputs": [
        {"name": "age", "shape": [1], "datatype": "FP64", "data": [80]},
        {"name": "member", "shape": [1], "datatype": "BOOL", "data": [True]},
    ]
}


def _bright(folder: Path, temperature: float) -> dict[str, float]:
    """The probability of ``bright`` by each way of asking for it, and the temperature that the endpoint tells."""
    with asking(folder, "people", temperature=temperature) as client:
        predicted = client.post("/v1/people/predict", json={"instances": [ROW]}).json()
        explained = client.post("/v1/people/explain", json={"instances": [ROW]}).json()
        inferred = client.post("/v2/models/people/infer", json=TENSORS).json()
        described = client.get("/v1/people").json()
    (probabilities,) = [output for output in inferred["outputs"] if output["name"] == "probabilities"]
    return {
        "predict": predicted["predictions"][0]["probability"],
        "explain": explained["explanations"][0]["probability"],
        "infer": probabilities["data"][1],
        "temperature": described["temperature"],
    }


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_every_answer_is_at_the_packages_temperature(tmp_path: Path, temperature: float) -> None:
    found = _bright(tmp_path, temperature)
    assert found.pop("temperature") == temperature
    # The tiny package's logits are 8 * (-x, x) / 2 with x = 80 / 50 - 1.
    expected = 1 / (1 + np.exp(-8 * 0.6 / temperature))
    assert found == pytest.approx(dict.fromkeys(found, expected), abs=1e-4)
