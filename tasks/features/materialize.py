"""The materialize stage: a date's features into the offline store, and from there into the online store, by Feast."""

import fcntl
import io
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureStore

from feature_repo.definitions import ENTITY, EVENT_TIME, KNOWN_AT, Definitions, define
from tasks.core.artifacts import Rows, digest_json
from tasks.core.errors import BadInput, Refused
from tasks.core.settings import settings
from tasks.core.spec import Project
from tasks.core.stages import Context, Outcome, stage
from tasks.features.feature_store import open_feature_store

log = logging.getLogger("updraft")

READ_BACK = 5
"""Entities looked up after each write."""


@stage("materialize", "features", "image")
def materialize(ctx: Context) -> Outcome:
    """Publishes the date's features to Feast and looks a few of them up again.

    An entity's online value is its newest one, in whatever order dates arrive.

    Raises:
        BadInput: the partition's date is in the future.
        Refused: the online store answers with other values than those it was given.
    """
    assert ctx.partition is not None
    day = _past_day(ctx.partition)
    source = ctx.file(ctx.input("features"), "features.parquet")
    shutil.copyfile(source, ctx.out / "offline.parquet")
    rows = pq.read_metadata(source).num_rows
    with _one_writer(ctx.spec.name) as folder:
        offline = offline_folder(ctx.spec)
        ctx.store.write_bytes(f"{offline}/date={day}.parquet", source.read_bytes())
        checked = _to_online(ctx.spec, folder, ctx.store.fetch(offline), day)
    return Outcome(Rows(received=rows, published=rows), metrics={"read_back": checked})


def offline_folder(spec: Project) -> str:
    """Where the project's dates stand in the store. Features of another spec get a folder of their own: no reader of
    one ever meets a date that still has the columns of the other.
    """
    return f"{spec.name}/offline/{digest_json(spec.section('features', 'image'))[:12]}"


def _to_online(spec: Project, folder: Path, offline: Path, day: date) -> int:
    """Applies the definitions, materializes, and reads back; returns how many entities were compared."""
    clock = [time.monotonic()]
    definitions = define(spec, str(offline / "date=*.parquet"))
    store = open_feature_store(spec.name, folder)
    store.apply(definitions.objects())
    clock.append(time.monotonic())
    rows = pq.read_table(offline / f"date={day}.parquet", columns=[ENTITY, EVENT_TIME])
    if not rows.num_rows:
        return 0
    start, end = _window(offline, rows[EVENT_TIME])
    with redirect_stdout(io.StringIO()):  # Feast prints its progress, and stdout belongs to the command's --json
        store.materialize(start, end)
    clock.append(time.monotonic())
    entities = rows[ENTITY].to_pylist()
    sample = sorted({entities[i] for i in np.linspace(0, len(entities) - 1, READ_BACK).astype(int)})
    _read_back(store, definitions, _newest(offline, sample))
    clock.append(time.monotonic())
    log.info("feast %s %s: apply %.2f s, materialize %.2f s, read back %.2f s", spec.name, day, *np.diff(clock))
    return len(sample)


def _window(offline: Path, times: pa.ChunkedArray) -> tuple[datetime, datetime]:
    """The event times to materialize: this date's, or up to the newest of all where a later date was there first.

    Feast overwrites whatever is online with the newest value inside the window, be it older than what was there.
    """
    start, end = pc.min(times).as_py(), pc.max(times).as_py()
    events = pq.read_table(offline, columns=[ENTITY, EVENT_TIME], partitioning=None).to_pandas()
    touched = events.loc[events[EVENT_TIME].between(start, end), ENTITY]
    last = events.loc[events[ENTITY].isin(touched), EVENT_TIME].max()
    return start, end if last <= end else events[EVENT_TIME].max().to_pydatetime()


def _read_back(store: FeatureStore, definitions: Definitions, expected: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Looks the entities up as an endpoint would.

    Raises:
        Refused: one of their features is not what is expected.
    """
    keys = [{ENTITY: entity} for entity in expected]
    found = store.get_online_features(features=definitions.references(), entity_rows=keys).to_dict()
    for number, (entity, features) in enumerate(expected.items()):
        for name, values in features.items():
            if not np.array_equal(np.asarray(found[name][number], np.float32), values, equal_nan=True):
                message = f"Feast's online store has another {name} for entity {entity!r} than the offline store."
                folder = settings().home / "feast" / definitions.view.name
                fix = f"Delete {folder} and materialize every date again, with force."
                raise Refused(message, fix)


def _newest(offline: Path, entities: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Each entity's newest feature values over all dates."""
    table = pq.read_table(offline, filters=[(ENTITY, "in", entities)], partitioning=None)
    rows = table.sort_by([(EVENT_TIME, "ascending"), (KNOWN_AT, "ascending")])
    lists = [field.name for field in rows.schema if pa.types.is_list(field.type)]
    return {
        row[ENTITY]: {name: np.asarray(row[name], np.float32) for name in lists}
        for row in rows.select([ENTITY, *lists]).to_pylist()
    }


def _past_day(partition: str) -> date:
    day = date.fromisoformat(partition)
    today = datetime.now(UTC).date()
    if day > today:
        message = f"materialize {day}: the date is in the future (today is {today} UTC)."
        raise BadInput(message, "Name a date that has begun: a future value would hide every later one.")
    return day


@contextmanager
def _one_writer(project: str) -> Iterator[Path]:
    """Feast's folder of the project, locked: a racing registry write would silently drop the other one's objects."""
    folder = settings().home / "feast" / project
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
