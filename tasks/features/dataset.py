"""The dataset stage: labels joined with the features of their time, split by entity, packed with pixels into shards."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.definitions import ENTITY, EVENT_TIME, KNOWN_AT, define
from tasks.core.artifacts import Manifest, Rows
from tasks.core.errors import UpdraftError
from tasks.core.shards import SPLITS, pack, rows_per_shard, write_shard
from tasks.core.spec import Project, Split
from tasks.core.stages import Context, Outcome, stage
from tasks.core.store import Store
from tasks.features.feature_store import open_feature_store
from tasks.runtime.extractors import widths
from tasks.runtime.images import BadImage, decode

DECODERS = 4
"""Threads that read and decode: Pillow lets go of the interpreter lock while it works."""

_STAMP = "event_timestamp"


@stage("dataset", "classes", "features", "image", "split")
def dataset(ctx: Context) -> Outcome:
    """Builds the train, validation and test splits from every materialized partition.

    Raises:
        UpdraftError: a partition's features come from another spec, a label is no class of the spec, an archived
            image is gone, or a split got no row.
    """
    spec, partitions = ctx.spec, ctx.inputs["materialize"]
    _check_spec(spec, partitions)
    feast = ctx.work / "feast"
    shutil.rmtree(feast, ignore_errors=True)
    source = _staged(ctx, partitions, feast / "source")
    labels, superseded = _labels(source)
    joined = point_in_time(spec, f"{source}/*.parquet", labels, feast)
    whole, incomplete = _complete(spec, joined)
    rows = _ordered(spec, whole)
    counts = {name: _write(ctx, name, rows[rows["split"] == name]) for name in SPLITS}
    quarantined = superseded + sum(incomplete.values())
    return Outcome(
        Rows(received=len(rows) + quarantined, published=len(rows), quarantined=quarantined),
        reasons={reason: n for reason, n in {"superseded": superseded, **incomplete}.items() if n},
        metrics=counts,
    )


def point_in_time(spec: Project, source: str, labels: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Adds to each label the newest features of its entity that are not later than the label's event time.

    Args:
        source: path or pattern of the Parquet files with features.
        labels: columns entity, event_time, and whatever else is to be kept.
        folder: an empty folder for Feast's registry.

    Returns:
        The labels with one column per extractor; None where the entity had no features yet.
    """
    definitions = define(spec, source)
    store = open_feature_store(spec.name, folder)
    store.apply(definitions.objects())
    job = store.get_historical_features(
        entity_df=labels.rename(columns={EVENT_TIME: _STAMP}), features=definitions.references()
    )
    return job.to_df().rename(columns={_STAMP: EVENT_TIME})


def assign(split: Split, entity: str) -> str:
    """The split that an entity's digest puts it into, whatever other entities there are."""
    place = int(_digest(split, entity)[:16], 16) / 2**64
    if place < split.train:
        return "train"
    return "validation" if place < split.train + split.validation else "test"


def _digest(split: Split, entity: str) -> str:
    return hashlib.sha256(f"{split.seed}:{entity}".encode()).hexdigest()


def _check_spec(spec: Project, partitions: Sequence[Manifest]) -> None:
    wanted = spec.section("features", "image")
    other = [m.partition or "" for m in partitions if any(m.parts["spec"].get(k) != v for k, v in wanted.items())]
    if other:
        shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
        message = f"{spec.name}: {len(other)} partitions ({shown}) have features of another spec than this one."
        raise UpdraftError(message, f"Backfill {spec.name}_features over those dates first.")


def _staged(ctx: Context, partitions: Sequence[Manifest], folder: Path) -> Path:
    """One folder with exactly the partitions this dataset is made from, whatever the offline store holds by now."""
    folder.mkdir(parents=True)
    for number, manifest in enumerate(partitions):
        (folder / f"{number:06d}.parquet").symlink_to(ctx.file(manifest, "offline.parquet"))
    return folder


def _labels(source: Path) -> tuple[pd.DataFrame, int]:
    """The labels of all partitions, and how many a later correction of the same event has superseded."""
    columns = [ENTITY, EVENT_TIME, KNOWN_AT, "label", "uri"]
    tables = [pq.read_table(path, columns=columns) for path in sorted(source.iterdir())]
    rows = pa.concat_tables(tables).to_pandas().sort_values([ENTITY, EVENT_TIME, KNOWN_AT], kind="stable")
    kept = rows.drop_duplicates([ENTITY, EVENT_TIME], keep="last").drop(columns=KNOWN_AT)
    return kept.reset_index(drop=True), len(rows) - len(kept)


def _complete(spec: Project, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows with every feature whole, and the number of the others by reason."""
    reasons = np.full(len(rows), "", dtype=object)
    for kind, width in widths(spec.features, spec.image).items():
        for number, value in enumerate(rows[kind]):
            if value is None or np.shape(value) != (width,):
                reasons[number] = "missing_features"
            elif not np.isfinite(value).all():
                reasons[number] = reasons[number] or "non_finite_features"
    counts = pd.Series(reasons[reasons != ""], dtype=object).value_counts().to_dict()
    return rows[reasons == ""], {str(reason): int(n) for reason, n in counts.items()}


def _ordered(spec: Project, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their split and class index, in an order that is the same everywhere and says nothing."""
    index = {label: number for number, label in enumerate(spec.classes)}
    unknown = sorted({str(label) for label in rows["label"] if label not in index})
    if unknown:
        message = f"{spec.name}: labels {', '.join(unknown[:5])} are no classes of the spec."
        raise UpdraftError(message, f"Add them to classes, or backfill {spec.name}_features to quarantine their rows.")
    rows = rows.assign(
        label=rows["label"].map(index),
        split=[assign(spec.split, entity) for entity in rows[ENTITY]],
        digest=[_digest(spec.split, entity) for entity in rows[ENTITY]],
    )
    return rows.sort_values(["digest", ENTITY, EVENT_TIME], kind="stable")


def _write(ctx: Context, name: str, rows: pd.DataFrame) -> int:
    if rows.empty:
        message = f"{ctx.spec.name}: no entity fell into the {name} split."
        raise UpdraftError(message, f"Materialize more data, or raise split.{name} in the spec.")
    for number, part in enumerate(_parts(rows, rows_per_shard(ctx.spec.image.shape))):
        write_shard(ctx.out, name, number, _packed(ctx, part))
    return len(rows)


def _parts(rows: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), size):
        yield rows.iloc[start : start + size]


def _packed(ctx: Context, rows: pd.DataFrame) -> pa.Table:
    with ThreadPoolExecutor(DECODERS) as pool:
        images = np.stack(list(pool.map(lambda uri: _pixels(ctx.store, ctx.spec, uri), rows["uri"])))
    features: Mapping[str, np.ndarray] = {f.kind: np.stack(rows[f.kind].to_list()) for f in ctx.spec.features}
    return pack(
        images,
        features,
        rows["label"].to_numpy(),
        rows[ENTITY].to_list(),
        rows["uri"].to_list(),
        rows[EVENT_TIME].to_list(),
    )


def _pixels(store: Store, spec: Project, uri: str) -> np.ndarray:
    fix = f"Backfill {spec.name}_features over the image's date."
    try:
        return decode(store.read_bytes(uri), spec.image)
    except FileNotFoundError:
        raise UpdraftError(f"The archived image {uri} is not in the store {store.uri}.", fix) from None
    except BadImage as error:
        raise UpdraftError(f"{uri}: {error.message}", fix) from None
