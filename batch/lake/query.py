"""SQL over the tables of a lake, through DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from batch.core.layout import (
    DIVIDENDS,
    RESTATEMENTS_TABLE,
    SPLITS,
    TICKERS,
    Anchor,
    parse_bars_table,
)
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
_NOT_READ = "reading the Arrow source failed"
_SILVER_NAMES = re.compile(rf"\b(?:bars_\w+|{RESTATEMENTS_TABLE})\b", re.IGNORECASE)
_OPENED_AT_ONCE = 8
_NO_TABLE = re.compile(r"Table with name bars_(\w+) does not exist", re.IGNORECASE)
_NEAR_END = re.compile(r'syntax error at or near "end"', re.IGNORECASE)
_RESERVED_HINT = (
    '\n\nend is a reserved word in SQL: write the column in double quotes, "end",'
    " or use window_end, which holds the same"
)
_ADJUSTED = """
CREATE VIEW adjusted.{name} AS
WITH later AS (
    SELECT
        symbol,
        {key} AS before,
        coalesce(lag({key}) OVER (PARTITION BY symbol ORDER BY {key}), DATE '-infinity') AS since,
        product(split_ratio) OVER (
            PARTITION BY symbol ORDER BY {key} DESC ROWS UNBOUNDED PRECEDING
        ) AS factor
    FROM main.{name}
    WHERE split_ratio <> 1
)
SELECT bars.* REPLACE ({scaled})
FROM main.{name} AS bars
LEFT JOIN later
    ON later.symbol = bars.symbol AND bars.{key} >= later.since AND bars.{key} < later.before
"""
_SCALED = ", ".join(
    [
        *(f"bars.{name} / coalesce(factor, 1) AS {name}" for name in (*schema.PRICES, "vwap")),
        "bars.volume * coalesce(factor, 1) AS volume",
    ]
)


@dataclass(frozen=True, slots=True)
class _Table:
    """A view of the lake: its objects, and the columns that each of them must have."""

    keys: Sequence[str]
    schema: Any


def run_query(store: ObjectStore, query: str) -> pl.DataFrame:
    """Run one DuckDB query and return its rows, instants in UTC.

    It sees a view of every table that the lake has, and of the reference tables; and in the schema
    ``adjusted`` one of each table of bars, scaled as ``Lake.bars`` does for splits. A view opens
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
    named = {
        name: table
        for name, table in tables.items()
        if re.search(rf"\b{re.escape(name)}\b", query, re.IGNORECASE)
    }
    filesystem = store.arrow_filesystem()
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        _create_views(connection, store, tables, filesystem)
        # From here on DuckDB opens no file, loads no extension, and neither can be undone.
        # https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            _require_one_query(connection, query)
            for silver in _silver_tables(query):
                require_recorded(store, there.get(silver) or TablePartitions(silver, {}))
            for table in named.values():
                _require_columns(store, table, filesystem)
            found = connection.sql(query).to_arrow_table()
        except duckdb.Error as err:
            if _NOT_READ in str(err):
                read = named or tables  # a query may put a name together itself
                for table in read.values():
                    require_whole(store, table.keys, table.schema)
                raise StoreUnavailable(
                    f"{store.uri}: {' or '.join(read)} could not be read, though all files are"
                    f" intact; run the query again ({err})"
                ) from err
            if unmade := _never_made(str(err), tables):
                raise SettingsError(f"SQL: {store.uri} {unmade}") from err
            hint = _RESERVED_HINT if _NEAR_END.search(str(err)) else ""
            raise SettingsError(f"SQL: {err}{hint}") from err
    rows = pl.DataFrame(found)
    return rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))


def _create_views(
    connection: Any, store: ObjectStore, tables: Mapping[str, _Table], filesystem: Any
) -> None:
    """Create a view of each table; ``window_end`` is ``end`` under a name that needs no quotes."""
    connection.execute("CREATE SCHEMA adjusted")
    for name, table in tables.items():
        rows = connection.from_arrow(_rows(store, table, filesystem))
        if "end" in table.schema.names:
            rows = rows.project('*, "end" AS window_end')
        rows.create_view(name)
        if "split_ratio" in table.schema.names:
            key = "start" if "start" in table.schema.names else "date"
            connection.execute(_ADJUSTED.format(name=name, key=key, scaled=_SCALED))


def _tables(
    store: ObjectStore, there: Mapping[str, TablePartitions]
) -> Iterator[tuple[str, _Table]]:
    for table, partitions in there.items():
        name = table if table == RESTATEMENTS_TABLE else f"bars_{table}"
        yield name, _Table(partitions.keys, table_schema(table))
    for name, (key, columns) in _REFERENCE.items():
        yield name, _Table([key] if store.head(key) else [], columns)


def _never_made(error: str, tables: Iterable[str]) -> str | None:
    """Return what to do about a table of bars that DuckDB misses; None for any other error."""
    found = _NO_TABLE.search(error)
    named = parse_bars_table(found[1].lower()) if found else None
    if found is None or named is None:
        return None
    width, anchor = named
    make = "ohlcv consolidate" if width == 1 else f"ohlcv resample --interval {width}"
    make += " --anchor listing" if anchor is Anchor.LISTING else ""
    bars = [name for name in tables if name.startswith("bars_")]
    has = f"it has {', '.join(bars)}" if bars else "it has no bars yet"
    return f"has no table bars_{found[1].lower()}: `{make}` makes it; {has}"


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
