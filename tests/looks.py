"""Small trained networks over real digits, for tests of what looks into a model."""

from functools import cache
from typing import NamedTuple

import keras
import numpy as np
from sklearn.datasets import load_digits

from tasks.core.layout import Layout
from tasks.core.shards import Split
from tasks.core.spec import Project
from tasks.models import build_model
from tasks.runtime.extractors import extract
from tasks.runtime.predictor import Predictor, Signature
from tests.digits import project

SCALE = 0.1
"""Between the raw features and those that the networks take."""


class Looked(NamedTuple):
    """A trained network, its package, and the splits with their transformed features."""

    spec: Project
    model: keras.Model
    predictor: Predictor
    train: Split
    train_features: np.ndarray
    test: Split
    test_features: np.ndarray


def untrained(**fields: object) -> tuple[Project, keras.Model]:
    """A network of the digits' project with other fields of ``model``."""
    spec = project({f"model.{name}": value for name, value in fields.items()})
    keras.utils.set_random_seed(5)
    return spec, build_model(spec, Layout.plain(5))


@cache
def looked() -> Looked:
    """A small convolutional network that has seen 300 digits."""
    spec, model = untrained(family="convnet", filters=[8, 16], units=[16], dropout=0.0)
    train, test = _split(0, 300), _split(300, 400)
    train_features, test_features = (SCALE * split.features["image_stats"] for split in (train, test))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit({"image": train.images, "features": train_features}, train.labels, 32, epochs=8, verbose=0)
    return Looked(spec, model, packaged(spec, model), train, train_features, test, test_features)


def packaged(spec: Project, model: keras.Model) -> Predictor:
    """What the export makes of a network, without a file."""

    def graph(given: dict[str, np.ndarray]) -> np.ndarray:
        inputs = {"image": given["image"], "features": SCALE * given["image_stats"]}
        return keras.ops.convert_to_numpy(keras.ops.softmax(model(inputs, training=False)))

    limits = {"top_k": 3, "max_body_kib": 64, "max_pixels": 4096}
    signature = Signature(
        project="digits", build="test", classes=spec.classes, image=spec.image, features=spec.features, **limits
    )
    return Predictor(signature, graph, {})


def _split(start: int, stop: int) -> Split:
    bunch = load_digits()
    images = np.round(bunch.images[start:stop, :, :, None] * (255 / 16)).astype(np.uint8)
    features = np.stack([extract(image, project().features)["image_stats"] for image in images])
    names, labels = [f"digit-{row}" for row in range(start, stop)], bunch.target[start:stop].astype(np.int32)
    return Split(images, {"image_stats": features}, labels, names, names, np.zeros(len(labels), np.int32), None)
