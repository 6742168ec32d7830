"""CNN embeddings: the network that Keras runs and the champion's own, as graphs; refusals that say what to do."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.core.config import replace
from tasks.core.errors import BadInput
from tasks.core.registry import Registry
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context
from tasks.core.store import open_store
from tasks.runtime.embedding import Embedder, graphs, load_embedders, state
from tasks.runtime.extractors import extract, widths

SPEC = {
    "name": "toy",
    "start": "2026-01-01",
    "classes": ["a", "b"],
    "source": {"uri": "landing/toy"},
    "image": {"height": 40, "width": 36, "channels": 1},
    "features": [{"kind": "cnn_embedding", "architecture": "MobileNetV2", "weights": "networks/mobile.weights.h5"}],
    "gates": [{"metric": "accuracy", "min": 0.5}],
}
CHAMPION = {
    "image": {"height": 4, "width": 6, "channels": 1},
    "features": [{"kind": "image_stats"}, {"kind": "cnn_embedding", "architecture": "champion"}],
}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 40, 36, 1), np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """UPDRAFT_HOME of the test's own."""
    monkeypatch.setenv("UPDRAFT_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def context(**changes: object) -> Context:
    """What a stage gets that is about to compute features."""
    spec = replace(Project.model_validate(SPEC), changes)
    return Context(spec, {}, open_store(settings().store_uri), Registry(settings().registry_url), "2026-01-01", "test")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, np.ndarray]:
    """A weights file of MobileNetV2 and what Keras computes with it from `PIXELS`: float32 (5, F)."""
    import keras

    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(40, 36, 3))
    # Untrained, its signals fade to 1e-11; an error would not show.
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(layer.gamma * 3)
    path = tmp_path_factory.mktemp("network") / "mobile.weights.h5"
    base.save_weights(path)
    colours = np.repeat(PIXELS, 3, axis=3).astype(np.float32)
    maps = base(keras.applications.mobilenet_v2.preprocess_input(colours), training=False)
    return path.read_bytes(), np.asarray(maps).mean(axis=(1, 2))


def put_weights(home: Path, data: bytes) -> Path:
    path = home / "networks" / "mobile.weights.h5"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.slow
def test_a_network_gives_what_keras_gives(home: Path, network: tuple[bytes, np.ndarray]) -> None:
    weights, expected = network
    put_weights(home, weights)
    ctx = context()
    embedders = load_embedders(ctx)
    embedder = embedders["cnn_embedding"]
    assert (embedder.shape, embedder.width) == ((40, 36, 1), 1280)
    assert np.abs(expected).max() > 0.1
    found = np.stack([embedder(pixels) for pixels in PIXELS])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)

    assert widths(ctx.spec.features, ctx.spec.image, embedders) == {"cnn_embedding": 1280}
    vectors = extract(PIXELS[0], ctx.spec.features, embedders)
    assert np.array_equal(vectors["cnn_embedding"], found[0])

    (graph,) = graphs(ctx).values()
    written = graph.stat().st_mtime_ns
    assert graphs(context()) == {"cnn_embedding": graph}
    assert graph.stat().st_mtime_ns == written, "the conversion is not done again"
    copy = home / "package.embedding.onnx"
    copy.write_bytes(graph.read_bytes())
    assert np.array_equal(Embedder(copy)(PIXELS[0]), found[0])


@pytest.mark.slow
def test_what_cannot_be_used_is_refused_with_the_way_out(home: Path, network: tuple[bytes, np.ndarray]) -> None:
    from tasks.models.embedding_export import export

    path, target = put_weights(home, network[0]), home / "graph.onnx"
    cases = [
        ("DenseNet121", path, (40, 36, 1), "does not hold the weights of DenseNet121", "include_top=False"),
        ("MobileNetV2", path, (8, 8, 1), "takes no images of 8x8", "larger"),
        ("EfficientNet", path, (40, 36, 1), "no architecture 'EfficientNet'", "EfficientNetB"),
    ]
    for architecture, weights, shape, message, fix in cases:
        with pytest.raises(BadInput, match=message) as caught:
            export(architecture, weights, shape, target)
        assert fix in caught.value.fix
    with h5py.File(path, "r+") as file:
        del file["layers/batch_normalization/vars"]
    with pytest.raises(BadInput, match="does not hold the weights"):
        export("MobileNetV2", path, (40, 36, 1), target)
    path.write_bytes(b"no weights")
    with pytest.raises(BadInput, match="does not hold the weights"):
        export("MobileNetV2", path, (40, 36, 1), target)
    assert not target.exists()


@pytest.mark.slow
def test_a_refusal_comes_through_from_the_converting_process(home: Path) -> None:
    put_weights(home, b"anything")
    with pytest.raises(BadInput, match=r"features\.cnn_embedding: .* no architecture 'mobilenet'") as caught:
        load_embedders(context(features=[{**SPEC["features"][0], "architecture": "mobilenet"}]))
    assert "MobileNet" in caught.value.fix
    assert not list((home / "embeddings").glob("*.onnx"))


def test_a_missing_weights_file_is_named(home: Path) -> None:
    with pytest.raises(BadInput, match=r"features\.cnn_embedding\.weights: .*mobile\.weights\.h5"):
        state(context())


def test_the_state_follows_the_weights(home: Path) -> None:
    put_weights(home, b"one")
    one, again = state(context()), state(context())
    put_weights(home, b"three")
    assert one == again != state(context())
    assert state(context(features=[{"kind": "image_stats"}])) == {}


def champion_graph() -> onnx.ModelProto:
    """As packaging writes one: two image layers, features beside them, and a shape computed from the image."""
    random = np.random.default_rng(3)
    constants = {
        "scale": np.array(1 / 255, np.float32),
        "first": random.standard_normal((24, 7)).astype(np.float32),
        "flat": np.array([-1, 24], np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([1], np.int64),
        "rest": np.array([5], np.int64),
        "head": random.standard_normal((12, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["flattened"]),
        helper.make_node("MatMul", ["flattened", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["seen"]),
        helper.make_node("Shape", ["image"], ["sides"]),
        helper.make_node("Slice", ["sides", "start", "end"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["wanted"], axis=0),
        helper.make_node("Concat", ["seen", "image_stats"], ["joined"], axis=1),
        helper.make_node("Reshape", ["image_stats", "wanted"], ["unused"]),
        helper.make_node("MatMul", ["joined", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "champion",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 6, 1]),
            helper.make_tensor_value_info("image_stats", TensorProto.FLOAT, ["N", 5]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def promote(ctx: Context, key: str = "first", graph: onnx.ModelProto | None = None) -> None:
    """Makes a package with the graph the champion."""
    ctx.store.write_bytes(f"toy/package/{key}/model.onnx", (graph or champion_graph()).SerializeToString())
    before = ctx.registry.alias("toy")
    version = ctx.registry.register("toy", key, f"toy/package/{key}/manifest.json", {})
    expected = before.version if before else None
    ctx.registry.move_alias("toy", "champion", version.version, expected=expected, who="test", why="test")


def test_the_champion_sees_up_to_where_features_join() -> None:
    ctx = context(**CHAMPION)
    promote(ctx)
    embedder = load_embedders(ctx)["cnn_embedding"]
    assert (embedder.shape, embedder.width) == ((4, 6, 1), 7)

    whole = champion_graph()
    whole.graph.output.append(helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["N", 7]))
    session = ort.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(5).integers(0, 256, (4, 6, 1), np.uint8)
    (seen,) = session.run(["seen"], {"image": pixels[None], "image_stats": np.zeros((1, 5), np.float32)})
    np.testing.assert_allclose(embedder(pixels), seen[0], atol=1e-6)


def test_another_champion_is_another_state_and_another_graph() -> None:
    ctx = context(**CHAMPION)
    assert state(ctx) == {"embedding cnn_embedding": "no champion"}
    promote(ctx)
    first = (state(ctx), graphs(ctx))
    promote(ctx, "second")
    second = (state(ctx), graphs(ctx))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_without_a_champion_there_is_a_way_out() -> None:
    with pytest.raises(BadInput, match=r"features\.cnn_embedding: toy has no champion yet") as caught:
        load_embedders(context(**CHAMPION))
    assert "first version" in caught.value.fix


def test_a_champion_of_another_image_size_is_refused() -> None:
    ctx = context(**{**CHAMPION, "image": {"height": 8, "width": 6, "channels": 1}})
    promote(ctx)
    with pytest.raises(BadInput, match="takes images of 4x6x1, the spec's are 8x6x1"):
        load_embedders(ctx)


def test_a_champion_that_never_looks_at_the_image_alone_is_refused() -> None:
    ctx, graph = context(**CHAMPION), champion_graph()
    del graph.graph.node[:]
    graph.graph.node.append(helper.make_node("Softmax", ["image_stats"], ["probabilities"]))
    promote(ctx, graph=graph)
    with pytest.raises(BadInput, match="computes nothing from the image alone") as caught:
        load_embedders(ctx)
    assert "weights file" in caught.value.fix
