"""The predictor on a tiny package."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tasks.core.errors import UpdraftError
from tasks.runtime.images import BadImage
from tasks.runtime.instances import BadRow
from tasks.runtime.predictor import Predictor
from tests.packages import people, png, skies, write_embedding_package, write_package


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
    bright = predictor.predict_bytes(png(level) for level in levels)[:, 1]
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


def test_an_embeddings_network_is_part_of_the_package(tmp_path: Path) -> None:
    write_embedding_package(tmp_path)
    predictor = Predictor.load(tmp_path)
    predictor.warm_up()
    assert predictor.prepare(png(7)).features["seen"].tolist() == [[7]]
    assert predictor.predict_bytes([png(120), png(136)]).argmax(axis=1).tolist() == [0, 1]
    (tmp_path / "seen.embedding.onnx").unlink()
    with pytest.raises(UpdraftError, match="cannot be loaded"):
        Predictor.load(tmp_path)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A package that takes rows of numbers."""
    folder = tmp_path_factory.mktemp("numbers")
    write_package(folder, name="people")
    return Predictor.load(folder)


@pytest.mark.parametrize("count", [0, 1, 256, 257])
def test_rows_become_probabilities(numbers: Predictor, count: int) -> None:
    rows = [{"age": age} for age in range(count)]
    found = numbers.predict_rows(iter(rows))
    assert found.shape == (count, 2)
    assert np.array_equal(np.argsort(found[:, 1], kind="stable"), np.arange(count))


def test_a_regressions_rows_become_numbers(tmp_path: Path) -> None:
    write_package(tmp_path, steepness=2.5, name="prices")
    predictor = Predictor.load(tmp_path)
    predictor.warm_up()
    assert predictor.is_regression and predictor.classes == ()
    found = predictor.predict_rows([{"age": 10}, {"age": 44.5, "member": True}])
    assert found.dtype == np.float32 and found.tolist() == [[25], [111.25]]
    assert predictor.predict_rows([]).shape == (0, 1)


def test_a_batch_is_answered_like_its_rows_alone(numbers: Predictor) -> None:
    rows = people(300)
    alone = np.concatenate([numbers.predict_rows([row]) for row in rows])
    np.testing.assert_allclose(numbers.predict_rows(rows), alone, atol=1e-7)


def test_text_and_native_values_are_the_same_row(numbers: Predictor) -> None:
    native, text = numbers.predict_rows([{"age": 61, "member": True}, {"age": " 61.0 ", "member": "yes"}])
    assert np.array_equal(native, text)


@pytest.mark.parametrize(
    ("rows", "reason", "said"),
    [
        ([{"age": 1}, {"age": 2, "size": 3}], "unknown_column", "Instance 1: there is no column 'size'. | age, member"),
        ([{"age": 1}, {"member": True}], "missing_value", "Instance 1: age is missing. | age takes a number."),
        ([{"age": None}], "missing_value", "Instance 0: age is missing. | age takes a number."),
        ([{"age": " "}], "missing_value", "Instance 0: age is ' '. | age takes a number."),
        ([{"age": float("nan")}], "missing_value", "Instance 0: age is nan. | age takes a number."),
        ([{"age": 1}, {"age": "old"}], "wrong_type", "Instance 1: age is 'old'. | age takes a number."),
        ([{"age": [1]}], "wrong_type", "Instance 0: age is [1]. | age takes a number."),
        ([{"age": 1, "member": 7}], "wrong_type", "Instance 0: member is 7. | member takes true or false or null."),
        ([{"age": "x" * 999}], "wrong_type", "xxx... | age takes a number."),
        ([{"age": 1}, {"age": 1, "member": "?"}, {"age": "?"}], "wrong_type", "Instance 1: member is '?'. | member"),
    ],
)
def test_a_row_that_cannot_be_taken_is_named(
    numbers: Predictor, rows: list[dict[str, object]], reason: str, said: str
) -> None:
    with pytest.raises(BadRow) as raised:
        numbers.predict_rows(rows)
    assert raised.value.reason == reason
    message, fix = said.split(" | ")
    assert message in raised.value.message and fix in raised.value.fix
    assert len(raised.value.message) < 200


def test_where_columns_have_come_and_gone_what_is_not_known_counts_as_missing(numbers: Predictor) -> None:
    found = numbers.predict_rows([{"age": 80, "new": 1}, {"member": True}], strict=False)
    assert found[0, 1] > 0.5 > found[1, 1]


def test_warming_up_needs_no_valid_row(numbers: Predictor) -> None:
    numbers.warm_up()


@pytest.mark.slow
def test_strings_go_through_tensorflow(tmp_path: Path) -> None:
    write_package(tmp_path, name="weather")
    predictor = Predictor.load(tmp_path)
    predictor.warm_up()
    rows = skies(300)
    found = predictor.predict_rows(rows)
    assert found.dtype == np.float32 and found.shape == (300, 2)
    assert (found[:, 1] > 0.5).tolist() == [row["sky"] == "sun" for row in rows]


@pytest.mark.slow
def test_a_damaged_saved_model_says_which_folder_and_what_to_do(tmp_path: Path) -> None:
    write_package(tmp_path, name="weather")
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UpdraftError, match=str(tmp_path)) as raised:
        Predictor.load(tmp_path)
    assert raised.value.fix
