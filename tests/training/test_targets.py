"""A regression: trained on scaled labels, it answers in their own unit, alone and in several ranks."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tasks.core.config import replace
from tasks.core.spec import Project
from tasks.training.jobs import launcher
from tasks.training.loop import Job, fit
from tasks.training.targets import measure
from tests.packages import project
from tests.training.skewed import line, write

OPTIONS = {"model.units": [8], "training.epochs": 15, "training.learning_rate": 0.05, "training.batch_size": 16}


def regression(**overrides: Any) -> Project:
    """A table whose label is a number."""
    return replace(project("prices"), overrides)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A straight line."""
    folder = tmp_path_factory.mktemp("line")
    write(folder, train=line(256, 1), validation=line(63, 2))
    return folder


def _seen(model: keras.Model) -> np.ndarray:
    rows = line(50, 3)
    return model.predict({"features": rows.features[0]}, verbose=0)[:, 0] - rows.labels


@pytest.mark.slow
def test_a_line_is_learned_in_its_own_unit(folder: Path, tmp_path: Path) -> None:
    model, history = fit(Job(regression(**OPTIONS), folder, folder, 15), lambda line: None)
    assert history[-1]["val_r2"] > 0.99
    assert history[-1]["val_loss"] < 0.01, "of labels with deviation 1"
    assert np.abs(_seen(model)).mean() < 300
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(_seen(keras.models.load_model(tmp_path / "model.keras")), _seen(model))


def fit_rank(folder: Path) -> list[dict[str, float]]:
    """In each rank: the history."""
    import horovod.tensorflow as hvd

    hvd.init()
    spec = regression(**OPTIONS, **{"training.ranks": hvd.size(), "training.loss": "huber"})
    return fit(Job(spec, folder, folder, 3), lambda line: None, horovod=True)[1]


@pytest.mark.slow
def test_ranks_measure_what_one_measures_on_all_rows(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))
        env = {"TF_NUM_INTRAOP_THREADS": "1"}
        target = f"{__name__}:{fit_rank.__name__}"
        (one,), two = (launcher.launch(target, folder, ranks=ranks, timeout=300, env=env) for ranks in (1, 2))
    for alone, *together in zip(one, *two, strict=True):
        for entry in together:
            measured = {name: pytest.approx(value, rel=1e-4) for name, value in entry.items() if name != "seconds"}
            assert {name: alone[name] for name in measured} == measured


def test_the_unit_of_labels_that_are_all_the_same_is_one() -> None:
    unit = measure(np.full(3, 7, np.float32))
    assert (unit.mean, unit.deviation) == (7, 1)


def test_scaled_labels_have_mean_zero_and_deviation_one() -> None:
    rows = line(500, 4)
    scaled = measure(rows.labels).scaled(rows).labels
    assert scaled.dtype == np.float32
    assert (float(scaled.mean()), float(scaled.std())) == pytest.approx((0, 1), abs=1e-5)
