"""Ingestion's rows in DuckDB: a view of the Parquet file that means what Great Expectations' frame means."""

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb.func import PythonUDFType

from tasks.data.conditions import Field, matches, text
from tasks.data.expectations import ADDED, kinds

MEMORY = "800MB"
"""What DuckDB may hold before it spills."""


def connect(work: Path) -> duckdb.DuckDBPyConnection:
    """A database of its own that spills into the folder ``work``."""
    connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": str(work / "duckdb")})
    connection.execute("SET TimeZone = 'UTC'")
    # It takes a column for free of nulls because Parquet's statistics say so, NaN made null or not.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    connection.create_function("matches", matches, ["VARCHAR", "VARCHAR"], "BOOLEAN", type=PythonUDFType.ARROW)
    return connection


def make_view(connection: duckdb.DuckDBPyConnection, rows: Path, added: str | None) -> dict[str, Field]:
    """Makes the view ``source`` over ``rows.parquet`` and gives its fields by the columns' names.

    All columns but ``row_id`` are renamed, for DuckDB does not tell ``Label`` from ``label``.

    Args:
        added: what stands in the column `ADDED` of every row.
    """
    schema = pq.read_schema(rows)
    types, fields, shown = kinds(schema), {}, []
    for number, column in enumerate(schema):
        sql = "row_id" if column.name == "row_id" else f"c{number}"
        floating = pa.types.is_floating(column.type)
        fields[column.name] = Field(sql, types.get(column.name, "number"), floating)
        # Great Expectations takes NaN for a missing value.
        shown.append(f"nullif({sql}, 'nan') AS {sql}" if floating else sql)
    # A path is a pattern to DuckDB.
    path = text(re.sub(r"([\[*?])", r"[\1]", str(rows)))
    names = ", ".join(field.sql for field in fields.values())
    connection.execute(f"""
        CREATE TEMP VIEW source AS SELECT {", ".join(shown)}, {text(added) if added else "NULL::VARCHAR"} AS added
        FROM read_parquet({path}, hive_partitioning = FALSE) AS t({names})""")
    return {**fields, ADDED: Field("added", "text")}
