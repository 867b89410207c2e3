"""SQL over the tables of a lake, through DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs

from batch.core.errors import SettingsError
from batch.core.frames import to_arrow, to_polars
from batch.core.layout import RESTATEMENTS_TABLE
from batch.storage.scan import Access, list_tables, s3_connection, table_schema
from batch.storage.store import ObjectStore


def view_name(table: str) -> str:
    """Return the name of a silver table in SQL: ``bars_5d``, ``restatements``."""
    return table if table == RESTATEMENTS_TABLE else f"bars_{table}"


def connect(store: ObjectStore, reference: dict[str, pl.DataFrame]) -> Any:
    """Return a DuckDB connection with a view of every table that the lake has.

    A view reads the columns and row groups that a query needs, when it needs them.

    Args:
        store: The lake.
        reference: Small tables to offer as they are, by name.
    """
    connection = duckdb.connect()
    filesystem = _s3_filesystem(store) if store.uri.startswith("s3://") else None
    access = Access.of(store) if filesystem is None else None
    for table, parts in list_tables(store).items():
        name = f'"{view_name(table)}"'
        keys = [parts[year].key for year in sorted(parts)]
        if access is not None:
            files = ", ".join(_quoted(access.path(key)) for key in keys)
            connection.execute(
                f"CREATE VIEW {name} AS"
                f" SELECT * FROM read_parquet([{files}], hive_partitioning=false)"
            )
        else:
            connection.register(name.strip('"'), _dataset(store, keys, table, filesystem))
    for table, rows in reference.items():
        connection.register(table, to_arrow(rows))
    return connection


def run_query(connection: Any, query: str) -> pl.DataFrame:
    """Run one query and return its rows, instants in UTC; none where it returns none.

    Raises:
        SettingsError: DuckDB does not accept the query; its message tells why.
    """
    try:
        answer = connection.sql(query)
        table = answer.to_arrow_table() if answer is not None else None
    except duckdb.Error as err:
        raise SettingsError(f"SQL: {err}") from err
    if table is None:
        return pl.DataFrame()
    return to_polars(table).with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def _dataset(store: Any, keys: list[str], table: str, filesystem: Any) -> Any:
    from pyarrow import dataset  # noqa: PLC0415 - only lakes on S3 need it

    return dataset.dataset(
        [f"{store.bucket}/{store.prefix}{key}" for key in keys],
        schema=table_schema(table),
        format="parquet",
        filesystem=filesystem,
    )


def _s3_filesystem(store: ObjectStore) -> Any:
    from pyarrow.fs import S3FileSystem  # noqa: PLC0415 - only lakes on S3 need it

    credentials, region, endpoint = s3_connection(store)
    frozen = credentials.get_frozen_credentials() if credentials else None
    scheme, _, host = endpoint.partition("://")
    return S3FileSystem(
        access_key=frozen.access_key if frozen else None,
        secret_key=frozen.secret_key if frozen else None,
        session_token=frozen.token if frozen else None,
        anonymous=frozen is None,
        region=region,
        scheme=scheme,
        endpoint_override=host,
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
