"""The system that this one replaces: numbers days per symbol, joins rows back on each day's range.

It finds the first and the last instant of every symbol's days, numbers the days, and joins the
rows that lie between the two instants, so every row of a symbol is held against every day of it.
Windows count each symbol's own days, so its bars are those of the listing anchor; splits inside a
window are not brought to one scale. Two things are kinder here than there: the daily rows are
read once and not for every interval, and years are files, not symbols.
"""

from __future__ import annotations

import duckdb

from benchmarks.contenders.common import THREADS, read_task
from benchmarks.contenders.duckdb_sql import load_daily, register_sessions, write_years

BARS_SQL = """
CREATE OR REPLACE TEMP TABLE bars AS
WITH days AS (
  SELECT symbol, date, min(date) AS first, max(date) AS last FROM daily GROUP BY symbol, date
), numbered AS (
  SELECT symbol, first, last, row_number() OVER (PARTITION BY symbol ORDER BY date) AS day_no
  FROM days
), windows AS (
  SELECT symbol, first, last, (day_no - 1) // {width} AS w FROM numbered
)
SELECT w.symbol, min(w.first) AS start, max(w.last) AS end,
       first(d.open ORDER BY d.date) AS open, max(d.high) AS high, min(d.low) AS low,
       first(d.close ORDER BY d.date DESC) AS close, sum(d.volume) AS volume,
       CASE WHEN sum(d.volume) > 0 AND NOT bool_or(d.vwap IS NULL AND d.volume > 0)
            THEN sum(coalesce(d.vwap, 0.0) * d.volume) / sum(d.volume) END AS vwap,
       CASE WHEN NOT bool_or(d.trades IS NULL AND d.volume > 0)
            THEN sum(d.trades)::BIGINT END AS trades,
       count(*)::INTEGER AS sessions, count(*) = {width} AS complete,
       -- of a window with a split only that it has one is told
       CASE WHEN bool_or(d.split_ratio <> 1.0) THEN 0.0 ELSE 1.0 END AS split_ratio
FROM windows w JOIN daily d ON d.symbol = w.symbol AND d.date >= w.first AND d.date <= w.last
GROUP BY w.symbol, w.w
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
