"""The transform stage: a TensorFlow Transform graph fitted on the training split and applied to every split.

The saved graph is what the endpoint runs: training never sees a number that serving would compute otherwise.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils
from tfx_bsl.public.tfxio import TensorAdapterConfig

from tasks.core.artifacts import Rows
from tasks.core.shards import SPLITS, Split, read_split
from tasks.core.stages import Context, Outcome, stage
from tasks.runtime.extractors import widths

OUTPUT = "features"
"""The graph's one output: all groups, normalized and side by side, float32 of shape (N, D)."""

BATCH = 16_384
"""Rows that go through the graph at a time."""

FLAT = 1e-5
"""A column whose standard deviation is below this share of its mean is constant but for float32's rounding: dividing by
such a deviation would turn the first new value into millions."""


@stage("transform", "features", "image", reproducible=False)
def transform(ctx: Context) -> Outcome:
    """Fits z-scores on the training split; writes ``transform_fn/``, one ``.npy`` per split and ``transform.json``."""
    shards = ctx.store.fetch(ctx.input("dataset").folder)
    inputs = widths(ctx.spec.features, ctx.spec.image)
    fit(sorted(shards.glob("train-*.arrow")), inputs, ctx.out / "transform_fn", ctx.work / "beam")
    run = load(ctx.out / "transform_fn")
    rows = {name: _apply(run, read_split(shards, name), inputs, ctx.out / f"{name}.npy") for name in SPLITS}
    width = sum(inputs.values())
    (ctx.out / "transform.json").write_text(json.dumps({"inputs": inputs, "width": width}), encoding="utf-8")
    total = sum(rows.values())
    return Outcome(Rows(received=total, published=total), metrics={"width": width, **rows})


def fit(shards: list[Path], inputs: Mapping[str, int], folder: Path, scratch: Path) -> None:
    """Fits the graph and writes it where `tft.TFTransformOutput` reads it.

    Args:
        shards: the training split's.
        inputs: feature group to its width, in the order in which the output lists them.
        folder: becomes the transform's folder.
        scratch: for Beam's temporary files.
    """
    schema = schema_utils.schema_from_feature_spec(
        {name: tf.io.FixedLenFeature([width], tf.float32) for name, width in inputs.items()}
    )
    groups = list(inputs)
    # The runner is named: the default one may fetch a binary. Only paths are in the pipeline's graph, which Beam
    # serializes and compresses many times over; data created in it would be too.
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(scratch)):
        batches = pipeline | beam.Create([str(path) for path in shards]) | beam.FlatMap(_batches, groups)
        fitted = (batches, _tensors(inputs)) | tft_beam.AnalyzeDataset(_normalize(groups))
        fitted | "WriteTransform" >> tft_beam.WriteTransformFn(str(folder))
        metadata = dataset_metadata.DatasetMetadata(schema)
        metadata | "WriteRaw" >> tft_beam.WriteMetadata(str(folder / "metadata"), pipeline=pipeline)


def load(folder: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The fitted graph as a function: feature group to float32 (N, F) in, float32 (N, D) out."""
    layer = tft.TFTransformOutput(str(folder)).transform_features_layer()
    return lambda groups: layer({name: tf.constant(values) for name, values in groups.items()})[OUTPUT].numpy()


def _normalize(groups: list[str]) -> Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]:
    # Side by side first: Beam's cost is that of the number of analyzers, not of columns.
    return lambda inputs: {OUTPUT: _z_score(tf.concat([inputs[name] for name in groups], axis=1))}


def _z_score(values: tf.Tensor) -> tf.Tensor:
    """Zero mean and unit deviation per column; a constant column becomes about zero."""
    mean = tft.mean(values, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(values, reduce_instance_dims=False))
    scale = tf.where(deviation > FLAT * tf.abs(mean), deviation, tf.ones_like(deviation))
    return (values - mean) / scale


def _tensors(inputs: Mapping[str, int]) -> TensorAdapterConfig:
    dense = {
        name: schema_pb2.TensorRepresentation(dense_tensor={"column_name": name, "shape": {"dim": [{"size": width}]}})
        for name, width in inputs.items()
    }
    return TensorAdapterConfig(pa.schema([(name, pa.large_list(pa.float32())) for name in inputs]), dense)


def _batches(path: str, groups: list[str]) -> Iterator[pa.RecordBatch]:
    """The feature columns of a shard as Beam's elements, in pieces, with the list type that tfx_bsl reads."""
    reader = pa.ipc.open_file(pa.memory_map(path))
    table = reader.read_all().select(groups)
    lists = table.cast(pa.schema([(name, pa.large_list(pa.float32())) for name in groups]))
    yield from lists.to_batches(max_chunksize=BATCH)


def _apply(
    run: Callable[[Mapping[str, np.ndarray]], np.ndarray], split: Split, inputs: Mapping[str, int], path: Path
) -> int:
    """Writes the transformed rows of ``split``, aligned with it, batch by batch; returns how many."""
    shape = (len(split), sum(inputs.values()))
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, len(split), BATCH):
        rows = slice(start, start + BATCH)
        matrix[rows] = run({name: split.features[name][rows] for name in inputs})
    matrix.flush()
    return len(split)
