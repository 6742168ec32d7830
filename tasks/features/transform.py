"""The transform stage: a TensorFlow Transform graph fitted on the training split and applied to every split.

The saved graph is what the endpoint runs: training never sees a number that serving would compute otherwise.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils
from tfx_bsl.public.tfxio import TensorAdapterConfig

from tasks.core.artifacts import Rows
from tasks.core.errors import BadInput
from tasks.core.layout import FILE, Layout
from tasks.core.settings import settings
from tasks.core.shards import SPLITS, read_table
from tasks.core.spec import CnnEmbedding, Feature, Image, NumericGroup, Pca, Sift
from tasks.core.stages import Context, Outcome
from tasks.features.normalize import OUTPUT, dimensions_of, normalize
from tasks.runtime.extractors import names
from tasks.runtime.table_features import is_text

BATCH = 16_384
"""Rows that go through the graph at a time, at most."""

BATCH_VALUES = 2**24
"""Numbers that a tensor of the graph may hold, about: wide outputs go through it with fewer rows at a time."""

Groups = Mapping[str, np.ndarray]


class Fitted(NamedTuple):
    """The fitted graph as a function, feature group to float32 or str (N, F) in, float32 (N, D) out; and what its D
    dimensions are."""

    run: Callable[[Groups], np.ndarray]
    names: list[str]
    layout: Layout


def transform(ctx: Context) -> Outcome:
    """Fits the graph on the training split; writes ``transform_fn/``, one ``.npy`` per split and ``transform.json``.

    Raises:
        BadInput: a feature asks for more principal components than it has dimensions.
    """
    features, shards = ctx.spec.features, ctx.store.fetch(ctx.input("dataset").folder)
    raw = raw_names(features, ctx.spec.image, read_table(shards, "train").schema)
    fit(sorted(shards.glob("train-*.arrow")), features, raw, ctx.out / "transform_fn", ctx.work / "beam")
    run, dimensions, layout = load(ctx.out / "transform_fn")
    rows = {}
    step = _rows_at_a_time(features, len(dimensions))
    for name in SPLITS:
        table = read_table(shards, name).select(list(raw))
        rows[name] = _apply(run, table, step, len(dimensions), ctx.out / f"{name}.npy")
    described = {
        "inputs": {group: len(found) for group, found in raw.items()},
        "names": dimensions,
        "slices": layout.as_json(),
    }
    (ctx.out / FILE).write_text(json.dumps(described), encoding="utf-8")
    total = sum(rows.values())
    return Outcome(Rows(received=total, published=total), metrics={"width": len(dimensions), **rows})


def raw_names(features: Sequence[Feature], image: Image | None, schema: pa.Schema) -> dict[str, Sequence[str]]:
    """Feature group to the names of its raw dimensions.

    Args:
        schema: of the shards; it tells how wide an embedding is.

    Raises:
        BadInput: a feature asks for more principal components than it has dimensions.
    """
    fixed = names([feature for feature in features if not isinstance(feature, CnnEmbedding)], image)
    found: dict[str, Sequence[str]] = {}
    for feature in features:
        group = feature.group
        found[group] = fixed.get(group) or [f"embedding_{n}" for n in range(schema.field(group).type.list_size)]
        if isinstance(feature, NumericGroup) and isinstance(feature.normalize, Pca):
            _check_components(group, feature.normalize.components, len(found[group]))
    return found


def fit(
    shards: Sequence[Path], features: Sequence[Feature], raw: Mapping[str, Sequence[str]], folder: Path, scratch: Path
) -> None:
    """Fits the graph and writes it where `tft.TFTransformOutput` reads it.

    Args:
        shards: the training split's; where the Beam runner works elsewhere, it must see them under the same paths.
        raw: feature group to the names of its dimensions.
        folder: becomes the transform's folder.
        scratch: for Beam's temporary files.
    """
    types = {feature.group: tf.string if is_text(feature) else tf.float32 for feature in features}
    specs = {group: tf.io.FixedLenFeature([len(raw[group])], dtype) for group, dtype in types.items()}
    columns = pa.schema([(group, _arrow_type(dtype)) for group, dtype in types.items()])
    # Only paths are in the pipeline's graph, which Beam serializes and compresses many times over; data created in it
    # would be too.
    with _pipeline() as pipeline, tft_beam.Context(temp_dir=str(scratch)):
        batches = pipeline | beam.Create([str(path) for path in shards]) | beam.FlatMap(_batches, columns)
        fitted = (batches, _tensors(columns, specs)) | tft_beam.AnalyzeDataset(normalize(features, raw))
        fitted | "WriteTransform" >> tft_beam.WriteTransformFn(str(folder))
        metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(specs))
        metadata | "WriteRaw" >> tft_beam.WriteMetadata(str(folder / "metadata"), pipeline=pipeline)


def load(folder: Path) -> Fitted:
    """What `fit` wrote."""
    loaded = tf.saved_model.load(str(folder / tft.TFTransformOutput.TRANSFORM_FN_DIR))

    def run(groups: Groups) -> np.ndarray:
        return loaded.transform_fn({name: tf.constant(values) for name, values in groups.items()})[OUTPUT].numpy()

    return Fitted(run, *dimensions_of(loaded.transform_fn.graph))


def _check_components(group: str, components: int, width: int) -> None:
    if components > width:
        message = f"features: {group}: {components} principal components of {width} dimensions."
        raise BadInput(message, f"Set normalize.components of {group} to at most {width}.")


def _pipeline() -> beam.Pipeline:
    # Beam's own choice of a default, and of what DirectRunner means, fetches a binary.
    local = {"FnApiRunner": FnApiRunner, "DirectRunner": BundleBasedDirectRunner}
    name = settings().beam_runner
    return beam.Pipeline(
        local[name]() if name in local else name, PipelineOptions(shlex.split(settings().beam_options))
    )


def _arrow_type(dtype: tf.DType) -> pa.DataType:
    return pa.large_list(pa.large_binary() if dtype == tf.string else pa.float32())


def _tensors(columns: pa.Schema, specs: Mapping[str, tf.io.FixedLenFeature]) -> TensorAdapterConfig:
    dense = {
        name: schema_pb2.TensorRepresentation(
            dense_tensor={"column_name": name, "shape": {"dim": [{"size": spec.shape[0]}]}}
        )
        for name, spec in specs.items()
    }
    return TensorAdapterConfig(columns, dense)


def _batches(path: str, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The feature columns of a shard as Beam's elements, in pieces, with the list type that tfx_bsl reads."""
    table = pa.ipc.open_file(pa.memory_map(path)).read_all().select(columns.names)
    for batch in table.to_batches(max_chunksize=BATCH):
        yield batch.cast(columns)


def _rows_at_a_time(features: Sequence[Feature], width: int) -> int:
    distances = [feature.keypoints * feature.words for feature in features if isinstance(feature, Sift)]
    return min(BATCH, max(1, BATCH_VALUES // max(width, *distances, 1)))


def _apply(run: Callable[[Groups], np.ndarray], table: pa.Table, step: int, width: int, path: Path) -> int:
    """Writes the transformed rows of ``table``, aligned with it, ``step`` at a time; returns how many."""
    matrix = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(table.num_rows, width))
    for start in range(0, table.num_rows, step):
        piece = table.slice(start, step).combine_chunks()
        matrix[start : start + step] = run({name: _array(piece[name]) for name in table.column_names})
    matrix.flush()
    return table.num_rows


def _array(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
