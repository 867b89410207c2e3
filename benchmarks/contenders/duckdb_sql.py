"""DuckDB: the daily bars read once into a table, then one GROUP BY for each interval."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.contenders.common import ROW_GROUP_ROWS, THREADS, Task, read_task, sessions

SPLITS_SQL = """
CREATE TEMP TABLE splits AS
SELECT symbol, session_no, split_ratio FROM daily WHERE split_ratio <> 1.0
"""

FACTORS_SQL = """
CREATE OR REPLACE TEMP TABLE factors AS
SELECT d.symbol, d.session_no, product(s.split_ratio) AS factor
FROM daily d JOIN splits s
  ON d.symbol = s.symbol AND d.session_no < s.session_no
 AND d.session_no // {width} = s.session_no // {width}
GROUP BY ALL
"""

BARS_SQL = """
CREATE OR REPLACE TEMP TABLE bars AS
WITH rows AS (
  SELECT d.symbol, d.session_no, d.session_no // {width} AS w, trades,
         open / coalesce(factor, 1.0) AS open, high / coalesce(factor, 1.0) AS high,
         low / coalesce(factor, 1.0) AS low, close / coalesce(factor, 1.0) AS close,
         volume * coalesce(factor, 1.0) AS volume, vwap / coalesce(factor, 1.0) AS vwap
  FROM daily d LEFT JOIN factors f ON d.symbol = f.symbol AND d.session_no = f.session_no
), folded AS (
  SELECT symbol, w, arg_min(open, session_no) AS open, max(high) AS high, min(low) AS low,
         arg_max(close, session_no) AS close, sum(volume) AS volume,
         CASE WHEN sum(volume) > 0 AND NOT bool_or(vwap IS NULL AND volume > 0)
              THEN sum(coalesce(vwap, 0.0) * volume) / sum(volume) END AS vwap,
         CASE WHEN NOT bool_or(trades IS NULL AND volume > 0)
              THEN sum(trades)::BIGINT END AS trades,
         count(*)::INTEGER AS sessions
  FROM rows GROUP BY symbol, w
), ratios AS (
  SELECT symbol, session_no // {width} AS w, product(split_ratio) AS split_ratio
  FROM splits GROUP BY ALL
)
SELECT f.symbol, a.day AS start, b.day AS end, open, high, low, close, volume, vwap, trades,
       sessions, b.session_no <= (SELECT max(session_no) FROM daily) AS complete,
       coalesce(r.split_ratio, 1.0) AS split_ratio
FROM folded f
JOIN sessions a ON a.session_no = f.w * {width}
JOIN sessions b ON b.session_no = f.w * {width} + {width} - 1
LEFT JOIN ratios r ON r.symbol = f.symbol AND r.w = f.w
"""

COPY_SQL = """
COPY (SELECT * FROM bars WHERE year(start) = {year} ORDER BY symbol, start)
TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE {rows})
"""


def main() -> None:
    """Fold the daily bars of a lake."""
    task = read_task()
    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}; SET preserve_insertion_order = false")
    register_sessions(connection)
    load_daily(connection, task)
    connection.execute(SPLITS_SQL)
    for width in task.intervals:
        connection.execute(FACTORS_SQL.format(width=width))
        connection.execute(BARS_SQL.format(width=width))
        write_years(connection, task, width)


def register_sessions(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``sessions``: day and session_no."""
    days = sessions().days
    table = pa.table({"day": pa.array(days).cast(pa.date32()), "session_no": np.arange(len(days))})
    connection.register("sessions_arrow", table)
    connection.execute("CREATE TEMP TABLE sessions AS SELECT * FROM sessions_arrow")


def load_daily(connection: duckdb.DuckDBPyConnection, task: Task) -> None:
    """Make the table ``daily``, with session_no."""
    files = [str(path) for path in task.daily]
    connection.execute(
        f"CREATE TEMP TABLE daily AS SELECT d.*, s.session_no"
        f" FROM read_parquet({files}, hive_partitioning = false) d"
        f" JOIN sessions s ON d.date = s.day"
    )


def write_years(connection: duckdb.DuckDBPyConnection, task: Task, width: int) -> None:
    """Write the table ``bars``, a file for each year that has any."""
    found = connection.execute("SELECT DISTINCT year(start) FROM bars ORDER BY 1").fetchall()
    for (year,) in found:
        path = task.path(width, year)
        connection.execute(COPY_SQL.format(year=year, path=path, rows=ROW_GROUP_ROWS))


if __name__ == "__main__":
    main()
