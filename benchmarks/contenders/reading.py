"""Questions that a reader asks: one symbol's whole history, and one day of all symbols.

Prints how long the answer took, without starting the interpreter, and what it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from benchmarks.contenders.common import THREADS
from ohlcv import Lake


def ours(lake: Path, table: str, symbol: str | None, day: date | None) -> pl.DataFrame:
    """Ask the read API."""
    return Lake.open(lake).bars(table, symbols=symbol, start=day, end=day, adjusted=False)


def polars(lake: Path, table: str, symbol: str | None, day: date | None) -> pl.DataFrame:
    """Scan all partitions of the table."""
    rows = pl.scan_parquet(lake / "silver" / table / "*/*.parquet", hive_partitioning=False)
    chosen = pl.col("symbol") == symbol if symbol else pl.col("date") == day
    return rows.filter(chosen).collect()


def duckdb_sql(lake: Path, table: str, symbol: str | None, day: date | None) -> pl.DataFrame:
    """Query all partitions of the table."""
    connection = duckdb.connect(config={"threads": THREADS})
    rows = f"read_parquet('{lake}/silver/{table}/*/*.parquet', hive_partitioning = false)"
    column = "symbol" if symbol else "date"
    query = f"SELECT * FROM {rows} WHERE {column} = ?"
    return connection.sql(query, params=[symbol or day]).pl()


READERS: dict[str, Callable[[Path, str, str | None, date | None], pl.DataFrame]] = {
    "ours": ours,
    "polars": polars,
    "duckdb_sql": duckdb_sql,
}


def main() -> None:
    """Answer one question."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--table", default="1d")
    parser.add_argument("--symbol")
    parser.add_argument("--day", type=date.fromisoformat)
    given = parser.parse_args()
    started = time.perf_counter()
    rows = READERS[given.reader](given.lake, given.table, given.symbol, given.day)
    answer_s = time.perf_counter() - started
    answer = {"rows": rows.height, "volume": rows["volume"].sum()}
    print(json.dumps({"answer_s": answer_s, "answer": answer}))


if __name__ == "__main__":
    main()
