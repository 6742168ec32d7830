"""Each touched entity's newest row over all offline dates, and the online store brought up to it."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
from feast import FeatureStore, FeatureView, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import _convert_arrow_to_proto

from feature_repo.names import CREATED_AT, ENTITY, EVENT_TIME, KNOWN_AT
from tasks.core.errors import Refused
from tasks.runtime.online.store import OnlineStore, View

log = logging.getLogger("updraft")

BATCH = 10_000
"""Entities written at a time."""

READ_BACK = 5
"""Entities looked up after the write."""


@dataclass(frozen=True)
class Counts:
    """What `refresh` did, in entities."""

    written: int
    removed: int
    read_back: int

    def __str__(self) -> str:
        return f"{self.written} entities written, {self.removed} removed, {self.read_back} read back"


class Newest:
    """The newest row (by event, known and created time) of each touched entity.

    Args:
        offline: folder of the dates' files.
        touched: Parquet file with the touched entities.
    """

    def __init__(self, offline: Path, touched: Path) -> None:
        self._dates = f"read_parquet({_text(offline / 'date=*.parquet')}, hive_partitioning = false)"
        self._touched = f"read_parquet({_text(touched)}, hive_partitioning = false)"
        self._connection = duckdb.connect()
        self._connection.execute(f"SET TimeZone = 'UTC'; SET temp_directory = {_text(tempfile.gettempdir())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, sorted by entity: entity, event time, created time and ``columns``."""
        chosen = ", ".join(_name(column) for column in (ENTITY, EVENT_TIME, CREATED_AT, *columns))
        newest_first = ", ".join(f"{column} DESC" for column in (EVENT_TIME, KNOWN_AT, CREATED_AT))
        query = f"""SELECT {chosen} FROM {self._dates} WHERE {ENTITY} IN (SELECT {ENTITY} FROM {self._touched})
            QUALIFY row_number() OVER (PARTITION BY {ENTITY} ORDER BY {newest_first}) = 1 ORDER BY {ENTITY}"""
        yield from self._connection.sql(query).to_arrow_reader(BATCH)

    def gone(self) -> list[str]:
        """The entities of which no row is left."""
        query = f"SELECT {ENTITY} FROM {self._touched} EXCEPT SELECT {ENTITY} FROM {self._dates} ORDER BY {ENTITY}"
        return [entity for (entity,) in self._connection.execute(query).fetchall()]


def refresh(store: FeatureStore, view: FeatureView, newest: Newest, online: OnlineStore, names: View) -> Counts:
    """Writes the newest rows, removes what has none, and reads a few entities back.

    Raises:
        Refused: the online store answers with other values than those it was given.
    """
    provider, written, sample = store._get_provider(), 0, []
    for batch in newest.batches([field.name for field in view.features]):
        rows = _convert_arrow_to_proto(batch, view, {ENTITY: ValueType.STRING})
        provider.online_write_batch(store.config, view, rows, None)
        written += len(rows)
        log.info("feast %s: %d entities online", store.project, written)
        sample += _spread(rows)
    gone = newest.gone()
    online.forget(names, gone)
    sample = _spread(sample)
    _read_back(store, view, sample, gone[:READ_BACK])
    return Counts(written, len(gone), len(sample))


def _spread(rows: Sequence[Any]) -> list[Any]:
    """`READ_BACK` of them, or all if there are fewer, evenly."""
    return [rows[number] for number in np.unique(np.linspace(0, len(rows) - 1, READ_BACK).astype(int)) if len(rows)]


def _entity_key(entity: str) -> EntityKey:
    """How Feast's online stores are asked for an entity."""
    return EntityKey(join_keys=[ENTITY], entity_values=[Value(string_val=entity)])


def _read_back(store: FeatureStore, view: FeatureView, written: Sequence[Any], gone: Sequence[str]) -> None:
    keys = [row[0] for row in written] + [_entity_key(entity) for entity in gone]
    expected = [row[1] for row in written] + [None] * len(gone)
    if not keys:
        return
    found = store._get_provider().online_read(store.config, view, keys, [field.name for field in view.features])
    for key, wanted, (_, values) in zip(keys, expected, found, strict=True):
        if _bytes(values) != _bytes(wanted):
            name = key.entity_values[0].string_val
            message = f"Feast's online store answers otherwise for entity {name!r} than it was told."
            raise Refused(message, f"Run: updraft backfill {store.project} --local; if it stays so, empty the store.")


def _bytes(values: Mapping[str, Value] | None) -> dict[str, bytes]:
    """Comparable even where a value is NaN; Redis answers with empty values where there is none."""
    found = {name: value.SerializeToString() for name, value in (values or {}).items()}
    return {name: value for name, value in found.items() if value}


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
