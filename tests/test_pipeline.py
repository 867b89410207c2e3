"""The main job from deliveries to bars, on both stores."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from batch.audit.verify import verify
from batch.consolidator.job import consolidate
from batch.core.sessions import EARLIEST, Calendar, load_calendar
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.storage.store import ObjectStore
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

    assert (daily.published, bars.published) == ((), ())
    assert list(any_lake.list("")) == before


def test_sessions_before_1970_have_negative_numbers_and_bars(any_lake: ObjectStore) -> None:
    calendar = load_calendar(EARLIEST)
    days = [date(1928, 10, 1), date(1952, 3, 3), date(1969, 12, 30), date(1970, 1, 2)]
    land_rows(
        any_lake, [bar("A", day) for day in days], calendar, received_at=received_after(days[-1])
    )

    consolidate(any_lake)
    resample(any_lake, intervals=[3])
    outcome = verify(any_lake)

    last = read(any_lake, "3d", 1969)
    assert outcome.differences == []
    assert last.select("start", "end").row(0) == (date(1969, 12, 29), date(1969, 12, 31))
    assert calendar.session_no(date(1969, 12, 31)) == -1


@pytest.mark.parametrize(("before", "after"), [(1.0, 7.0), (10.0, 1.0)])
def test_a_split_that_waits_over_a_year_end_reaches_the_next_bar(
    any_lake: ObjectStore, calendar: Calendar, before: float, after: float
) -> None:
    for session in (date(2024, 12, 27), date(2025, 1, 8)):
        land_rows(any_lake, [bar("A", session)], calendar, received_at=received_after(session))
    split = {"symbol": "A", "date": date(2024, 12, 31), "split_from": before, "split_to": after}
    add_splits(any_lake, pl.DataFrame([split]), label="test")

    consolidate(any_lake, calendar=calendar)

    ratios = [read(any_lake, "1d", year)["split_ratio"].to_list() for year in (2024, 2025)]
    assert ratios == [[1.0], [after / before]]
