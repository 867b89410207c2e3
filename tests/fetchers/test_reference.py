"""Reference data from the stand-in through the vendor's real client into the lake."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from batch.core import schema
from batch.core.errors import DataRefused, Interrupted
from batch.core.layout import DIVIDENDS, TICKERS
from batch.core.sessions import Calendar
from batch.lake.reference import add_splits, read_reference, read_splits
from batch.runtime.progress import StopRequested, never
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from fetchers.errors import VendorUnavailable
from fetchers.polygon.parsing import Holiday, split_rows
from fetchers.reference import (
    calendar_differences,
    compare_tickers,
    fetch_reference,
)
from fetchers.results import ReferenceFetched
from fetchers.tickers import current_rows
from simulation import vendor_answers
from simulation.vendor_server import Fault, FaultKind
from tests.fetchers.support import FRIDAY, Vendor, new_york, vendor


def try_fetch(
    polygon: Vendor,
    store: ObjectStore,
    *,
    details_per_run: int = 3,
    stop_requested: StopRequested = never,
) -> ReferenceFetched:
    context = polygon.context(store, stop_requested, details_per_run=details_per_run)
    return fetch_reference(context, polygon.client)


def fetch(polygon: Vendor, store: ObjectStore, *, details_per_run: int = 3) -> ReferenceFetched:
    """Fetch, and raise what ended it early."""
    fetched = try_fetch(polygon, store, details_per_run=details_per_run)
    if fetched.error:
        raise fetched.error
    return fetched


def asked(polygon: Vendor, part: str) -> list[str]:
    return [target for target in polygon.stub.asked if part in target]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client ask for pages of seven, so that every list has many."""
    monkeypatch.setattr("fetchers.polygon.client._PAGE", 7)


@pytest.mark.usefixtures("small_pages")
def test_every_page_of_every_list_arrives(any_lake: ObjectStore, calendar: Calendar) -> None:
    first = date(2015, 1, 2)
    with vendor(calendar, new_york(FRIDAY, 16, 21), first=first, symbols=30) as polygon:
        outcome = fetch(polygon, any_lake)
        market, now = polygon.stub.market, polygon.clock()
        tickers, splits, dividends = market.tickers(now), market.splits(now), market.dividends(now)

    table = read_reference(any_lake, TICKERS, schema.TICKERS)
    got = read_reference(any_lake, DIVIDENDS, schema.DIVIDENDS)
    recent = dividends.filter(pl.col("ex_dividend_date") >= FRIDAY - timedelta(days=365))
    assert len(asked(polygon, "cursor=")) > 10
    assert table["symbol"].to_list() == sorted(tickers["ticker"].to_list(), key=str.encode)
    assert (
        table.filter("active").height == tickers.filter("active").height == outcome.active_tickers
    )
    assert tickers.filter(~pl.col("active")).height > 0
    assert read_splits(any_lake).drop("ratio").equals(splits)
    assert splits.height > 10
    assert (
        got.select("symbol", "date", "cash_amount").rows()
        == recent.select("ticker", "ex_dividend_date", "cash_amount")
        .sort("ticker", "ex_dividend_date")
        .rows()
    )
    assert recent.height > 10
    assert outcome.reference_done == ("splits", "holidays", "tickers", "dividends", "details")
    assert outcome.warnings == ()


def test_a_second_run_reads_what_is_recent_and_changes_nothing(
    polygon: Vendor, lake: LocalStore
) -> None:
    fetch(polygon, lake, details_per_run=0)
    before = list(lake.list(""))
    polygon.stub.asked.clear()
    polygon.clock.now += timedelta(minutes=5)

    outcome = fetch(polygon, lake, details_per_run=0)

    assert list(lake.list("")) == before
    assert (outcome.tickers_changed, outcome.splits_changed) == (0, 0)
    assert "execution_date.gte=2024-12-18" in asked(polygon, "splits")[0]
    assert "ex_dividend_date.gte=2024-12-18" in asked(polygon, "dividends")[0]
    assert asked(polygon, "active=false") == []


def test_details_come_within_the_budget_new_tickers_first(
    polygon: Vendor, lake: LocalStore
) -> None:
    fetch(polygon, lake, details_per_run=4)
    first = {target.split("?")[0] for target in asked(polygon, "/tickers/")}
    polygon.stub.asked.clear()

    outcome = fetch(polygon, lake, details_per_run=5)

    second = {target.split("?")[0] for target in asked(polygon, "/tickers/")}
    table = current_rows(read_reference(lake, TICKERS, schema.TICKERS))
    known = table.filter(pl.col("details_date").is_not_null())
    assert (len(first), len(second), first & second) == (4, 5, set())
    assert known.height == 9
    assert known["list_date"].null_count() == 0
    assert outcome.details_never_asked == table.filter("active").height - 9


def test_a_ticker_with_a_slash_is_requested_by_its_own_name(
    polygon: Vendor, lake: LocalStore
) -> None:
    fetch(polygon, lake, details_per_run=200)

    table = current_rows(read_reference(lake, TICKERS, schema.TICKERS))
    slashed = table.filter(pl.col("symbol") == "BF/B").row(0, named=True)
    assert asked(polygon, "/tickers/BF%2FB")
    assert slashed["list_date"] is not None


def test_missing_optional_fields_are_null(polygon: Vendor, lake: LocalStore) -> None:
    fetch(polygon, lake, details_per_run=200)

    table = read_reference(lake, TICKERS, schema.TICKERS)
    funds = table.filter(pl.col("type") == "ETF")
    assert funds.height > 0
    assert funds["cik"].null_count() == funds.height
    assert 0 < table["composite_figi"].null_count() < table.height


def test_a_split_that_is_listed_twice_is_kept_once() -> None:
    def split(ticker: str | None, day: str, before: float, after: float) -> dict[str, Any]:
        return {
            "ticker": ticker, "execution_date": day, "split_from": before, "split_to": after,
        }  # fmt: skip

    rows = split_rows(
        [
            split("A", "2025-01-06", 1, 2),
            split("A", "2025-01-06", 1, 2),
            split("B", "2025-01-06", 1, 3),
            split("B", "2025-01-06", 1, 4),
            split("C", "2025-01-06", 1, 0),
            split(None, "2025-01-06", 1, 2),
            split("D", "soon", 1, 2),
        ]
    )

    assert rows.select("symbol", "split_to").rows() == [("A", 2.0), ("B", 4.0)]


def test_splits_that_somebody_imported_stay(polygon: Vendor, lake: LocalStore) -> None:
    own = pl.DataFrame(
        {"symbol": ["OWN"], "date": [date(2024, 1, 5)], "split_from": [1.0], "split_to": [2.0]}
    )
    add_splits(lake, own, label="own")

    fetch(polygon, lake)

    assert "OWN" in read_splits(lake)["symbol"].to_list()


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("kind", [FaultKind.CUT_JSON, FaultKind.NO_RESULTS, FaultKind.HTML])
def test_a_list_that_breaks_off_on_a_later_page_is_not_taken_for_whole(
    lake: LocalStore, calendar: Calendar, kind: FaultKind
) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, 21), budget_s=0.3) as polygon:
        fetch(polygon, lake)
        before = lake.read(TICKERS)
        polygon.clock.now += timedelta(days=7)
        broken = Fault(kind, on="/v3/reference/tickers", spared=3)
        polygon.stub.faults.append(broken)

        with pytest.raises(VendorUnavailable):
            fetch(polygon, lake)

    assert broken.spared == 0
    assert lake.read(TICKERS) == before


@pytest.mark.usefixtures("small_pages")
def test_a_stopped_run_keeps_its_pages_and_is_continued(
    lake: LocalStore, calendar: Calendar
) -> None:
    first = date(2012, 1, 3)
    with vendor(calendar, new_york(FRIDAY, 16, 21), first=first, symbols=30) as polygon:
        outcome = try_fetch(
            polygon, lake, stop_requested=lambda: len(asked(polygon, "splits")) >= 3
        )
        some = read_splits(lake)
        polygon.stub.asked.clear()
        fetch(polygon, lake)
        truth = polygon.stub.market.splits(polygon.clock())

    assert isinstance(outcome.error, Interrupted)
    assert outcome.reference_done == ()
    assert 0 < some.height < truth.height
    assert "execution_date.gte=" in asked(polygon, "splits")[0]
    assert read_splits(lake).drop("ratio").equals(truth)


def test_a_list_that_shrank_is_refused_and_the_table_left_alone(
    polygon: Vendor, lake: LocalStore
) -> None:
    fetch(polygon, lake)
    before = lake.read(TICKERS)
    whole = polygon.stub.market.tickers
    polygon.stub.market.tickers = lambda now: whole(now).head(20)  # type: ignore[method-assign]

    with pytest.raises(DataRefused, match="the table is left as it was"):
        fetch(polygon, lake)

    assert lake.read(TICKERS) == before


def test_a_ticker_that_left_the_list_becomes_inactive(polygon: Vendor, lake: LocalStore) -> None:
    fetch(polygon, lake)
    whole = polygon.stub.market.tickers
    polygon.stub.market.tickers = lambda now: whole(now).filter(  # type: ignore[method-assign]
        pl.col("ticker") != "NAN"
    )
    polygon.clock.now += timedelta(days=3)

    fetch(polygon, lake)

    table = read_reference(lake, TICKERS, schema.TICKERS).filter(symbol="NAN")
    assert table.select("valid_from", "valid_to", "active").rows() == [
        (FRIDAY, date(2025, 1, 20), True),
        (date(2025, 1, 20), None, False),
    ]


def test_a_dividend_that_the_vendor_takes_back_goes_away(polygon: Vendor, lake: LocalStore) -> None:
    fetch(polygon, lake)
    before = read_reference(lake, DIVIDENDS, schema.DIVIDENDS)
    withdrawn = before.filter(pl.col("date") > date(2025, 1, 2)).row(0, named=True)
    whole = polygon.stub.market.dividends
    polygon.stub.market.dividends = lambda now: whole(now).filter(  # type: ignore[method-assign]
        ~(
            (pl.col("ticker") == withdrawn["symbol"])
            & (pl.col("ex_dividend_date") == withdrawn["date"])
        )
    )

    fetch(polygon, lake)

    after = read_reference(lake, DIVIDENDS, schema.DIVIDENDS)
    assert before.join(after, on=before.columns, how="anti", nulls_equal=True).rows(named=True) == [
        withdrawn
    ]


def test_tickers_that_trade_unlisted_and_the_reverse_are_reported(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.fetch(lake)
    fetch(polygon, lake)

    odd = compare_tickers(polygon.context(lake), ReferenceFetched())

    assert odd.listed_not_traded == ("ZZZQ",)
    assert len(odd.traded_not_listed) >= 1
    assert "1 ticker listed but not traded on 2025-01-17: ZZZQ" in odd.warnings
    assert polygon.progress.warnings[-2:] == list(odd.warnings)


def test_the_vendors_holidays_agree_with_the_calendar(polygon: Vendor, calendar: Calendar) -> None:
    upcoming = polygon.client.upcoming_holidays()

    assert calendar_differences(upcoming, calendar, FRIDAY) == []
    assert any(day.closes_at for day in upcoming)


def test_differences_from_the_calendar_are_reported_day_by_day(
    polygon: Vendor, calendar: Calendar
) -> None:
    upcoming = [day for day in polygon.client.upcoming_holidays() if day.day != date(2025, 2, 17)]
    upcoming = [
        replace(day, closes_at=datetime(2025, 7, 3, 18, 0, tzinfo=UTC))
        if day.day == date(2025, 7, 3)
        else day
        for day in upcoming
    ]
    upcoming.append(Holiday(date(2025, 3, 12), "NYSE", "Day of Mourning"))
    upcoming.append(Holiday(date(2025, 3, 13), "OTC", "Not our exchange"))

    found = calendar_differences(upcoming, calendar, FRIDAY)

    assert len(found) == 3
    assert "2025-03-12: the vendor expects the exchange to be closed (Day of Mourning)" in found[0]
    assert "2025-07-03: the vendor expects a close at 14:00, the calendar at 13:00" in found[1]
    assert "2025-02-17: the calendar has no session, the vendor expects one" in found[2]


@pytest.mark.parametrize(
    "closes_at", [None, datetime(2025, 7, 3, 17, tzinfo=UTC)], ids=["closed", "early close"]
)
def test_a_holiday_that_the_calendar_does_not_reach_is_not_compared(
    calendar: Calendar, closes_at: datetime | None
) -> None:
    last = calendar.last
    today = last - timedelta(days=30)
    beyond = [Holiday(date.max, "NYSE", "The last day", closes_at)]
    within = [Holiday(day, "NYSE", "known") for day in weekdays_without_session(calendar, today)]

    found = calendar_differences(beyond + within, calendar, today)

    assert found == []


def weekdays_without_session(calendar: Calendar, after: date) -> list[date]:
    days = (after + timedelta(days=ahead) for ahead in range(1, (calendar.last - after).days + 1))
    return [day for day in days if day.weekday() < 5 and not calendar.is_session(day)]


def test_an_early_close_on_a_day_without_a_session_is_reported_once(calendar: Calendar) -> None:
    closes_at = datetime(2025, 1, 20, 18, tzinfo=UTC)

    found = calendar_differences(
        [Holiday(date(2025, 1, 20), "NYSE", "MLK", closes_at)], calendar, FRIDAY
    )

    assert len(found) == 1
    assert "expects an early close, the calendar has no session" in found[0]


def test_the_stand_in_refuses_pages_that_the_vendor_would_refuse(polygon: Vendor) -> None:
    answers = vendor_answers.VendorAnswers(polygon.stub.market, polygon.calendar)

    refused = answers.answer(
        "/v3/reference/tickers", {"limit": "5000"}, polygon.clock(), vendor_answers.SessionShape()
    )

    assert refused.status == 400
