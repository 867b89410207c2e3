"""The table of tickers over time."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.frames import empty_frame
from batch.core.layout import TICKERS
from batch.core.sessions import Calendar
from batch.lake.reference import rewrite_reference
from batch.storage.local import LocalStore
from fetchers.context import FetchContext
from fetchers.polygon.parsing import TICKERS_LISTED, Details
from fetchers.reference import compare_tickers
from fetchers.results import ReferenceFetched
from fetchers.settings import FetchSettings
from fetchers.tickers import apply_details, apply_listing, choose_for_details, current_rows
from tests.fetchers.support import Clock, KeptProgress
from tests.support.bars import bar, land_rows, received_after

MONDAY, TUESDAY, FRIDAY = date(2025, 1, 13), date(2025, 1, 14), date(2025, 1, 17)
EMPTY = empty_frame(schema.TICKERS)


def listed(*tickers: tuple[str, dict[str, Any]]) -> pl.DataFrame:
    rows = [
        {
            "symbol": symbol,
            "name": f"{symbol} Inc.",
            "market": "stocks",
            "locale": "us",
            "primary_exchange": "XNYS",
            "type": "CS",
            "active": True,
            **values,
        }
        for symbol, values in tickers
    ]
    return pl.DataFrame(rows, schema=TICKERS_LISTED)


def versions(table: pl.DataFrame, symbol: str, *columns: str) -> list[tuple[Any, ...]]:
    return table.filter(symbol=symbol).select("valid_from", "valid_to", *columns).rows()


def test_a_ticker_holds_from_the_day_on_which_it_was_learnt() -> None:
    table = apply_listing(EMPTY, listed(("NAN", {}), ("A", {})), MONDAY)

    assert table["symbol"].to_list() == ["A", "NAN"]
    assert versions(table, "NAN", "name", "active") == [(MONDAY, None, "NAN Inc.", True)]


def test_an_unchanged_listing_changes_nothing() -> None:
    table = apply_listing(EMPTY, listed(("A", {"cik": "1"}), ("B", {})), MONDAY)

    assert apply_listing(table, listed(("B", {}), ("A", {"cik": "1"})), TUESDAY).equals(table)


def test_a_changed_name_begins_a_row_and_ends_the_one_before() -> None:
    table = apply_listing(EMPTY, listed(("META", {"name": "Facebook"})), MONDAY)

    table = apply_listing(table, listed(("META", {"name": "Meta"})), FRIDAY)

    assert versions(table, "META", "name") == [
        (MONDAY, FRIDAY, "Facebook"),
        (FRIDAY, None, "Meta"),
    ]


def test_a_second_change_on_one_day_leaves_one_row_of_that_day() -> None:
    table = apply_listing(EMPTY, listed(("A", {"name": "one"})), MONDAY)
    table = apply_listing(table, listed(("A", {"name": "two"})), TUESDAY)

    table = apply_listing(table, listed(("A", {"name": "three"})), TUESDAY)

    assert versions(table, "A", "name") == [(MONDAY, TUESDAY, "one"), (TUESDAY, None, "three")]


def test_a_delisting_begins_an_inactive_row() -> None:
    table = apply_listing(EMPTY, listed(("A", {})), MONDAY)

    gone = listed(("A", {"active": False, "delisted_date": TUESDAY}))
    table = apply_listing(table, gone, FRIDAY)

    assert versions(table, "A", "active", "delisted_date") == [
        (MONDAY, FRIDAY, True, None),
        (FRIDAY, None, False, TUESDAY),
    ]


def test_a_ticker_that_no_list_has_any_more_becomes_inactive() -> None:
    table = apply_listing(EMPTY, listed(("A", {}), ("B", {})), MONDAY)

    table = apply_listing(table, listed(("A", {})), FRIDAY, gone=["B"])

    assert versions(table, "B", "active") == [(MONDAY, FRIDAY, True), (FRIDAY, None, False)]


def test_details_are_kept_when_the_list_changes() -> None:
    table = apply_listing(EMPTY, listed(("A", {"name": "one"})), MONDAY)
    details = Details("A", 1e9, "7372", "SERVICES", date(2010, 5, 3))
    table = apply_details(table, [details], MONDAY)

    table = apply_listing(table, listed(("A", {"name": "two"})), FRIDAY)

    assert versions(table, "A", "name", "market_cap_usd", "sic_code", "list_date") == [
        (MONDAY, FRIDAY, "one", 1e9, "7372", date(2010, 5, 3)),
        (FRIDAY, None, "two", 1e9, "7372", date(2010, 5, 3)),
    ]


def test_asking_again_for_the_same_details_changes_only_the_day_of_asking() -> None:
    table = apply_listing(EMPTY, listed(("A", {})), MONDAY)
    table = apply_details(table, [Details("A", 1e9)], MONDAY)

    table = apply_details(table, [Details("A", 1e9)], FRIDAY)

    assert versions(table, "A", "market_cap_usd", "details_date") == [(MONDAY, None, 1e9, FRIDAY)]


def test_details_of_new_tickers_are_requested_first_then_the_stalest() -> None:
    table = apply_listing(
        EMPTY, listed(("A", {}), ("B", {}), ("C", {}), ("D", {"active": False})), MONDAY
    )
    table = apply_details(table, [Details("B")], TUESDAY)
    table = apply_details(table, [Details("A")], FRIDAY)

    assert choose_for_details(table, 10) == ["C", "B", "A"]
    assert choose_for_details(table, 1) == ["C"]
    assert choose_for_details(table, 0) == []


def test_tickers_that_trade_unlisted_and_the_reverse_are_found(
    lake: LocalStore, calendar: Calendar
) -> None:
    table = apply_listing(EMPTY, listed(("A", {}), ("B", {}), ("C", {"active": False})), MONDAY)
    rewrite_reference(lake, TICKERS, schema.TICKERS, lambda _: table)
    traded = [bar(symbol, FRIDAY) for symbol in ("A", "C", "Z")]
    land_rows(lake, traded, calendar, received_at=received_after(FRIDAY))
    clock = Clock(received_after(FRIDAY))
    context = FetchContext(lake, FetchSettings(), calendar, KeptProgress(), clock=clock)

    odd = compare_tickers(context, ReferenceFetched())

    assert odd.traded_not_listed == ("C", "Z")
    assert odd.listed_not_traded == ("B",)
    assert current_rows(table).height == 3
