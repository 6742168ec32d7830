"""The materialize stage: a date's features into the offline store, and every entity's newest into the online store.

What is online follows from the offline dates alone, whatever order they came in, however often, and wherever an
attempt was killed: the entities that a date touches are noted before its file is replaced, and for each of them the
newest row of all dates is written, or what is online is removed where no row is left.
"""

import fcntl
import io
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureStore

from feature_repo.definitions import Definitions, define
from feature_repo.names import ENTITY, EVENT_TIME, KNOWN_AT, offline_folder
from tasks.core.artifacts import Rows, digest_file
from tasks.core.errors import BadInput, Refused
from tasks.core.settings import settings
from tasks.core.stages import Context, Outcome
from tasks.features.feature_store import open_feature_store
from tasks.features.newest import Newest, refresh
from tasks.features.online import OFFLINE, view_of
from tasks.runtime.online import open_online

log = logging.getLogger("updraft")


def materialize(ctx: Context) -> Outcome:
    """Publishes the date's features to Feast and looks a few of them up again.

    Raises:
        BadInput: the partition's date is in the future, or a row's event or known time is.
        Refused: Feast's registry or the online store answers otherwise than it was told.
    """
    assert ctx.partition is not None
    started = time.monotonic()
    day = _past_day(ctx.partition)
    source = ctx.file(ctx.input("features"), "features.parquet")
    _refuse_future(source, ctx.partition)
    rows = pq.read_metadata(source).num_rows
    shutil.copyfile(source, ctx.out / OFFLINE)
    online, view = open_online(ctx.spec.name), view_of(ctx.spec)
    with _one_writer(ctx.spec.name) as folder:
        online_config = online.feast()
        online.mark(view, str(day), None)
        offline = _publish(ctx, day, source)
        definitions = define(ctx.spec, str(offline / "date=*.parquet"))
        store = open_feature_store(ctx.spec.name, folder, online_config)
        with online.reaching(), Newest(offline, offline / "touched" / f"date={day}.parquet") as newest:
            _apply(store, definitions)
            counts = refresh(store, definitions.features, newest, online, view)
        online.mark(view, str(day), digest_file(source))
        ctx.store.delete(f"{offline_folder(ctx.spec)}/touched/date={day}.parquet")
    log.info("feast %s %s: %s in %.2f s", ctx.spec.name, day, counts, time.monotonic() - started)
    return Outcome(Rows(received=rows, published=rows), metrics={"read_back": counts.read_back})


def _publish(ctx: Context, day: date, source: Path) -> Path:
    """Replaces the date's offline file, having noted whom that touches; returns the folder of all dates.

    The note outlives a killed attempt: entities of a file that is replaced are nowhere else.
    """
    folder = offline_folder(ctx.spec)
    file, note = f"{folder}/date={day}.parquet", f"{folder}/touched/date={day}.parquet"
    before = [path for path in (file, note) if ctx.store.exists(path)]
    tables = [pq.read_table(path, columns=[ENTITY]) for path in (source, *map(ctx.store.fetch, before))]
    entities = pa.concat_tables([table.cast(pa.schema([(ENTITY, pa.string())])) for table in tables])
    touched = entities.group_by(ENTITY, use_threads=False).aggregate([])
    buffer = io.BytesIO()
    pq.write_table(touched, buffer)
    ctx.store.write_bytes(note, buffer.getvalue())
    ctx.store.write_bytes(file, source.read_bytes())
    return ctx.store.fetch(folder)


def _apply(store: FeatureStore, definitions: Definitions) -> None:
    """Applies the definitions and reads them back: a racing registry write would silently drop objects.

    Raises:
        Refused: the registry has other views or fields than were declared.
    """
    with redirect_stdout(io.StringIO()):  # Feast prints its progress, and stdout belongs to the command's --json
        store.apply(definitions.objects())
    store.refresh_registry()
    found = {view.name: {field.name: field.dtype for field in view.features} for view in store.list_feature_views()}
    for view in definitions.views:
        if found.get(view.name) != {field.name: field.dtype for field in view.features}:
            message = f"Feast's registry of {store.project} does not have the view {view.name} as it was declared."
            raise Refused(message, f"See that nothing else writes {store.config.registry.path}, then run it again.")


def _refuse_future(source: Path, partition: str) -> None:
    """No row may be from the future: it would hide every later value of its entity."""
    rows = pq.read_table(source, columns=[ENTITY, EVENT_TIME, KNOWN_AT])
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
    for column in (EVENT_TIME, KNOWN_AT):
        ahead = rows.filter(pc.greater(rows[column], now))
        if ahead.num_rows:
            first = ahead.slice(0, 1).to_pylist()[0]
            message = f"materialize {partition}: {ahead.num_rows} rows have {column} in the future, the first of them"
            message += f" entity {first[ENTITY]!r} at {first[column]:%Y-%m-%d %H:%M:%S} UTC."
            raise BadInput(message, "Correct the source's times, then ingest the partition again.")


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
