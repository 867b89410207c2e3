"""SQL over the tables of a lake, through DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs

from batch.core.errors import SettingsError
from batch.core.frames import to_arrow
from batch.core.layout import RESTATEMENTS_TABLE
from batch.lake.partitions import list_tables, table_schema
from batch.storage.store import ObjectStore


def run_query(
    store: ObjectStore, reference: Mapping[str, pl.DataFrame], query: str
) -> pl.DataFrame:
    """Run one DuckDB query and return its rows, instants in UTC; none where it returns none.

    It sees a view of every table that the lake has, which reads the columns and row groups that
    the query needs, and the ``reference`` tables by name.

    Raises:
        SettingsError: DuckDB does not accept the query; its message says why.
    """
    with duckdb.connect() as connection:
        for table, there in list_tables(store).items():
            _add_view(connection, store, table, there.keys)
        for table, frame in reference.items():
            connection.register(table, to_arrow(frame))
        try:
            answer = connection.sql(query)
            found = answer.to_arrow_table() if answer is not None else None
        except duckdb.Error as err:
            raise SettingsError(f"SQL: {err}") from err
    if found is None:
        return pl.DataFrame()
    rows = pl.DataFrame(found)
    return rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def _add_view(connection: Any, store: ObjectStore, table: str, keys: Sequence[str]) -> None:
    name = table if table == RESTATEMENTS_TABLE else f"bars_{table}"
    locations = [store.location(key) for key in keys]
    filesystem = store.arrow_filesystem()
    if filesystem is None:
        files = ", ".join(map(_quoted, locations))
        connection.execute(
            f'CREATE VIEW "{name}" AS'
            f" SELECT * FROM read_parquet([{files}], hive_partitioning=false)"
        )
        return
    # DuckDB reads S3 by an extension that it would have to download.
    from pyarrow import dataset  # noqa: PLC0415 - not needed for a folder

    rows = dataset.dataset(
        [location.removeprefix("s3://") for location in locations],
        schema=table_schema(table),
        format="parquet",
        filesystem=filesystem,
    )
    connection.register(name, rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
