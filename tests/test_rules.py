"""What the rules say, for arbitrary histories, against a plain oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core import rules, schema
from batch.core.frames import to_arrow
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.storage.local import LocalStore
from batch.storage.parquet import table_bytes
from batch.version import RESULTS_VERSION
from tests.oracle import Row, Split, library_sessions, sift
from tests.support.bars import bar, frame, received_after
from tests.support.examples import fewer_examples
from tests.support.lakes import (
    Filled,
    History,
    Receipt,
    assert_bars,
    assert_lake,
    histories,
    new_lake,
    refused_rows,
    rows_of,
    silver_bytes,
    widths_to_try,
)

BOTH = tuple(Anchor)


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(history=histories(), width=widths_to_try)
def test_every_history_ends_in_the_rows_that_the_rules_say(history: History, width: int) -> None:
    with new_lake() as lake:
        lake.receive(*history.receipts)
        lake.split(*history.splits)

        lake.run([width, 5], BOTH)

        expected = lake.expected()
        assert_lake(lake, expected)
        for anchor in BOTH:
            assert_bars(lake, expected, width, anchor)
            assert_bars(lake, expected, 5, anchor)


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(history=histories(most_receipts=3, splits=0))
def test_refused_rows_are_kept_as_received_with_every_reason(history: History) -> None:
    def told(rows: list[Row]) -> list[str]:
        return sorted(repr(sorted(row.items())) for row in rows)

    with new_lake() as lake:
        expected = []
        for at, receipt in enumerate(history.receipts):
            apart = replace(receipt, received_at=receipt.received_at + timedelta(seconds=at))
            lake.receive(apart)
            expected += sift(apart.rows, library_sessions(), apart.received_at)[1]

        found = refused_rows(lake.store)

    assert told(found) == told(expected)


@st.composite
def one_symbol_with_splits(draw: st.DrawFn) -> tuple[list[date], list[Split]]:
    known = library_sessions()
    first = draw(st.sampled_from([no for no, day in enumerate(known) if day.year in (2021, 2022)]))
    stretch = known[first : first + 40]
    present = draw(st.lists(st.sampled_from(stretch), min_size=3, max_size=30, unique=True))
    around = [day + timedelta(days=off) for day in stretch for off in (0, 1)]
    splits = draw(
        st.lists(
            st.builds(
                Split,
                st.just("X"),
                st.sampled_from(around),
                st.sampled_from((2.0, 3.0, 7.0, 0.1, 1.5)),
            ),
            min_size=1,
            max_size=5,
            unique_by=lambda one: one.executed,
        )
    )
    return sorted(present), splits


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(drawn=one_symbol_with_splits(), width=st.integers(1, 34))
def test_splits_inside_at_the_edge_of_and_outside_windows(
    drawn: tuple[list[date], list[Split]], width: int
) -> None:
    present, splits = drawn
    rows = [
        bar("X", day, 10.0 + no, high=90.0, low=1.0 + no / 8, volume=100.0 * no, vwap=11.0)
        for no, day in enumerate(present)
    ]
    other = [bar("Y", present[0]), bar("Y", present[-1])]
    with new_lake() as lake:
        lake.receive(Receipt(datetime(2025, 1, 1, tzinfo=UTC), "a", (*rows, *other)))
        lake.split(*splits)

        lake.run([width], BOTH)

        expected = lake.expected()
        assert_lake(lake, expected)
        for anchor in BOTH:
            assert_bars(lake, expected, width, anchor)


def test_several_splits_wait_for_a_halted_symbol_and_reach_its_next_row_years_later() -> None:
    last_before, next_row = date(2021, 12, 31), date(2024, 1, 2)
    rows = (bar("X", last_before, 70.0), bar("X", next_row, 5.0), bar("Y", last_before))
    with new_lake() as lake:
        lake.receive(Receipt(datetime(2024, 2, 1, tzinfo=UTC), "a", rows))
        lake.split(
            Split("X", date(2022, 3, 1), 7.0),
            Split("X", date(2022, 3, 5), 2.0),
            Split("X", date(2023, 9, 1), 0.5),
            Split("Y", date(2022, 3, 1), 4.0),
        )

        lake.run([777], BOTH)

        ratios = {
            (row["symbol"], row["date"]): row["split_ratio"] for row in rows_of(lake.store, "1d")
        }
        assert ratios == {("X", last_before): 1.0, ("X", next_row): 7.0, ("Y", last_before): 1.0}
        assert_bars(lake, lake.expected(), 777, Anchor.LISTING)


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(history=histories(dirty=False), width=widths_to_try, dropped=st.integers(1, 6))
def test_dropping_old_history_never_moves_an_edge(
    history: History, width: int, dropped: int
) -> None:
    days = sorted({row["date"] for receipt in history.receipts for row in receipt.rows})
    kept_days = set(days[dropped:])
    if not kept_days:
        return

    def edges(receipts: tuple[Receipt, ...]) -> dict[tuple[str, date], tuple[date, date, bool]]:
        with new_lake() as lake:
            lake.receive(*receipts)
            lake.run([width])
            windows = rows_of(lake.store, f"{width}d" if width != 1 else "1d_calendar")
            daily = [(row["symbol"], row["date"]) for row in rows_of(lake.store, "1d")]
        return {
            (symbol, day): (window["start"], window["end"], window["complete"])
            for symbol, day in daily
            for window in windows
            if window["symbol"] == symbol and window["start"] <= day <= window["end"]
        }

    shorter = tuple(
        replace(one, rows=tuple(row for row in one.rows if row["date"] in kept_days))
        for one in history.receipts
    )

    whole, part = edges(history.receipts), edges(shorter)

    assert part == {key: edge for key, edge in whole.items() if key[1] in kept_days}


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(history=histories(), days=st.integers(0, 30))
def test_as_of_is_the_lake_of_what_was_known_then_and_can_be_left_again(
    history: History, days: int
) -> None:
    received = sorted(receipt.received_at for receipt in history.receipts)
    as_of = received[len(received) // 2] + timedelta(days=days)
    with new_lake() as lake, new_lake() as then:
        lake.receive(*history.receipts)
        lake.split(*history.splits)
        lake.run([5], BOTH)
        present = silver_bytes(lake.store)
        then.receive(*(one for one in history.receipts if one.received_at <= as_of))
        then.split(*(one for one in history.splits if one.executed <= as_of.date()))

        lake.run([5], BOTH, as_of=as_of)
        past = silver_bytes(lake.store)
        lake.run([5], BOTH)
        returned = silver_bytes(lake.store)

        then.run([5], BOTH)
        assert past == silver_bytes(then.store)
        assert returned == present


def test_leaving_as_of_finds_years_that_it_had_removed() -> None:
    late = Receipt(datetime(2023, 6, 1, tzinfo=UTC), "a", (bar("A", date(2020, 3, 2)),))
    on_time = Receipt(datetime(2021, 3, 2, 22, tzinfo=UTC), "a", (bar("B", date(2021, 3, 2)),))
    with new_lake() as lake:
        lake.receive(on_time, late)
        lake.run()
        present = silver_bytes(lake.store)

        lake.run(as_of=datetime(2022, 1, 1, tzinfo=UTC))
        lake.run()

        assert silver_bytes(lake.store) == present


def test_symbols_that_parsers_and_paths_trip_over_are_text_all_the_way() -> None:
    from tests.support.lakes import ODD_SYMBOLS

    day = date(2022, 3, 1)
    with new_lake() as lake:
        rows = tuple(bar(symbol, day, 5.0 + no) for no, symbol in enumerate(ODD_SYMBOLS))
        lake.receive(Receipt(datetime(2022, 3, 2, tzinfo=UTC), "a", rows))
        lake.split(*(Split(symbol, day, 2.0) for symbol in ODD_SYMBOLS))

        lake.run([3], BOTH)

        bars = rows_of(lake.store, "3d")
    in_order = sorted(ODD_SYMBOLS, key=str.encode)
    assert [row["symbol"] for row in bars] == in_order
    closes = {row["symbol"]: (row["close"], row["split_ratio"]) for row in bars}
    assert closes == {symbol: (5.0 + no, 2.0) for no, symbol in enumerate(ODD_SYMBOLS)}


@pytest.fixture
def lake_of_years() -> Iterator[Filled]:
    known = library_sessions()
    days = [day for day in known if date(2021, 11, 1) <= day <= date(2023, 2, 1)][::7]
    with new_lake() as lake:
        for no, day in enumerate(days):
            rows = tuple(bar(name, day, 9.0 + no) for name in ("B", "A", "a"))
            lake.receive(Receipt(datetime(day.year, day.month, day.day, 22, tzinfo=UTC), "s", rows))
        lake.receive(Receipt(datetime(2023, 3, 1, tzinfo=UTC), "s", (bar("A", days[0], 1.0),)))
        lake.run([3, 34], BOTH)
        yield lake


def test_every_file_is_sorted_and_says_what_it_is(lake_of_years: Filled) -> None:
    import pyarrow.parquet as pq

    for item in lake_of_years.store.list("silver/"):
        table = item.key.split("/")[1]
        with lake_of_years.store.local_copy(item.key) as path:
            rows = pl.read_parquet(path)
            told = {k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items()}
        when = "date" if table in ("1d", "restatements") else "start"
        keys = [(symbol.encode(), day) for symbol, day in rows.select("symbol", when).iter_rows()]
        assert keys == sorted(keys), item.key
        assert {day.year for _, day in keys} <= {int(item.key.split("year=")[1][:4])}
        assert told["ohlcv.interval"] == table.split("_")[0]
        anchor = "listing" if "listing" in table else "none" if when == "date" else "calendar"
        assert told["ohlcv.anchor"] == anchor
        assert told["ohlcv.calendar"].startswith("XNYS-")
        assert told["ohlcv.code_version"] == RESULTS_VERSION


def test_an_instant_is_the_same_in_every_time_zone() -> None:
    day = date(2022, 3, 1)
    instant = datetime(2022, 3, 2, 1, tzinfo=UTC)
    with new_lake() as lake:
        lake.receive(Receipt(datetime(2022, 3, 1, 22, tzinfo=UTC), "a", (bar("A", day),)))
        lake.split(Split("A", date(2022, 3, 1), 2.0), Split("A", date(2022, 3, 2), 3.0))
        lake.receive(
            Receipt(datetime(2022, 3, 1, 23, tzinfo=UTC), "a", (bar("A", date(2022, 3, 2)),))
        )
        lake.run(as_of=instant)
        in_utc = silver_bytes(lake.store)

        lake.run(as_of=instant.astimezone(ZoneInfo("America/New_York")))

        assert silver_bytes(lake.store) == in_utc


@pytest.mark.parametrize("symbol", ["\x1c", "\x00", "\u200b", "\ufeff", "\u00ad", " \u2060 "])
def test_a_symbol_that_shows_nothing_is_none_to_landing_and_to_consolidation(
    lake: LocalStore, calendar: Calendar, symbol: str
) -> None:
    day = library_sessions()[13000]
    rows = frame([bar("A", day), bar(symbol, day)])

    landed = land(lake, rows, received_at=received_after(day), source="a", calendar=calendar)
    outcome = consolidate(lake, calendar=calendar)
    # Such a row in a file that came another way than by landing.
    table = to_arrow(rows.sort("symbol"), schema.DELIVERY)
    lake.write(landed.deliveries[0].key, table_bytes(table))
    foreign = consolidate(lake, full=True, calendar=calendar)

    assert landed.reasons == {"no symbol": 1}
    assert outcome.problems == ()
    assert "a row has no symbol" in foreign.problems[0]


@pytest.mark.parametrize("symbol", ["A\u200b", "\ufeffA", "A\x00", "A\u00adA"])
def test_a_symbol_that_only_looks_like_another_is_refused(
    lake: LocalStore, calendar: Calendar, symbol: str
) -> None:
    day = library_sessions()[13000]
    rows = frame([bar("A", day), bar(symbol, day)])

    landed = land(lake, rows, received_at=received_after(day), source="a", calendar=calendar)

    assert landed.reasons == {"symbol with invisible characters": 1}


@given(
    keys=st.lists(
        st.tuples(
            st.text(alphabet="AB.a\u00c9 ", max_size=10),
            st.sampled_from([date(2025, 1, 8), date(2025, 1, 7), date(2025, 1, 10)]),
        ),
        min_size=1,
        max_size=12,
    ),
    volume=st.sampled_from([-0.0, 0.0, 1e-10, 1.0, float("nan")]),
)
def test_what_becomes_of_a_row_does_not_depend_on_the_rows_beside_it(
    keys: list[tuple[str, date]], volume: float, calendar: Calendar
) -> None:
    received_at = datetime(2025, 1, 11, tzinfo=UTC)
    rows = frame([bar(symbol, day, volume=volume, vwap=10.0) for symbol, day in keys])
    broken = frame([bar("BROKEN", date(2025, 1, 9), volume=-1.0)])

    alone = rules.sift(rows, calendar, received_at)
    beside = rules.sift(pl.concat([rows, broken]), calendar, received_at)

    others = pl.col("symbol").ne_missing("BROKEN")
    assert_frame_equal(alone.accepted, beside.accepted)
    assert_frame_equal(alone.refused, beside.refused.filter(others))
    assert str(alone.accepted["volume"].to_list()) == str(beside.accepted["volume"].to_list())
