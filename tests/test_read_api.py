"""Reading a lake: what bars are returned, how they are adjusted, what was known when."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import DataRefused, LakeMissing, LakeWarning, SettingsError
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.arguments import BarsRequest
from batch.lake.reference import add_splits, splits_known_at
from batch.lake.select import SelectedBars
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from tests.support.bars import bar, land_rows, received_after
from tests.support.corpus import corpus_files, corpus_splits, land_corpus, read_corpus, received_at
from tests.support.examples import fewer_examples

FIRST = date(2024, 12, 16)
LAST = date(2025, 1, 24)


def split(symbol: str, on: date, split_from: float, split_to: float) -> dict[str, Any]:
    return {"symbol": symbol, "date": on, "split_from": split_from, "split_to": split_to}


def price(symbol: str, number: int) -> float:
    return {"A": 100.0, "AA": 40.0, "NA": 7.0}[symbol] + number


def fill(store: ObjectStore, calendar: Calendar, splits: list[dict[str, Any]]) -> list[date]:
    """Land 26 sessions of three symbols over a turn of the year, and make their bars."""
    sessions = calendar.sessions_between(FIRST, LAST)
    for number, session in enumerate(sessions):
        rows = [
            bar(symbol, session, price(symbol, number), volume=1000.0 + number)
            for symbol in ("A", "AA", "NA")
        ]
        land_rows(store, rows, calendar, received_at=received_after(session))
    if splits:
        add_splits(store, pl.DataFrame(splits), label="test")
    consolidate(store, calendar=calendar)
    resample(store, intervals=[3, 5, 8], calendar=calendar)
    return sessions


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> LocalStore:
    """A lake that is filled once."""
    store = LocalStore(tmp_path_factory.mktemp("template"))
    fill(store, calendar, [split("A", date(2025, 1, 8), 1, 4)])
    return store


@pytest.fixture
def filled(template: LocalStore, any_lake: ObjectStore) -> Lake:
    """A copy of it on each store, without its deliveries."""
    for item in template.list(""):
        if not item.key.startswith("bronze/"):
            any_lake.write(item.key, template.read(item.key))
    return Lake(any_lake)


def test_daily_bars_of_all_years_come_in_order_of_symbol_and_date(
    filled: Lake, calendar: Calendar
) -> None:
    rows = filled.bars("1d")

    assert rows.columns == schema.DAILY.names
    assert rows.equals(rows.sort("symbol", "date"))
    assert rows.height == 3 * len(calendar.sessions_between(FIRST, LAST))


def test_symbols_and_dates_choose_rows_inclusively(filled: Lake) -> None:
    rows = filled.bars("1d", symbols=["NA", "A"], start="2024-12-31", end=date(2025, 1, 2))

    assert rows.select("symbol", "date").rows() == [
        ("A", date(2024, 12, 31)),
        ("A", date(2025, 1, 2)),
        ("NA", date(2024, 12, 31)),
        ("NA", date(2025, 1, 2)),
    ]


def test_one_symbol_may_be_given_as_text_and_never_matches_a_longer_one(filled: Lake) -> None:
    assert filled.bars("1d", "A")["symbol"].unique().to_list() == ["A"]
    assert filled.bars("1d", []).is_empty()


def test_open_bars_are_left_out_unless_asked(filled: Lake) -> None:
    closed = filled.bars("8d", "A")
    all_bars = filled.bars("8d", "A", complete=False)

    assert closed["complete"].all()
    assert all_bars.height == closed.height + 1
    assert all_bars["complete"].to_list()[-1] is False
    assert filled.bars("8d", "A", complete=None).equals(all_bars)


def test_a_bar_that_knows_a_session_after_the_end_is_left_out(filled: Lake) -> None:
    windows = filled.bars("5d", "A", complete=False)
    edge = windows.row(2, named=True)

    upto_eve = filled.bars("5d", "A", end=edge["end"] - timedelta(days=1), complete=False)
    upto_end = filled.bars("5d", "A", end=edge["end"], complete=False)

    assert upto_eve.height == 2
    assert upto_end.height == 3


def test_the_open_bar_is_returned_when_the_end_is_the_newest_session(filled: Lake) -> None:
    newest = filled.newest_session()

    assert newest == LAST
    assert filled.bars("8d", "A", end=newest, complete=False)["complete"].to_list()[-1] is False
    eve = newest - timedelta(days=1)
    assert filled.bars("8d", "A", end=eve, complete=False)["complete"].all()


def test_a_bar_that_begins_before_the_start_is_left_out(filled: Lake) -> None:
    windows = filled.bars("5d", "A")
    second = windows["start"][1]

    assert filled.bars("5d", "A", start=second).height == windows.height - 1
    assert filled.bars("5d", "A", start=second + timedelta(days=1)).height == windows.height - 2


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["5d", 5, "5"])
def test_an_interval_is_text_or_a_number(
    lake: LocalStore, calendar: Calendar, interval: Any
) -> None:
    fill(lake, calendar, [])

    assert Lake(lake).bars(interval).height == Lake(lake).bars("5d").height > 0


def test_lazy_gives_the_same_rows(filled: Lake) -> None:
    lazy = filled.lazy("5d", ["A"], adjusted=True)

    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().equals(filled.bars("5d", ["A"], adjusted=True))


def test_bars_become_pandas(filled: Lake) -> None:
    frame = filled.bars("5d", "A").to_pandas()

    assert list(frame.columns) == schema.BARS.names


SPLITS = [
    split("A", date(2024, 12, 20), 1, 4),
    split("A", date(2025, 1, 8), 3, 2),
    split("A", date(2025, 1, 10), 1, 10),
    split("AA", date(2025, 1, 7), 10, 1),
]


def adjusted_by_hand(rows: pl.DataFrame) -> pl.DataFrame:
    """Adjust daily bars one by one, from the list of splits alone."""
    adjusted = []
    for row in rows.iter_rows(named=True):
        for one in SPLITS:
            if one["symbol"] == row["symbol"] and one["date"] > row["date"]:
                ratio = one["split_to"] / one["split_from"]
                for name in (*schema.PRICES, "vwap"):
                    row[name] /= ratio
                row["volume"] *= ratio
        adjusted.append(row)
    return pl.DataFrame(adjusted, schema=rows.schema)


def test_adjusted_daily_bars_are_right_across_several_splits(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    fill(any_lake, calendar, SPLITS)
    lake = Lake(any_lake)

    assert_frame_equal(
        lake.bars("1d", adjusted=True), adjusted_by_hand(lake.bars("1d", adjusted=False))
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 5, 8])
def test_adjusted_bars_are_the_adjusted_days_folded(
    lake: LocalStore, calendar: Calendar, width: int
) -> None:
    fill(lake, calendar, SPLITS)
    days = adjusted_by_hand(Lake(lake).bars("1d", adjusted=False))
    number = pl.Series([calendar.session_no(day) // width for day in days["date"]])
    paid = pl.col("vwap") * pl.col("volume")
    expected = (
        days.with_columns(window=number)
        .group_by("symbol", "window", maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            vwap=paid.sum() / pl.col("volume").sum(),
        )
        .drop("window")
    )

    found = Lake(lake).bars(width, adjusted=True, complete=False)

    assert_frame_equal(found.select(expected.columns), expected)


def test_splits_after_the_dates_asked_for_count(lake: LocalStore, calendar: Calendar) -> None:
    fill(lake, calendar, SPLITS)
    whole = Lake(lake).bars("1d", adjusted=True)

    part = Lake(lake).bars("1d", "A", start="2024-12-17", end="2024-12-19", adjusted=True)

    expected = whole.filter(
        pl.col("symbol") == "A", pl.col("date").is_between(date(2024, 12, 17), date(2024, 12, 19))
    )
    assert_frame_equal(part, expected)
    assert part["close"][0] == pytest.approx(price("A", 1) / 4 * 3 / 2 / 10)


def test_a_split_in_the_open_bar_adjusts_the_closed_ones(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, [split("A", LAST, 1, 2)])

    raw = Lake(lake).bars("5d", "A", adjusted=False)
    adjusted = Lake(lake).bars("5d", "A", adjusted=True)

    assert_frame_equal(adjusted.select("close"), raw.select(pl.col("close") / 2))


@pytest.mark.slow
@pytest.mark.corpus
def test_adjusted_closes_are_those_of_the_real_adjusted_series(
    lake: LocalStore, corpus: Path, calendar: Calendar
) -> None:
    """A vendor's ``adj_close`` of the day before a split differs by the split alone.

    The delivery of the day of a split holds the session before it again, with the
    vendor's own adjustment. Symbols that also went ex dividend that day differ by more.
    """
    land_corpus(lake, corpus, calendar, date(2015, 7, 1), date(2015, 7, 31))
    consolidate(lake, calendar=calendar)
    files = {
        received_at(path): path
        for path in corpus_files(corpus, date(2015, 7, 1), date(2015, 7, 31))
    }
    days = corpus_splits(corpus).filter(
        pl.col("date").is_between(date(2015, 7, 2), date(2015, 7, 31))
    )
    checked = 0

    for instant, path in files.items():
        on_day = days.filter(pl.col("date") == instant.date())
        vendor = read_corpus(path).filter(
            pl.col("date") < instant.date(), pl.col("symbol").is_in(on_day["symbol"].implode())
        )
        ours = Lake(lake).bars("1d", vendor["symbol"].to_list(), adjusted=True, as_of=instant)
        both = vendor.join(ours, on=["symbol", "date"], suffix="_ours")
        for row in both.iter_rows(named=True):
            assert row["close_ours"] == pytest.approx(row["adj_close"], rel=2e-4), row
            checked += 1

    assert checked >= 8


def test_as_of_shows_the_bars_before_their_correction(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    sessions = fill(any_lake, calendar, [])
    corrected = bar("A", sessions[2], 55.0)
    later = received_after(LAST, days=3)
    land_rows(any_lake, [corrected], calendar, received_at=later)
    consolidate(any_lake, calendar=calendar)
    lake = Lake(any_lake)

    before = lake.bars("1d", "A", as_of=later - timedelta(seconds=1))
    after = lake.bars("1d", "A", as_of=later)

    assert before["close"][2] == price("A", 2)
    assert after["close"][2] == 55.0
    assert after.equals(lake.bars("1d", "A"))


def test_as_of_knows_no_session_received_later(lake: LocalStore, calendar: Calendar) -> None:
    sessions = fill(lake, calendar, SPLITS)
    noon = datetime(2025, 1, 8, 12, tzinfo=UTC)

    days = Lake(lake).bars("1d", "A", as_of=noon)
    bars = Lake(lake).bars("5d", "A", as_of=noon, complete=False)

    assert days["date"].max() == date(2025, 1, 7)
    assert bars["sessions"].sum() == days.height
    assert bars["complete"].to_list()[-1] is ((calendar.session_no(date(2025, 1, 7)) + 1) % 5 == 0)
    assert sessions[-1] > date(2025, 1, 8)


@pytest.mark.slow
@pytest.mark.parametrize("as_of", ["2024-12-19T12:00Z", "2024-12-31", "2025-01-08", "2025-01-12"])
def test_as_of_equals_a_consolidation_as_of(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, as_of: str
) -> None:
    sessions = fill(lake, calendar, SPLITS)
    for number in (1, 6, 11):
        rows = [bar("AA", sessions[number], 3.0 + number, volume=5.0)]
        land_rows(lake, rows, calendar, received_at=received_after(sessions[number], days=4))
    consolidate(lake, calendar=calendar)
    known = {
        interval: Lake(lake).bars(interval, as_of=as_of, complete=False)
        for interval in ("1d", "3d", "5d", "8d")
    }

    from batch.core.instants import parse_instant

    consolidate(lake, as_of=parse_instant(as_of), calendar=calendar)
    resample(lake, intervals=[3, 5, 8], calendar=calendar)

    for interval, rows in known.items():
        assert_frame_equal(rows, Lake(lake).bars(interval, complete=False), check_exact=True)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> LocalStore:
    """A lake with splits on neighbouring days and deliveries received around midnight."""
    store = LocalStore(tmp_path_factory.mktemp("corrected"))
    days = [date(2025, 1, day) for day in (1, 14, 15, 16, 17, 18)]
    sessions = fill(store, calendar, [split("A", day, 1, 2 + no) for no, day in enumerate(days)])
    for session in sessions[-12:]:
        for hour in (22, 25, 28, 46):
            at = datetime.combine(session, time(0), tzinfo=UTC) + timedelta(hours=hour)
            row = bar("A", session, 30.0 + hour)
            land_rows(store, [row], calendar, received_at=at)
    return store


@pytest.mark.slow
@fewer_examples(1 / 4)
@given(
    day=st.dates(date(2025, 1, 13), date(2025, 1, 20)),
    minutes=st.sampled_from((-300, -60, -1, 0, 1, 60, 300)),
    offset_hours=st.integers(-12, 14),
)
@example(day=date(2025, 1, 16), minutes=-240, offset_hours=-5)
def test_as_of_equals_a_consolidation_as_of_on_either_side_of_midnight_in_any_time_zone(
    corrected: LocalStore, calendar: Calendar, day: date, minutes: int, offset_hours: int
) -> None:
    local_midnight = datetime.combine(day, time(0), timezone(timedelta(hours=offset_hours)))
    instant = local_midnight + timedelta(minutes=minutes)
    known = {n: Lake(corrected).bars(n, as_of=instant, complete=False) for n in ("1d", "5d")}

    consolidate(corrected, as_of=instant, calendar=calendar)
    resample(corrected, intervals=[5], calendar=calendar)

    for interval, rows in known.items():
        assert_frame_equal(rows, Lake(corrected).bars(interval, complete=False), check_exact=True)


def test_as_of_knows_a_split_from_its_date_in_utc(corrected: LocalStore) -> None:
    before_midnight_utc = datetime.fromisoformat("2025-01-15T18:30-05:00")
    after_midnight_utc = datetime.fromisoformat("2025-01-15T20:00-05:00")

    before = splits_known_at(Lake(corrected).splits(), before_midnight_utc)
    after = splits_known_at(Lake(corrected).splits(), after_midnight_utc)

    assert before["date"].max() == date(2025, 1, 15)
    assert after["date"].max() == date(2025, 1, 16)


def test_as_of_counts_from_the_listing_as_the_resampler_does(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, SPLITS)
    resample(lake, intervals=[5], anchor=Anchor.LISTING, calendar=calendar)

    known = Lake(lake).bars(5, anchor="listing", complete=False, as_of="2030-01-01")

    assert known.equals(Lake(lake).bars(5, anchor="listing", complete=False))


def test_as_of_makes_intervals_that_were_never_published(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, [])

    assert Lake(lake).bars(7, as_of="2030-01-01", complete=False)["sessions"].sum() == 3 * 26


def test_sql_sees_every_table_under_its_name(filled: Lake) -> None:
    found = filled.sql(
        "SELECT d.symbol, count(*) AS days, max(s.ratio) AS ratio"
        " FROM bars_1d d LEFT JOIN splits s USING (symbol) GROUP BY ALL ORDER BY ALL"
    )

    assert found.rows() == [("A", 26, 4.0), ("AA", 26, None), ("NA", 26, None)]
    closed = filled.sql("SELECT count(*) AS n FROM bars_5d WHERE complete")["n"][0]
    assert closed == filled.bars("5d").height
    eights = filled.sql("SELECT * FROM bars_8d")
    assert eights.columns == [*schema.BARS.names, "window_end"]
    assert eights["window_end"].equals(eights["end"])
    assert filled.sql("SELECT * FROM bars_1d LIMIT 0").columns == schema.DAILY.names


@pytest.mark.parametrize("interval", ["1d", "5d"])
def test_sql_sees_adjusted_bars_as_the_read_api_returns_them(filled: Lake, interval: str) -> None:
    bars = filled.bars(interval, complete=False)
    found = filled.sql(f"SELECT * FROM adjusted.bars_{interval} ORDER BY ALL")

    assert found.select(bars.columns).equals(bars)
    raw = filled.sql(f"SELECT * FROM bars_{interval}")
    assert found.schema == raw.schema
    assert not found.equals(raw)
    assert filled.sql("SHOW TABLES").height == 4 + 3
    with pytest.raises(SettingsError, match="bars_7d"):
        filled.sql("SELECT * FROM adjusted.bars_7d")


def test_sql_that_is_wrong_is_a_usage_error_with_duckdbs_reason(filled: Lake) -> None:
    with pytest.raises(SettingsError, match="bars_4d"):
        filled.sql("SELECT * FROM bars_4d")


def test_restatements_and_refused_rows_are_returned(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    sessions = fill(any_lake, calendar, [])
    rows = [bar("A", sessions[0], 1.0), bar("B", sessions[0], -1.0)]
    land_rows(any_lake, rows, calendar, received_at=received_after(LAST))
    consolidate(any_lake, calendar=calendar)
    lake = Lake(any_lake)

    restated = lake.restatements().filter(pl.col("field") == "close")
    refused = lake.rejected()

    assert restated.select("symbol", "old", "new").rows() == [("A", 100.0, 1.0)]
    assert lake.sql("SELECT count(*) AS n FROM restatements")["n"][0] == lake.restatements().height
    assert refused.select("symbol", "close").rows() == [("B", -1.0)]
    assert refused["reason"].str.contains("not above zero").all()
    assert refused["delivery"][0].startswith(f"date={sessions[0]}/")


def test_an_empty_lake_has_empty_tables(any_lake: ObjectStore) -> None:
    any_lake.write("_state/note", b"")
    lake = Lake(any_lake)

    with pytest.warns(LakeWarning, match="no daily bars: check the path, or make them"):
        assert lake.bars("1d").schema == filled_schema(schema.DAILY)
    with pytest.warns(LakeWarning, match="no daily bars"):
        assert lake.bars("1d", as_of="2025-01-01", adjusted=True).is_empty()
    assert lake.restatements().is_empty()
    assert lake.rejected().is_empty()
    assert lake.splits().is_empty()
    assert lake.tickers().is_empty()
    assert lake.dividends().is_empty()
    assert lake.newest_session() is None
    assert lake.symbols() == []


def filled_schema(arrow_schema: Any) -> pl.Schema:
    frame = pl.from_arrow(arrow_schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.schema


@pytest.mark.parametrize(
    ("symbols", "told"),
    [
        ("na", r"no bars of 'na' in .*, which has 3 symbols; did you mean NA\?"),
        ("A,NA", r"'A,NA' is one symbol: give them one by one, as \['A', 'NA'\]"),
        (["A NA", "AN"], r"'A NA' is one symbol.*; did you mean NA, A+ or A+ for 'AN'\?"),
        ("NVIDIA", "no bars of 'NVIDIA' in .*, which has 3 symbols$"),
    ],
)
def test_symbols_of_which_none_is_known_are_an_error_that_says_what_was_meant(
    filled: Lake, symbols: str | list[str], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        filled.bars("5d", symbols)


def test_an_unknown_symbol_among_known_ones_is_a_warning_and_the_others_are_returned(
    filled: Lake,
) -> None:
    with pytest.warns(LakeWarning, match=r"no bars of 'an' in .*did you mean NA") as warned:
        rows = filled.bars("1d", ["A", "an", "NA"])

    assert rows["symbol"].unique(maintain_order=True).to_list() == ["A", "NA"]
    assert [Path(one.filename).name for one in warned] == [Path(__file__).name]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"interval": "1d", "symbols": "A", "end": "2024-12-13"},
            "no 1d bars of A up to 2024-12-13",
        ),
        ({"interval": "5d", "start": "2030-01-01"}, "closed 5d bars from 2030-01-01 on"),
        (
            {"interval": "8d", "start": LAST, "end": LAST, "complete": False},
            "whole 8d bars from 2025-01-24 to 2025-01-24",
        ),
        ({"interval": "1d", "as_of": "2024-12-15"}, "no 1d bars known at 2024-12-15"),
    ],
)
def test_dates_without_any_bar_are_a_warning_with_the_dates_that_there_are(
    filled: Lake, arguments: dict[str, Any], told: str
) -> None:
    with pytest.warns(LakeWarning, match=rf"{told}.*: its daily bars .*{FIRST} to {LAST}$"):
        assert filled.bars(**arguments).is_empty()


def test_one_symbol_without_bars_of_the_dates_is_no_warning_beside_others(
    lake: LocalStore, calendar: Calendar
) -> None:
    for session, symbols in ((FIRST, "AB"), (LAST, "A")):
        rows = [bar(symbol, session) for symbol in symbols]
        land_rows(lake, rows, calendar, received_at=received_after(session))
    consolidate(lake, calendar=calendar)

    assert Lake(lake).bars("1d", ["A", "B"], start=LAST)["symbol"].to_list() == ["A"]


def test_bars_are_adjusted_unless_asked_for_as_traded(filled: Lake) -> None:
    adjusted, raw = filled.bars("1d", "A"), filled.bars("1d", "A", adjusted=False)

    assert adjusted["close"][0] == raw["close"][0] / 4
    assert adjusted.equals(filled.bars("1d", "A", adjusted=True))
    assert adjusted.equals(filled.lazy("1d", "A").collect())


def test_a_folder_with_something_else_is_no_lake(any_lake: ObjectStore) -> None:
    any_lake.write("photos/cat.parquet", b"")

    with pytest.raises(LakeMissing, match=r"no lake at .*none of _state/, silver/, bronze/"):
        Lake.open(any_lake.uri)
    any_lake.write("silver/1d/year=2025/data.parquet", b"")
    Lake.open(any_lake.uri)


def test_an_interval_that_was_not_made_is_told_with_the_command_that_makes_it(
    filled: Lake,
) -> None:
    with pytest.raises(SettingsError, match=r"no table 7d .*ohlcv resample --interval 7"):
        filled.bars(7)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"interval": "5m"}, "interval '5m'"),
        ({"interval": 0}, "interval 0"),
        ({"interval": "1d", "start": "yesterday"}, "start 'yesterday'"),
        ({"interval": "1d", "start": "2025-02-01", "end": "2025-01-01"}, "after end 2025-01-01"),
        ({"interval": "1d", "end": 20250131}, "end 20250131: .*; did you mean '2025-01-31'"),
        ({"interval": "1d", "start": 2025}, "start 2025: expected a date such as '2025-01-31'$"),
        ({"interval": "1d", "adjusted": "no"}, "adjusted 'no': expected True .* or 'dividends'"),
        ({"interval": "1d", "complete": "all"}, "complete 'all': expected True or False"),
        ({"interval": "1d", "symbols": 5}, "symbols 5: expected text such as 'AAPL'"),
        ({"interval": "1d", "symbols": [5]}, "symbols: 5 is not text"),
        ({"interval": "1d", "as_of": 2025}, "as_of 2025: expected '2025-01-10T09:00Z'"),
        ({"interval": "1d", "anchor": "moon"}, "anchor 'moon'"),
        ({"interval": "1d", "as_of": datetime(2025, 1, 1)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_wrong_arguments_are_named(lake: LocalStore, arguments: dict[str, Any], told: str) -> None:
    lake.write("_state/note", b"")

    with pytest.raises(SettingsError, match=told):
        Lake(lake).bars(**arguments)


def test_a_lake_is_opened_by_text_or_path(lake: LocalStore, tmp_path: Path) -> None:
    lake.write("_state/note", b"")

    assert Lake.open(tmp_path / "lake").store.uri == Lake.open(lake.uri).store.uri == lake.uri


def test_a_lake_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LakeMissing, match=rf"^no lake at {tmp_path}/nowhere; check the path"):
        Lake.open(str(tmp_path / "nowhere"))


def test_a_damaged_partition_is_an_error_that_names_the_lake(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, [])
    lake.write("silver/1d/year=2025/data.parquet", b"PAR1 nothing else")

    with pytest.raises(DataRefused, match="ohlcv verify"):
        Lake(lake).bars("1d")


def test_a_partition_replaced_while_it_is_read_is_read_again(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    fill(any_lake, calendar, [])
    key = "silver/1d/year=2025/data.parquet"
    whole = any_lake.read(key)

    class Interrupted(Lake):
        """A lake of which a partition is being replaced when it is first read."""

        contents = iter([whole[:1000], whole])

        def _select(self, asked: BarsRequest) -> SelectedBars:
            found = super()._select(asked)
            self.store.write(key, next(self.contents))
            return found

    assert Interrupted(any_lake).bars("1d", adjusted=False).height == 3 * 26


def test_a_damaged_delivery_is_named_when_the_past_is_asked_for(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, [])
    damaged = next(iter(lake.list("bronze/daily/"))).key
    lake.write(damaged, b"PAR1 nothing else")

    with pytest.raises(DataRefused) as caught:
        Lake(lake).bars("1d", as_of="2025-01-10")

    assert damaged in str(caught.value)


@pytest.mark.slow
@pytest.mark.corpus
def test_as_of_equals_a_consolidation_as_of_on_real_deliveries(
    lake: LocalStore, corpus: Path, calendar: Calendar
) -> None:
    land_corpus(lake, corpus, calendar, date(2015, 7, 1), date(2015, 7, 24))
    consolidate(lake, calendar=calendar)
    instant = datetime(2015, 7, 17, 12, tzinfo=UTC)
    known = {i: Lake(lake).bars(i, as_of=instant, complete=False) for i in ("1d", "5d")}

    consolidate(lake, as_of=instant, calendar=calendar)
    resample(lake, intervals=[5], calendar=calendar)

    for interval, rows in known.items():
        assert rows.equals(Lake(lake).bars(interval, complete=False))
    assert known["1d"]["date"].max() == date(2015, 7, 16)


def test_symbols_of_several_years_are_listed_once(filled: Lake) -> None:
    assert filled.symbols() == ["A", "AA", "NA"]
    assert filled.tables() == ["1d", "3d", "5d", "8d"]


def test_a_store_is_imported_without_duckdb_or_polars() -> None:
    code = "import sys, batch.storage.store; print(sorted({'duckdb', 'polars'} & {*sys.modules}))"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_random_splits_never_leave_a_step(lake: LocalStore, calendar: Calendar) -> None:
    """A flat price stays flat when adjusted, whatever splits there were."""
    rng = np.random.default_rng(5)
    sessions = calendar.sessions_between(date(2024, 11, 1), LAST)
    close = 64.0
    splits = []
    for number, session in enumerate(sessions):
        if number and rng.random() < 0.2:
            to = float(rng.choice([2, 4, 0.5, 0.25]))
            splits.append(split("A", session, 1, to))
            close /= to
        rows = [bar("A", session, close, volume=6400.0 / close)]
        land_rows(lake, rows, calendar, received_at=received_after(session))
    add_splits(lake, pl.DataFrame(splits), label="test")
    consolidate(lake, calendar=calendar)
    resample(lake, calendar=calendar)

    for interval in (1, 3, 5, 8, 13, 21):
        bars = Lake(lake).bars(interval, adjusted=True, complete=False)
        assert bars["high"].to_list() == pytest.approx([close] * bars.height)
        assert bars["low"].to_list() == pytest.approx([close] * bars.height)
        assert bars["vwap"].to_list() == pytest.approx([close] * bars.height)
        adjusted = Lake(lake).sql(f"SELECT * FROM adjusted.bars_{interval}d ORDER BY ALL")
        assert_frame_equal(adjusted.select(bars.columns), bars, rel_tol=1e-14)
    assert len(splits) > 5
