"""What may be worked on on the event loop: what is small, whatever it unpacks to."""

from pathlib import Path

import numpy as np
import pytest

from serving.errors import Problem
from serving.given import AT_ONCE_BYTES, AT_ONCE_PIXELS, Given, Images, Rows
from serving.memory import row_seconds
from tasks.runtime.predictor import Predictor
from tests.packages import png, write_package

SMALL = png(200)
WIDE = png(200, size=(AT_ONCE_PIXELS // 8 + 1, 8))
"""More pixels than are decoded on the loop, in few bytes."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of images with many pixels, if one wants."""
    folder = tmp_path_factory.mktemp("tiny")
    write_package(folder)
    predictor = Predictor.load(folder)
    predictor.signature = predictor.signature.model_copy(update={"max_pixels": 2 * AT_ONCE_PIXELS})
    return predictor


def test_small_images_are_prepared_at_once_as_they_are_in_a_thread(images: Predictor) -> None:
    given = Images([SMALL, png(10)])
    found, wanted = given.at_once(images, 2), given.prepare(images)
    assert found is not None
    np.testing.assert_array_equal(found.pixels, wanted.pixels)
    np.testing.assert_array_equal(found.features["image_stats"], wanted.features["image_stats"])


@pytest.mark.parametrize(
    "received",
    [
        pytest.param([SMALL] * 3, id="too many"),
        pytest.param([SMALL + bytes(AT_ONCE_BYTES)], id="too many bytes"),
        pytest.param([SMALL, WIDE], id="too many pixels"),
    ],
)
def test_larger_images_are_left_to_a_thread(images: Predictor, received: list[bytes]) -> None:
    assert len(WIDE) < AT_ONCE_BYTES
    assert Images(received).at_once(images, 2) is None
    assert len(Images(received).prepare(images)) == len(received)


def test_a_bad_image_is_refused_at_once(images: Predictor) -> None:
    with pytest.raises(Problem) as refused:
        Images([SMALL, SMALL[:-20]]).at_once(images, 2)
    assert (refused.value.status, refused.value.code) == (422, "truncated_image")
    assert "Image 1" in refused.value.message


def test_rows_are_prepared_at_once_unless_they_are_many_or_long(tmp_path: Path) -> None:
    write_package(tmp_path, name="people")
    predictor = Predictor.load(tmp_path)
    row = {"age": 30, "member": True}
    few: Given = Rows([row, row])
    found = few.at_once(predictor, 2)
    assert found is not None
    np.testing.assert_array_equal(found.features["numeric"], few.prepare(predictor).features["numeric"])
    assert few.at_once(predictor, 1) is None
    assert Rows([{**row, "age": "x" * (AT_ONCE_BYTES + 1)}]).at_once(predictor, 1) is None


def test_a_row_s_time_is_that_of_its_features_and_its_prediction(
    images: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    prepare, predict = images.prepare_pixels, images.predict

    def slow_prepare(pixels: np.ndarray) -> object:
        clock[0] += 2 * len(pixels)
        return prepare(pixels)

    def slow_predict(inputs: object) -> object:
        clock[0] += 3
        return predict(inputs)  # type: ignore[arg-type]

    monkeypatch.setattr("serving.memory.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(images, "prepare_pixels", slow_prepare)
    monkeypatch.setattr(images, "predict", slow_predict)
    assert row_seconds(images) == 5
