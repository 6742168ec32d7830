"""The export stage with temperature scaling: what is fitted, on what, and who answers with it."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.core.artifacts import Manifest
from tasks.core.errors import Refused
from tasks.core.shards import read_split, read_table, write_split
from tasks.core.stages import Context
from tasks.runtime.predictor import Inputs, Predictor
from tasks.runtime.temperature import fit_temperature, tempered
from tests.packaging.made import ROWS, SPLITS, Trained, dataset, row

FORMS = ["plain", "int8_dynamic"]
HELD = [row(seed) for seed in SPLITS["validation"]]


@pytest.fixture(scope="module")
def unscaled(numbers: Trained) -> Manifest:
    """The table's model as it was trained."""
    return numbers.export()


@pytest.fixture(scope="module")
def judged(numbers: Trained, unscaled: Manifest) -> list[Manifest]:
    """The dataset with validation labels that the model is right about in seven rows of ten."""
    likeliest = Predictor.load(numbers.folder(unscaled, "plain")).predict_rows(HELD).argmax(axis=1)
    labels = (likeliest + (np.arange(len(HELD)) >= 7)) % 3

    def labelled(ctx: Context) -> None:
        dataset(ctx)
        _replace(ctx, "label", pa.array(labels, pa.int32()))

    return numbers.other(labelled, "dataset")


@pytest.fixture(scope="module")
def scaled(numbers: Trained, judged: list[Manifest]) -> Manifest:
    """The model and a smaller form of it, each at its own temperature."""
    return numbers.export({"temperature_scaling": True, "forms": [{"kind": "int8_dynamic"}]}, dataset=judged)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_form_answers_at_the_temperature_that_suits_the_validation_split(
    numbers: Trained, judged: list[Manifest], scaled: Manifest, form: str
) -> None:
    predictor = Predictor.load(numbers.folder(scaled, form))
    held = read_split(numbers.folder(judged[0]), "validation")
    graph = predictor.untempered(Inputs(held.images, held.features))
    temperature = fit_temperature(held.labels, graph)
    assert predictor.signature.temperature == temperature == scaled.metrics["forms"][form]["temperature"]
    found = predictor.predict_rows(HELD)
    np.testing.assert_allclose(found, tempered(graph, temperature), atol=1e-5)
    true = np.arange(len(held)), held.labels
    assert np.log(found[true]).mean() > np.log(graph[true]).mean() + 0.01
    assert (found.argmax(axis=1) == graph.argmax(axis=1)).all()


@pytest.mark.slow
def test_forms_have_temperatures_of_their_own_and_parity_is_proven_without(scaled: Manifest) -> None:
    plain, smaller = (scaled.metrics["forms"][form] for form in FORMS)
    assert 0.05 < plain["temperature"] != smaller["temperature"] < 20
    assert plain["parity_max_abs_diff"] <= 1e-4 and plain["parity_rows"] == ROWS


@pytest.mark.slow
def test_the_temperature_is_the_packages_too(numbers: Trained, scaled: Manifest) -> None:
    package = numbers.folder(numbers.package(scaled))
    assert Predictor.load(package).signature.temperature == scaled.metrics["forms"]["plain"]["temperature"]


@pytest.mark.slow
def test_without_it_the_graph_answers(numbers: Trained, unscaled: Manifest) -> None:
    predictor = Predictor.load(numbers.folder(unscaled, "plain"))
    assert predictor.signature.temperature == 1 and "temperature" not in unscaled.metrics["forms"]["plain"]
    rows = predictor.prepare_rows(HELD)
    assert np.array_equal(predictor.predict(rows), predictor.untempered(rows))


@pytest.mark.slow
def test_a_model_that_gives_no_numbers_for_validation_rows_is_refused(numbers: Trained) -> None:
    with pytest.raises(Refused, match="no numbers for 2 of 10 validation rows"):
        numbers.export({"temperature_scaling": True}, dataset=numbers.other(_immense, "dataset"))


def _immense(ctx: Context) -> None:
    """Two of the validation rows hold more than a number of single precision can tell."""
    dataset(ctx)
    values = np.stack(read_table(ctx.out, "validation")["numeric"].to_pylist()).astype(np.float32)
    values[3:5, 1] = np.inf
    _replace(ctx, "numeric", pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1]))


def _replace(ctx: Context, column: str, values: pa.Array) -> None:
    """Writes the validation split again, with other values in a column."""
    table = read_table(ctx.out, "validation")
    place = table.column_names.index(column)
    changed = table.set_column(place, table.schema.field(column), values)
    # Not overwritten: what was read is still mapped.
    for path in ctx.out.glob("validation-*.arrow"):
        path.unlink()
    write_split(ctx.out, "validation", changed)
