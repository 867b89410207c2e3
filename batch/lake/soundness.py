"""What a reader may rely on in the bars that it computes with."""

from __future__ import annotations

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.layout import partition_key, table_prefix
from batch.core.sessions import Calendar
from batch.storage.scan import REBUILD


def require_sound(bars: pl.DataFrame, table: str, calendar: Calendar, *, label: str) -> None:
    """Check daily or N-session bars that were read from a table and sorted.

    Each has its symbol and its dates, and no other bar has both; the dates are sessions,
    prices are finite and above zero, volumes finite and not negative. ``label`` is the root of
    the lake.

    Raises:
        DataRefused: Names the file of a bar that is not so, the table of one that is there twice.
    """
    key = "date" if "date" in bars.columns else "start"
    dates = [pl.col(name) for name in ("date", "start", "end") if name in bars.columns]
    sessions = pl.Series(calendar.days).cast(pl.Date).implode()
    prices = [pl.col(name) for name in schema.PRICES]
    volume = pl.col("volume")
    rules = {
        "no symbol": pl.col("symbol").is_not_null(),
        "a date that is not a session": pl.all_horizontal([day.is_in(sessions) for day in dates]),
        "a price that is not finite and above zero": pl.all_horizontal(
            [price.is_finite() & (price > 0) for price in prices]
        ),
        "a volume that is not finite or is negative": volume.is_finite() & (volume >= 0),
    }
    for what, rule in rules.items():
        broken = bars.filter(~rule.fill_null(value=False))
        if broken.height:
            symbol, day = broken.select("symbol", key).row(0)
            where = partition_key(table, day.year) if day else table_prefix(table)
            raise DataRefused(f"{label}/{where}: {symbol} on {day} has {what}; {REBUILD}")
    twice = bars.filter(pl.struct("symbol", key).is_duplicated())
    if twice.height:
        # The other one may lie in the file of another year.
        symbol, day = twice.select("symbol", key).row(0)
        where = table_prefix(table)
        raise DataRefused(f"{label}/{where}: {symbol} on {day} has two bars; {REBUILD}")
