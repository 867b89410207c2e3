"""SQL over the tables of a lake, through DuckDB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs

from batch.core.errors import SettingsError
from batch.core.frames import to_arrow
from batch.core.layout import RESTATEMENTS_TABLE
from batch.lake.partitions import list_tables, table_schema
from batch.storage.store import ObjectStore


def view_name(table: str) -> str:
    """Return the name of a silver table in SQL: ``bars_5d``, ``restatements``."""
    return table if table == RESTATEMENTS_TABLE else f"bars_{table}"


def connect(store: ObjectStore, reference: Mapping[str, pl.DataFrame]) -> Any:
    """Return a DuckDB connection with a view of every table that the lake has.

    A view reads the columns and row groups that a query needs, when it needs them.

    Args:
        store: The lake.
        reference: Small tables to offer as they are, by name.
    """
    connection = duckdb.connect()
    filesystem = store.arrow_filesystem()
    for table, there in list_tables(store).items():
        locations = [store.location(key) for key in there.keys]
        if filesystem is None:
            files = ", ".join(map(_quoted, locations))
            connection.execute(
                f'CREATE VIEW "{view_name(table)}" AS'
                f" SELECT * FROM read_parquet([{files}], hive_partitioning=false)"
            )
        else:  # DuckDB reads S3 by an extension that it would have to download
            from pyarrow import dataset  # noqa: PLC0415 - not needed for a folder

            rows = dataset.dataset(
                [location.removeprefix("s3://") for location in locations],
                schema=table_schema(table),
                format="parquet",
                filesystem=filesystem,
            )
            connection.register(view_name(table), rows)
    for table, frame in reference.items():
        connection.register(table, to_arrow(frame))
    return connection


def run_query(connection: Any, query: str) -> pl.DataFrame:
    """Run one query and return its rows, instants in UTC; none where it returns none.

    Raises:
        SettingsError: DuckDB does not accept the query; its message says why.
    """
    try:
        answer = connection.sql(query)
        table = answer.to_arrow_table() if answer is not None else None
    except duckdb.Error as err:
        raise SettingsError(f"SQL: {err}") from err
    if table is None:
        return pl.DataFrame()
    rows = pl.DataFrame(table)
    return rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
