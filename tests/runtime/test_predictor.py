"""The predictor on a tiny package."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import UpdraftError
from tasks.runtime.images import BadImage
from tasks.runtime.predictor import Predictor
from tests.packages import png, write_package


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    write_package(folder)
    return folder


def test_bytes_become_probabilities_in_the_order_of_the_classes(folder: Path) -> None:
    predictor = Predictor.load(folder)
    probabilities = predictor.predict_bytes([png(0), png(255)])
    assert predictor.classes == ("dark", "bright")
    assert probabilities.dtype == np.float32 and probabilities.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
def test_any_number_of_rows_comes_back_aligned(folder: Path, count: int) -> None:
    predictor = Predictor.load(folder)
    levels = [n % 256 for n in range(count)]
    examples = [predictor.prepare(png(level)) for level in levels]
    bright = predictor.predict(examples)[:, 1]
    assert bright.shape == (count,)
    assert np.array_equal(np.argsort(bright, kind="stable"), np.argsort(levels, kind="stable"))


def test_threads_share_one_predictor(folder: Path) -> None:
    predictor = Predictor.load(folder)
    images = [png(level) for level in range(0, 256, 8)]
    expected = predictor.predict_bytes(images)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: predictor.predict_bytes([image])[0], images * 4))
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), atol=1e-7)


def test_the_signatures_limit_on_pixels_holds(folder: Path) -> None:
    predictor = Predictor.load(folder)
    predictor.predict_bytes([png(1, size=(64, 64))])
    with pytest.raises(BadImage, match="too_many_pixels"):
        predictor.predict_bytes([png(1, size=(64, 65))])


@pytest.mark.parametrize("file", ["model.onnx", "signature.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_package_with_a_bad_file_says_which_folder_and_what_to_do(
    folder: Path, tmp_path: Path, file: str, content: bytes | None
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UpdraftError, match=str(tmp_path)) as raised:
        Predictor.load(tmp_path)
    assert raised.value.fix
