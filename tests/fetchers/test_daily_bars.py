"""Daily bars from the stand-in through the vendor's real client into the lake."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import Interrupted
from batch.core.sessions import Calendar
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from fetchers.request import SessionRange
from fetchers.results import BarsFetched
from simulation.vendor_market import FolderMarket
from tests.fetchers.support import (
    FRIDAY,
    Vendor,
    deliveries,
    new_york,
    read_silver,
    sessions_in,
    vendor,
)
from tests.support.bars import bar, land_rows, received_after


def daily(store: ObjectStore, year: int, session: date) -> pl.DataFrame:
    rows = read_silver(store, "1d", year).with_columns(pl.col("symbol").cast(pl.String))
    return rows.filter(date=session).drop("split_ratio")


def test_a_day_goes_from_the_vendor_to_bars(
    any_lake: ObjectStore, polygon: Vendor, calendar: Calendar
) -> None:
    outcome = polygon.fetch(any_lake)

    consolidate(any_lake, calendar=calendar)
    resample(any_lake, calendar=calendar)

    truth = polygon.stub.market.rows(FRIDAY, polygon.clock())
    assert [str(session) for session in outcome.new_sessions] == sessions_in(any_lake)
    assert outcome.new_sessions == calendar.sessions_between(date(2025, 1, 10), FRIDAY)
    assert daily(any_lake, 2025, FRIDAY).equals(truth)
    assert read_silver(any_lake, "5d", 2025)["complete"].any()
    assert outcome.problems == []


def test_bars_are_requested_raw_and_without_otc(polygon: Vendor, lake: LocalStore) -> None:
    polygon.fetch(lake, SessionRange(FRIDAY, FRIDAY))

    (target,) = polygon.stub.asked
    assert "/v2/aggs/grouped/locale/us/market/stocks/2025-01-17?" in target
    assert "adjusted=false" in target
    assert "include_otc=false" in target


@pytest.mark.parametrize(
    ("minute", "newest"), [(4, "2025-01-16"), (21, "2025-01-17")], ids=["16:04", "16:21"]
)
def test_today_counts_once_its_session_has_been_closed_long_enough(
    lake: LocalStore, calendar: Calendar, minute: int, newest: str
) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, minute)) as polygon:
        polygon.fetch(lake)

    assert sessions_in(lake)[-1] == newest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("day", "hour", "minute", "newest"),
    [
        pytest.param(date(2024, 11, 29), 13, 6, "2024-11-29", id="early close"),
        pytest.param(date(2024, 11, 29), 13, 4, "2024-11-27", id="just before it is due"),
        pytest.param(date(2024, 11, 4), 16, 6, "2024-11-04", id="first day of winter time"),
        pytest.param(date(2025, 3, 10), 16, 4, "2025-03-07", id="summer time, too early"),
        pytest.param(date(2025, 3, 10), 16, 6, "2025-03-10", id="first day of summer time"),
    ],
)
def test_closes_are_those_of_the_exchange_on_that_day(
    lake: LocalStore, calendar: Calendar, day: date, hour: int, minute: int, newest: str
) -> None:
    with vendor(calendar, new_york(day, hour, minute), symbols=20) as polygon:
        polygon.fetch(lake)

    assert sessions_in(lake)[-1] == newest


@pytest.mark.parametrize("day", [date(2024, 12, 25), date(2025, 1, 9)])
def test_a_day_without_a_session_is_reported_and_only_the_trailing_ones_are_fetched(
    lake: LocalStore, calendar: Calendar, day: date
) -> None:
    with vendor(calendar, new_york(day - timedelta(days=1), 18), symbols=20) as polygon:
        polygon.fetch(lake)
        polygon.clock.now = new_york(day, 18)
        polygon.stub.asked.clear()

        outcome = polygon.fetch(lake)

    assert f"{day}: no session;" in polygon.progress.notes[-1]
    assert outcome.new_sessions == []
    assert str(day) not in polygon.sessions_asked


def test_asking_for_a_holiday_asks_the_vendor_nothing(polygon: Vendor, lake: LocalStore) -> None:
    outcome = polygon.fetch(lake, SessionRange(date(2025, 1, 9), date(2025, 1, 9), again=True))

    assert "no session of XNYS, the exchange is closed; nothing to fetch" in outcome.summary
    assert polygon.stub.asked == []
    assert outcome.problems == []


def test_the_closure_of_2025_01_09_leaves_no_gap_and_moves_no_window(
    lake: LocalStore, calendar: Calendar
) -> None:
    with vendor(calendar, new_york(date(2025, 1, 14), 18)) as polygon:
        polygon.fetch(lake, SessionRange(date(2025, 1, 2), date(2025, 1, 14)))
        asked = polygon.sessions_asked

    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[5], calendar=calendar)

    windows = read_silver(lake, "5d", 2025).select("start", "end", "sessions").unique()
    assert "2025-01-09" not in asked
    for start, end, sessions in windows.filter(pl.col("sessions") == 5).iter_rows():
        assert len(calendar.sessions_between(start, end)) == sessions


def test_a_second_run_of_the_day_keeps_nothing_new(polygon: Vendor, lake: LocalStore) -> None:
    polygon.fetch(lake)
    before = list(lake.list(""))
    polygon.clock.now += timedelta(minutes=30)

    outcome = polygon.fetch(lake)

    assert list(lake.list("")) == before
    assert outcome.unchanged_sessions == 6
    assert (outcome.new_sessions, outcome.changed_sessions, outcome.keys) == ([], [], [])


def test_a_correction_two_days_later_ends_in_restatements(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    tuesday = date(2025, 1, 14)
    with vendor(calendar, new_york(tuesday, 16, 21)) as polygon:
        polygon.fetch(any_lake)
        consolidate(any_lake, calendar=calendar)
        first = polygon.stub.market.rows(tuesday, polygon.clock())
        polygon.clock.now = new_york(date(2025, 1, 16), 16, 21)

        outcome = polygon.fetch(any_lake)
        final = polygon.stub.market.rows(tuesday, polygon.clock())

    consolidate(any_lake, calendar=calendar)
    restated = read_silver(any_lake, "restatements", 2025).filter(date=tuesday)
    corrected = first.join(final, on=["symbol", "volume"], how="anti")
    assert corrected.height > 0
    assert tuesday in outcome.changed_sessions
    assert daily(any_lake, 2025, tuesday).equals(final)
    assert restated.filter(field="volume")["symbol"].to_list() == corrected["symbol"].to_list()
    assert restated.filter(field="volume")["old"].to_list() == corrected["volume"].to_list()


def test_sessions_older_than_the_trailing_ones_are_left_alone(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.fetch(lake, SessionRange(date(2024, 12, 2), FRIDAY))
    polygon.stub.asked.clear()

    polygon.fetch(lake)

    assert polygon.sessions_asked == [
        "2025-01-10", "2025-01-13", "2025-01-14", "2025-01-15", "2025-01-16", "2025-01-17",
    ]  # fmt: skip


def test_a_repeat_of_the_vendor_does_not_undo_a_correction_of_ones_own(
    polygon: Vendor, lake: LocalStore, calendar: Calendar
) -> None:
    polygon.fetch(lake)
    symbol = polygon.stub.market.rows(FRIDAY, polygon.clock())["symbol"][0]
    own = bar(symbol, FRIDAY, 123.0)
    land_rows(lake, [own], calendar, received_at=received_after(FRIDAY, 1), source="import")
    before = deliveries(lake)

    polygon.clock.now = new_york(FRIDAY, 18)
    polygon.fetch(lake)
    consolidate(lake, calendar=calendar)

    assert deliveries(lake) == before
    assert daily(lake, 2025, FRIDAY).filter(symbol=symbol)["close"][0] == 123.0


def test_a_refused_row_is_kept_with_its_reason_and_too_many_are_a_problem(
    lake: LocalStore, calendar: Calendar
) -> None:
    class Broken:
        def rows(self, session: date, now: Any) -> pl.DataFrame:
            rows = [bar(f"S{number}", session) for number in range(50)]
            rows[3]["low"] = 11.0
            return pl.DataFrame(rows)

    with vendor(calendar, new_york(FRIDAY, 17), market=Broken()) as polygon:  # type: ignore[arg-type]
        outcome = polygon.fetch(lake, SessionRange(FRIDAY, FRIDAY))

    assert "1 of 50 rows refused" in outcome.problems[0]
    assert outcome.rows == 49
    assert len(list(lake.list("bronze/rejected/date=2025-01-17/"))) == 1


class StopsAfter:
    """Requests a stop once so many sessions have been requested."""

    def __init__(self, polygon: Vendor, sessions: int) -> None:
        self._polygon = polygon
        self._sessions = sessions

    def __call__(self) -> bool:
        return len(self._polygon.stub.asked) >= self._sessions


def backfill(polygon: Vendor, lake: ObjectStore, stop: Any) -> BarsFetched:
    wanted = SessionRange(date(2024, 11, 1), FRIDAY)
    return polygon.try_fetch(lake, wanted, downloads=3, stop_requested=stop)


@pytest.mark.slow
def test_a_backfill_that_was_stopped_is_continued_where_it_stopped(
    polygon: Vendor, any_lake: ObjectStore, calendar: Calendar
) -> None:
    wanted = [str(s) for s in calendar.sessions_between(date(2024, 11, 1), FRIDAY)]
    outcome = backfill(polygon, any_lake, StopsAfter(polygon, 20))
    there = sessions_in(any_lake)
    polygon.stub.asked.clear()

    again = backfill(polygon, any_lake, lambda: False)

    assert isinstance(outcome.error, Interrupted)
    assert again.error is None
    assert 0 < len(there) < len(wanted)
    assert there == wanted[: len(there)]
    assert [str(session) for session in outcome.left] == wanted[len(there) :]
    assert sorted(polygon.sessions_asked) == wanted[len(there) :]
    assert sessions_in(any_lake) == wanted
    assert len(deliveries(any_lake)) == len(wanted)


def test_a_backfill_that_was_stopped_has_no_request_under_way(
    polygon: Vendor, lake: LocalStore
) -> None:
    before = {*threading.enumerate()}

    stopped = backfill(polygon, lake, StopsAfter(polygon, 20))
    requesting = [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith("ThreadPoolExecutor")
    ]

    assert isinstance(stopped.error, Interrupted)
    assert requesting == []


@pytest.mark.slow
def test_a_lake_filled_in_two_goes_equals_one_filled_in_one(
    polygon: Vendor, lake: LocalStore, tmp_path: Any, calendar: Calendar
) -> None:
    other = LocalStore(tmp_path / "other")
    backfill(polygon, other, lambda: False)
    polygon.stub.asked.clear()
    stopped = backfill(polygon, lake, StopsAfter(polygon, 9))
    backfill(polygon, lake, lambda: False)

    for store in (lake, other):
        consolidate(store, calendar=calendar)
        resample(store, calendar=calendar)

    for table in ("1d", "3d", "5d", "8d", "13d", "21d", "34d"):
        for year in (2024, 2025):
            key = f"silver/{table}/year={year}/data.parquet"
            assert lake.read(key) == other.read(key), key
    assert isinstance(stopped.error, Interrupted)


@pytest.mark.slow
@pytest.mark.corpus
def test_the_real_deliveries_come_through_the_vendor_as_they_are(
    lake: LocalStore, calendar: Calendar, corpus: Any
) -> None:
    market = FolderMarket(corpus / "us-stocks-deliveries")
    monday = date(2015, 7, 13)
    with vendor(calendar, new_york(monday, 17, 30), market=market, connections=1) as polygon:
        outcome = polygon.fetch(lake)
        received = market.rows(monday, polygon.clock())

    consolidate(lake, calendar=calendar)
    kept = daily(lake, 2015, monday)
    assert outcome.newest_due == monday
    assert received.height > 6_000
    assert 0.98 * received.height < kept.height <= received.height
    assert {"NAN", "INF", "TRUE"} & set(kept["symbol"].to_list())


@pytest.mark.slow
@pytest.mark.corpus
def test_the_real_empty_delivery_is_filled_by_the_next_days_one(
    lake: LocalStore, calendar: Calendar, corpus: Any
) -> None:
    market = FolderMarket(corpus / "us-stocks-deliveries")
    empty = date(2015, 6, 10)
    with vendor(calendar, new_york(empty, 17, 30), market=market, connections=1) as polygon:
        that_day = polygon.fetch(lake)
        polygon.clock.now = new_york(date(2015, 6, 11), 17, 30)

        next_day = polygon.fetch(lake)

    assert [note.session for note in that_day.incomplete] == [empty]
    assert empty in next_day.new_sessions
    assert next_day.incomplete == []
