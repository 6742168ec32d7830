"""Feast's DuckDB offline store with an exact as-of join: nothing joins that was not known at the label's time.

Feast's own retrieval pairs every label with every earlier value before it keeps one, and knows of event times alone.
Here each view is one ``ASOF JOIN`` of DuckDB (sort and merge, spilling to disk), over rows that become visible when
their event has happened *and* is known.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import duckdb
import ibis
import numpy as np
import pandas as pd
from feast import FeatureView, FileSource, OnDemandFeatureView, RepoConfig
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry

from feature_repo.names import KNOWN_AT


class KnownTimeOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """The ``offline_store`` section of Feast's configuration."""

    type: str = "tasks.features.offline_store.KnownTimeOfflineStore"
    """Selects this store."""
    known_time_cutoff: bool = True
    """Whether a value joins only labels of a time at which it was known: the column that the source's tag ``known_at``
    names."""


class KnownTimeOfflineStore(DuckDBOfflineStore):
    """Joins each label with the newest value (event time, known time, created time) visible at its time, within TTL."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """See Feast's ``OfflineStore``.

        Args:
            entity_df: the labels, with one time stamp column; or a query of DuckDB that gives them.
            filter_by_created_timestamp: a value is known no earlier than it was created, either.
        """
        connection = duckdb.connect()
        connection.execute(f"SET TimeZone = 'UTC'; SET temp_directory = {_text(tempfile.gettempdir())}")
        columns, stamp = _labels(connection, entity_df)
        cutoff = config.offline_store.known_time_cutoff
        views = [_read(view, feature_refs, full_feature_names) for view in feature_views]
        joins = [_join(number, view, cutoff, filter_by_created_timestamp, stamp) for number, view in enumerate(views)]
        values = [value for number, view in enumerate(views) for value in _values(number, view, stamp)]
        labels = [_at(stamp) + f" AS {_name(c)}" if c == stamp else f"labels.{_name(c)}" for c in columns]
        query = f"SELECT {', '.join(labels + values)} FROM labels {' '.join(joins)}"
        connection.execute(f"CREATE TEMP VIEW joined AS {query}")
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return IbisRetrievalJob(
            table=ibis.duckdb.from_connection(connection).table("joined"),
            on_demand_feature_views=on_demand,
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(features=feature_refs, keys=[c for c in columns if c != stamp]),
            data_source_writer=_write_data_source,
            staging_location=config.offline_store.staging_location,
            staging_location_endpoint_override=config.offline_store.staging_location_endpoint_override,
            repo_path=str(config.repo_path),
        )


@dataclass(frozen=True)
class _View:
    """One view as the query needs it: column names are the source's.

    Attributes:
        keys: source column to the labels' column.
        features: source column to the name in the answer.
    """

    path: str
    keys: Mapping[str, str]
    features: Mapping[str, str]
    event: str
    known: str | None
    created: str | None
    ttl: timedelta | None


def _labels(connection: duckdb.DuckDBPyConnection, entity_df: pd.DataFrame | str) -> tuple[list[str], str]:
    """Makes the labels a table of the connection; gives its columns and which of them is the time."""
    if isinstance(entity_df, str):
        connection.execute(f"CREATE TEMP VIEW labels AS {entity_df}")
        schema: dict[str, np.dtype] = dict(connection.execute("SELECT * FROM labels LIMIT 0").df().dtypes)
    else:
        connection.register("labels", entity_df)
        schema = dict(entity_df.dtypes)
    return list(schema), infer_event_timestamp_from_entity_df(schema)


def _read(view: FeatureView, references: Sequence[str], full_names: bool) -> _View:
    source, prefix = view.batch_source, view.projection.name_to_use()
    assert isinstance(source, FileSource), f"{view.name}: this offline store reads Parquet files alone"
    in_source = {new: old for old, new in source.field_mapping.items()}
    asked = [name.partition(":")[2] for name in references if name.partition(":")[0] == prefix]
    shown = f"{view.projection.name_alias or view.name}__" if full_names else ""
    keys = {column.name: column.name for column in view.entity_columns} | dict(view.projection.join_key_map)
    return _View(
        path=source.path,
        keys={in_source.get(key, key): label for key, label in keys.items()},
        features={in_source.get(name, name): shown + name for name in asked},
        event=source.timestamp_field,
        known=source.tags.get(KNOWN_AT),
        created=source.created_timestamp_column or None,
        ttl=view.ttl or None,
    )


def _join(number: int, view: _View, cutoff: bool, by_created: bool, stamp: str) -> str:
    """One view's as-of join.

    A row is visible from ``seen`` on, the later of its event and of its becoming known; of the rows visible at a time,
    the newest stands. Rows that an earlier visible one outdates on their arrival are dropped: of the others, the one
    seen last is the newest, which is what an as-of join finds.
    """
    event, created = _utc(view.event), _utc(view.created)
    parts = [_utc(view.known)] * cutoff + [created] * by_created
    known = f"greatest({', '.join(parts)})" if parts else _utc(view.known)
    keys = [_name(key) for key in view.keys]
    order = ", ".join((f"seen_{number}", f"event_{number}", f"known_{number}", f"created_{number}"))
    matches = [f"labels.{_name(label)} = v{number}.{_name(key)}" for key, label in view.keys.items()]
    return f"""ASOF LEFT JOIN (
        SELECT * FROM (
            SELECT {", ".join([*keys, *map(_name, view.features)])}, {event} AS event_{number},
                {known} AS known_{number}, {created} AS created_{number},
                greatest({", ".join([event, *([known] if parts else [])])}) AS seen_{number}
            FROM read_parquet({_text(view.path)}, hive_partitioning = false))
        WINDOW arrivals AS (PARTITION BY {", ".join(keys)} ORDER BY {order})
        QUALIFY lead(seen_{number}) OVER arrivals IS DISTINCT FROM seen_{number}
            AND event_{number} >= max(event_{number}) OVER arrivals
    ) AS v{number} ON {" AND ".join(matches)} AND {_at(stamp)} >= v{number}.seen_{number}"""


def _values(number: int, view: _View, stamp: str) -> list[str]:
    """The view's columns of the answer; an expired value is none."""
    columns = {f"v{number}.{_name(column)}": _name(shown) for column, shown in view.features.items()}
    if view.ttl is None:
        return [f"{column} AS {shown}" for column, shown in columns.items()]
    alive = f"{_at(stamp)} <= v{number}.event_{number} + to_microseconds({view.ttl // timedelta(microseconds=1)})"
    return [f"CASE WHEN {alive} THEN {column} END AS {shown}" for column, shown in columns.items()]


def _at(stamp: str) -> str:
    return f"CAST(labels.{_name(stamp)} AS TIMESTAMPTZ)"


def _utc(column: str | None) -> str:
    return f"CAST({_name(column) if column else 'NULL'} AS TIMESTAMPTZ)"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
