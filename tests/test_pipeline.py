"""The main job from deliveries to bars, on both stores."""

from __future__ import annotations

import polars as pl

from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.lake.store import ObjectStore
from batch.resampler.job import resample
from tests.support.bars import bar, land_rows, received_after


def read(store: ObjectStore, table: str, year: int) -> pl.DataFrame:
    with store.local_copy(f"silver/{table}/year={year}/data.parquet") as path:
        return pl.read_parquet(path)


def test_a_correction_reaches_the_bars_and_the_restatements(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    first, second = calendar.sessions_between(*(calendar.session_at(n) for n in (14000, 14001)))
    land_rows(any_lake, [bar("A", first, 10.0)], calendar, received_at=received_after(first))
    land_rows(any_lake, [bar("A", second, 11.0)], calendar, received_at=received_after(second))
    consolidate(any_lake, calendar=calendar)
    resample(any_lake, intervals=[5], calendar=calendar)
    corrected = bar("A", first, 12.0)
    land_rows(any_lake, [corrected], calendar, received_at=received_after(second, days=2))

    consolidate(any_lake, calendar=calendar)
    resample(any_lake, intervals=[5], calendar=calendar)

    bars = read(any_lake, "5d", first.year)
    restated = read(any_lake, "restatements", first.year)
    assert bars.select("open", "high", "close", "sessions", "complete").row(0) == (
        12.0,
        12.0,
        11.0,
        2,
        False,
    )
    assert restated.filter(field="close").select("old", "new").row(0) == (10.0, 12.0)


def test_a_second_run_writes_nothing(any_lake: ObjectStore, calendar: Calendar) -> None:
    session = calendar.session_at(14000)
    land_rows(any_lake, [bar("A", session)], calendar, received_at=received_after(session))
    consolidate(any_lake, calendar=calendar)
    resample(any_lake, calendar=calendar)
    before = list(any_lake.list(""))

    daily = consolidate(any_lake, calendar=calendar)
    bars = resample(any_lake, calendar=calendar)

    assert (daily.published, bars.published) == ([], [])
    assert list(any_lake.list("")) == before
