"""The dataset stage: labels joined with what was known at their time, split, and packed with pixels into shards."""

import hashlib
import logging
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.definitions import define
from feature_repo.names import CREATED_AT, ENTITY, EVENT_TIME, KNOWN_AT
from tasks.core.artifacts import Manifest, Rows
from tasks.core.errors import UpdraftError
from tasks.core.shards import SPLITS, pack, rows_per_shard, write_shard
from tasks.core.spec import Project, TextTerms
from tasks.core.stages import Context, Outcome
from tasks.core.store import Store
from tasks.features.feature_store import open_feature_store
from tasks.features.online import OFFLINE
from tasks.features.splits import NOWHERE, Candidates, digest, share_out
from tasks.features.usable import faults, microseconds
from tasks.runtime.images import BadImage, decode
from tasks.runtime.rows import parse

log = logging.getLogger("updraft")

DECODERS = 4
"""Threads that read and decode: the decoders let go of the interpreter lock while they work."""

_STAMP = "event_timestamp"


def dataset(ctx: Context) -> Outcome:
    """Builds the train, validation and test splits from every materialized partition.

    Raises:
        UpdraftError: a partition's features come from another spec, a label is no class of the spec or, of a
            regression, no number, an archived image is gone, or a split got no row.
    """
    spec, partitions = ctx.spec, ctx.inputs["materialize"]
    _check_spec(spec, partitions)
    feast = ctx.work / "feast"
    shutil.rmtree(feast, ignore_errors=True)
    source = _staged(ctx, partitions, feast / "source")
    labels, superseded = _labels(source)
    rows = _numbered(spec, point_in_time(spec, f"{source}/*.parquet", labels, feast))
    found = faults(spec, rows)
    rows, reasons = rows.filter(pa.array(found == "")), [*found[found != ""], *["superseded"] * superseded]
    places, folds = share_out(spec.split, _candidates(spec, rows))
    rows = rows.append_column("fold", pa.array(folds))
    reasons += ["straddles_splits"] * int((places == NOWHERE).sum())
    counts = {name: _write(ctx, name, rows, np.flatnonzero(places == name)) for name in SPLITS}
    published = sum(counts.values())
    return Outcome(
        Rows(received=published + len(reasons), published=published, quarantined=len(reasons)),
        reasons=Counter(reasons),
        metrics=counts,
    )


def point_in_time(spec: Project, source: str, labels: pd.DataFrame, folder: Path) -> pa.Table:
    """Adds to each label the newest row of its entity that had happened and was known at the label's event time.

    Args:
        source: path or pattern of the Parquet files with features.
        labels: columns entity, event_time, and whatever else is to be kept.
        folder: an empty folder for Feast's registry.

    Returns:
        The labels, in any order, with one column per feature group and that row's inputs (uri, digest, and image_hash
        or row); null where nothing of the entity was known yet.
    """
    definitions = define(spec, source)
    store = open_feature_store(spec.name, folder)
    store.apply(definitions.objects())
    job = store.get_historical_features(
        entity_df=labels.rename(columns={EVENT_TIME: _STAMP}), features=definitions.references()
    )
    table = job.to_arrow()
    return table.rename_columns([EVENT_TIME if name == _STAMP else name for name in table.column_names])


def _check_spec(spec: Project, partitions: Sequence[Manifest]) -> None:
    wanted = spec.section("features", "image", "source.columns")
    other = [m.partition or "" for m in partitions if any(m.parts["spec"].get(k) != v for k, v in wanted.items())]
    if other:
        shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
        message = f"{spec.name}: {len(other)} partitions ({shown}) have features of another spec than this one."
        raise UpdraftError(message, f"Backfill {spec.name}_features over those dates first.")


def _staged(ctx: Context, partitions: Sequence[Manifest], folder: Path) -> Path:
    """One folder with exactly the partitions this dataset is made from, whatever the offline store holds by now."""
    folder.mkdir(parents=True)
    for number, manifest in enumerate(partitions):
        (folder / f"{number:06d}.parquet").symlink_to(ctx.file(manifest, OFFLINE))
    return folder


def _labels(source: Path) -> tuple[pd.DataFrame, int]:
    """The labels of all partitions, and how many a later correction of the same event has superseded."""
    columns = [ENTITY, EVENT_TIME, KNOWN_AT, CREATED_AT, "label"]
    tables = [pq.read_table(path, columns=columns) for path in sorted(source.iterdir())]
    rows = pa.concat_tables(tables).to_pandas().sort_values([ENTITY, EVENT_TIME, KNOWN_AT, CREATED_AT], kind="stable")
    kept = rows.drop_duplicates([ENTITY, EVENT_TIME], keep="last")
    return kept.reset_index(drop=True), len(rows) - len(kept)


def _numbered(spec: Project, rows: pa.Table) -> pa.Table:
    """The rows with each label's index into the spec's classes for its name; of a regression, with its number."""
    if spec.is_regression:
        found = parse(rows["label"], "number")[0].cast(pa.float32())
    else:
        found = pc.index_in(rows["label"], pa.array(spec.classes))
    if found.null_count:
        unknown = sorted(rows["label"].filter(pc.is_null(found)).unique().to_pylist())
        what = "numbers" if spec.is_regression else "classes of the spec"
        message = f"{spec.name}: labels {', '.join(unknown[:5])} are no {what}."
        add = "Backfill" if spec.is_regression else "Add them to classes, or backfill"
        raise UpdraftError(message, f"{add} {spec.name}_features to quarantine their rows.")
    return rows.set_column(rows.column_names.index("label"), "label", found)


def _candidates(spec: Project, rows: pa.Table) -> Candidates:
    hashes, bits = _likeness(spec, rows)
    return Candidates(
        entities=rows[ENTITY].to_pylist(),
        events=microseconds(rows[EVENT_TIME]),
        arrivals=microseconds(rows[CREATED_AT]),
        hashes=None if hashes is None else hashes.fill_null(0).to_numpy(),
        hashed=None if hashes is None else hashes.is_valid().to_numpy(),
        bits=bits,
    )


def _likeness(spec: Project, rows: pa.Table) -> tuple[pa.ChunkedArray | None, int]:
    """Hashes of what must not straddle a split, and how many of their bits may differ.

    Images: perceptual hashes, where near-duplicates are sought. Texts: the same words, whatever their case and spacing.
    """
    bits, texts = spec.validation.near_duplicate_bits, [f.group for f in spec.features if isinstance(f, TextTerms)]
    if spec.image is not None:
        return (None, 0) if bits is None else (rows["image_hash"].cast(pa.int64()), bits)
    if not texts:
        return None, 0
    groups = [rows[group].to_pylist() for group in texts]
    said = (" ".join(word for each in row for word in each) for row in zip(*groups, strict=True))
    words = (" ".join(text.casefold().split()) for text in said)
    return pa.chunked_array([pa.array([_int64(text) if text else None for text in words], pa.int64())]), 0


def _int64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _write(ctx: Context, name: str, rows: pa.Table, chosen: np.ndarray) -> int:
    """Writes the chosen rows shard by shard, in an order that is the same everywhere and says nothing."""
    if not len(chosen):
        message = f"{ctx.spec.name}: no entity fell into the {name} split."
        raise UpdraftError(message, f"Materialize more data, or raise split.{name} in the spec.")
    keys = rows.select([ENTITY, EVENT_TIME]).take(chosen).to_pandas()
    keys["digest"] = [digest(ctx.spec.split, entity) for entity in keys[ENTITY]]
    order = chosen[keys.sort_values(["digest", ENTITY, EVENT_TIME], kind="stable").index]
    image = ctx.spec.image
    size = rows_per_shard(math.prod(image.shape) if image else rows.nbytes // rows.num_rows)
    for number, start in enumerate(range(0, len(order), size)):
        part = rows.take(order[start : start + size])
        write_shard(ctx.out, name, number, _packed(ctx, part))
        log.info("dataset %s: %d of %d %s rows packed", ctx.spec.name, start + len(part), len(order), name)
    return len(order)


def _packed(ctx: Context, rows: pa.Table) -> pa.Table:
    uris, spec = rows["uri"].to_pylist(), ctx.spec
    return pack(
        _images(ctx.store, spec, uris) if spec.image else None,
        {feature.group: _matrix(rows[feature.group]) for feature in spec.features},
        rows["label"].to_numpy(),
        rows[ENTITY].to_pylist(),
        uris,
        rows[EVENT_TIME].to_numpy().astype("datetime64[us]"),
        folds=rows["fold"].to_numpy(),
        rows=None if spec.image else rows["row"].to_pylist(),
    )


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    flat = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
    return flat.reshape(len(column), -1)


def _images(store: Store, spec: Project, uris: Sequence[str]) -> np.ndarray:
    """uint8 of shape (N, H, W, C)."""
    assert spec.image is not None
    images = np.empty((len(uris), *spec.image.shape), np.uint8)

    def fill(number: int) -> None:
        images[number] = _pixels(store, spec, uris[number])

    with ThreadPoolExecutor(DECODERS) as pool:
        for _ in pool.map(fill, range(len(uris))):
            pass
    return images


def _pixels(store: Store, spec: Project, uri: str) -> np.ndarray:
    assert spec.image is not None
    fix = f"Backfill {spec.name}_features over the image's date."
    try:
        return decode(store.read_bytes(uri), spec.image)
    except FileNotFoundError:
        raise UpdraftError(f"The archived image {uri} is not in the store {store.uri}.", fix) from None
    except BadImage as error:
        raise UpdraftError(f"{uri}: {error.message}", fix) from None
