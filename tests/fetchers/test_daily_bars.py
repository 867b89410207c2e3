"""Daily bars from the stand-in through the vendor's real client into the lake."""

from __future__ import annotations

from datetime import date

import polars as pl

from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.lake.store import ObjectStore
from batch.resampler.job import resample
from tests.fetchers.support import new_york, read_silver, sessions_in, vendor

FRIDAY = date(2025, 1, 17)


def test_a_day_goes_from_the_vendor_to_bars(any_lake: ObjectStore, calendar: Calendar) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, 21)) as polygon:
        outcome = polygon.fetch(any_lake)
        truth = polygon.stub.market.rows(FRIDAY, polygon.clock())

    consolidate(any_lake, calendar=calendar)
    resample(any_lake, calendar=calendar)

    daily = read_silver(any_lake, "1d", 2025).with_columns(pl.col("symbol").cast(pl.String))
    assert [str(session) for session in outcome.new_sessions] == sessions_in(any_lake)
    assert outcome.new_sessions == calendar.sessions_between(date(2025, 1, 10), FRIDAY)
    assert daily.filter(date=FRIDAY).drop("split_ratio").equals(truth)
    assert read_silver(any_lake, "5d", 2025)["complete"].any()
    assert outcome.problems == []
