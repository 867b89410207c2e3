"""A year of the whole market from the stand-in, in a process of its own, to bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from fetchers.context import FetchContext
from fetchers.fetch import fetch
from fetchers.request import FetchRequest, SessionRange
from fetchers.settings import FetchSettings
from simulation.vendor_market import LATE_PRINTS_AFTER
from tests.fetchers.support import KeptProgress
from tests.fetchers.test_commands import vendor_stub


@pytest.mark.slow
def test_8000_symbols_of_120_sessions_become_bars(lake: LocalStore, calendar: Calendar) -> None:
    settled = datetime.now(UTC) - LATE_PRINTS_AFTER - timedelta(hours=1)
    newest = calendar.newest_closed(settled)
    last_no = calendar.session_no(newest)
    first = calendar.session_at(last_no - 119)
    with vendor_stub("--symbols", "8000", "--years", "0.6") as base_url:
        settings = FetchSettings(
            polygon_base_url=base_url, polygon_requests_per_minute=0, downloads=4
        )
        fetched = fetch(
            FetchContext(lake, settings, calendar, KeptProgress()),
            {"POLYGON_API_KEY": "any"},
            FetchRequest(SessionRange(first, newest), reference=False),
        )
    consolidate(lake, calendar=calendar)
    resample(lake, calendar=calendar)

    assert fetched.bars is not None
    assert (fetched.problems, fetched.bars.incomplete, fetched.bars.left) == ([], [], [])
    assert len(fetched.bars.new_sessions) == 120
    assert fetched.bars.rows > 900_000
    daily = pl.scan_parquet(lake.root / "silver/1d/**/*.parquet", hive_partitioning=False)
    assert daily.select(pl.len()).collect().item() == fetched.bars.rows
    split = daily.filter(pl.col("split_ratio") != 1).select("symbol").unique()
    totals = per_symbol(daily, split)
    for interval in (3, 5, 8, 13, 21, 34):
        bars = pl.scan_parquet(
            lake.root / f"silver/{interval}d/**/*.parquet", hive_partitioning=False
        )
        sums = bars.select(pl.col("sessions").sum(), pl.col("end").max()).collect()
        assert sums["sessions"].item() == fetched.bars.rows
        assert sums["end"].item() >= newest
        assert_frame_equal(per_symbol(bars, split), totals)


def per_symbol(rows: pl.LazyFrame, without: pl.LazyFrame) -> pl.DataFrame:
    """Return what folding into any windows must leave as it is, symbols with splits left out."""
    return (
        rows.join(without, on="symbol", how="anti")
        .group_by("symbol")
        .agg(pl.col("high").max(), pl.col("low").min(), pl.col("volume", "trades").sum())
        .sort("symbol")
        .collect()
    )
