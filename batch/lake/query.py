"""SQL over the tables of a lake, through DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs
import pyarrow as pa
from pyarrow import dataset

from batch.core import schema
from batch.core.errors import DataRefused, SettingsError, StoreUnavailable
from batch.core.layout import DIVIDENDS, RESTATEMENTS_TABLE, SPLITS, TICKERS
from batch.lake.partitions import TablePartitions, list_tables, table_schema
from batch.lake.recorded import require_recorded
from batch.storage.scan import advice, require_whole
from batch.storage.store import ObjectStore

_REFERENCE = {
    "splits": (SPLITS, schema.SPLITS),
    "tickers": (TICKERS, schema.TICKERS),
    "dividends": (DIVIDENDS, schema.DIVIDENDS),
}
_QUERIES = {
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT
}
_NOT_READ = re.compile(r"reading the stream registered as '([^']+)' failed")
_SILVER_NAMES = re.compile(rf"\b(?:bars_\w+|{RESTATEMENTS_TABLE})\b", re.IGNORECASE)
_OPENED_AT_ONCE = 8
_NEAR_END = re.compile(r'syntax error at or near "end"', re.IGNORECASE)
_RESERVED_HINT = '\n\nend is a reserved word in SQL: write the column in double quotes, "end"'


@dataclass(frozen=True, slots=True)
class _Table:
    """A view of the lake: its objects, and the columns that each of them must have."""

    keys: Sequence[str]
    schema: Any


def run_query(store: ObjectStore, query: str) -> pl.DataFrame:
    """Run one DuckDB query and return its rows, instants in UTC.

    It sees a view of every table that the lake has, and of the reference tables. A view opens
    its objects when the query reads it, and then the columns and row groups that are needed; a
    damaged table is in the way of the queries that name it alone. The query can change nothing
    and reach no other file.

    Raises:
        SettingsError: It is not one query, or DuckDB does not accept it.
        DataRefused: A table that the query names is damaged.
        StoreUnavailable: The store does not answer.
    """
    there = list_tables(store)
    tables = dict(_tables(store, there))
    filesystem = store.arrow_filesystem()
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        for name, table in tables.items():
            connection.register(name, _rows(store, table, filesystem))
        # From here on DuckDB opens no file, loads no extension, and neither can be undone.
        # https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            _require_one_query(connection, query)
            for silver in _silver_tables(query):
                require_recorded(store, there.get(silver) or TablePartitions(silver, {}))
            for name, table in tables.items():
                if re.search(rf"\b{re.escape(name)}\b", query, re.IGNORECASE):
                    _require_columns(store, table, filesystem)
            found = connection.sql(query).to_arrow_table()
        except duckdb.Error as err:
            if failed := _NOT_READ.search(str(err)):
                require_whole(store, tables[failed[1]].keys, tables[failed[1]].schema)
                raise StoreUnavailable(
                    f"{store.uri}: {failed[1]} could not be read, though its objects are whole;"
                    f" run the query again ({err})"
                ) from err
            hint = _RESERVED_HINT if _NEAR_END.search(str(err)) else ""
            raise SettingsError(f"SQL: {err}{hint}") from err
    rows = pl.DataFrame(found)
    return rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def _tables(
    store: ObjectStore, there: Mapping[str, TablePartitions]
) -> Iterator[tuple[str, _Table]]:
    for table, partitions in there.items():
        name = table if table == RESTATEMENTS_TABLE else f"bars_{table}"
        yield name, _Table(partitions.keys, table_schema(table))
    for name, (key, columns) in _REFERENCE.items():
        yield name, _Table([key] if store.head(key) else [], columns)


def _silver_tables(query: str) -> set[str]:
    """Return the silver tables that a query may name, whether there or not."""
    return {name.lower().removeprefix("bars_") for name in _SILVER_NAMES.findall(query)}


def _rows(store: ObjectStore, table: _Table, filesystem: Any) -> Any:
    """Return the rows of a table as Arrow reads them for DuckDB, nothing opened yet.

    Arrow reads local files too: DuckDB could only be given their folder to write to as well.
    """
    parquet = dataset.ParquetFileFormat()
    fragments = [
        parquet.make_fragment(_path(store, key), filesystem=filesystem) for key in table.keys
    ]
    return dataset.FileSystemDataset(fragments, table.schema, parquet, filesystem)


def _path(store: ObjectStore, key: str) -> str:
    return store.location(key).removeprefix("s3://")


def _require_one_query(connection: Any, query: str) -> None:
    kinds = [statement.type for statement in connection.extract_statements(query)]
    if len(kinds) != 1 or kinds[0] not in _QUERIES:
        found = ", then ".join(kind.name for kind in kinds) or "nothing"
        raise SettingsError(
            f"SQL: {found}: expected one query; a lake is read by SQL and never written"
        )


def _require_columns(store: ObjectStore, table: _Table, filesystem: Any) -> None:
    """Refuse objects that lack a column, which Arrow would fill with nulls.

    What cannot be opened is left to the query, which fails only where it reads the object.
    """
    parquet = dataset.ParquetFileFormat()

    def missing(key: str) -> set[str]:
        try:
            found = parquet.inspect(_path(store, key), filesystem)
        except (pa.ArrowException, OSError):
            return set()
        return set(table.schema.names) - set(found.names)

    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
        for key, names in zip(table.keys, pool.map(missing, table.keys), strict=True):
            if names:
                raise DataRefused(
                    f"{store.location(key)}: no column {', '.join(sorted(names))}; {advice(key)}"
                )
