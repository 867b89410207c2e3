"""The system that this one replaces: rows numbered per symbol, joined back on ranges of dates.

Windows count each symbol's own rows, so its bars are those of the listing anchor; splits
inside a window are not brought to one scale.
"""

from __future__ import annotations

import duckdb

from benchmarks.contenders.common import THREADS, read_task
from benchmarks.contenders.duckdb_sql import load_daily, register_sessions, write_years

BARS_SQL = """
CREATE OR REPLACE TEMP TABLE bars AS
WITH numbered AS (
  SELECT symbol, date,
         (row_number() OVER (PARTITION BY symbol ORDER BY date) - 1) // {width} AS w
  FROM daily
), windows AS (
  SELECT symbol, w, min(date) AS start, max(date) AS end FROM numbered GROUP BY symbol, w
)
SELECT w.symbol, w.start, w.end, arg_min(d.open, d.date) AS open, max(d.high) AS high,
       min(d.low) AS low, arg_max(d.close, d.date) AS close, sum(d.volume) AS volume,
       CASE WHEN sum(d.volume) > 0 AND NOT bool_or(d.vwap IS NULL AND d.volume > 0)
            THEN sum(coalesce(d.vwap, 0.0) * d.volume) / sum(d.volume) END AS vwap,
       CASE WHEN NOT bool_or(d.trades IS NULL AND d.volume > 0)
            THEN sum(d.trades)::BIGINT END AS trades,
       count(*)::INTEGER AS sessions, count(*) = {width} AS complete,
       product(d.split_ratio) AS split_ratio
FROM windows w JOIN daily d ON d.symbol = w.symbol AND d.date BETWEEN w.start AND w.end
GROUP BY w.symbol, w.start, w.end
"""


def main() -> None:
    """Fold the daily bars of a lake."""
    task = read_task()
    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}; SET preserve_insertion_order = false")
    register_sessions(connection)
    load_daily(connection, task)
    for width in task.intervals:
        connection.execute(BARS_SQL.format(width=width))
        write_years(connection, task, width)


if __name__ == "__main__":
    main()
