"""Bars adjusted for dividends: judged by total returns, a vendor's own series and DuckDB."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import LakeWarning, SettingsError
from batch.core.frames import conform
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.adjust import adjust_for_dividends, adjust_for_splits, dividend_events, split_events
from batch.lake.landing import land
from batch.lake.reference import add_dividends, add_splits
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from tests.support.bars import bar, land_rows, received_after
from tests.support.corpus import corpus_files, corpus_splits, read_corpus, received_at

FIRST = date(2024, 12, 16)
LAST = date(2025, 1, 24)

SPLITS = [
    ("A", date(2024, 12, 20), 4.0),
    ("A", date(2025, 1, 8), 1.5),
    ("B", date(2025, 1, 7), 0.1),
]
DIVIDENDS = [
    ("A", date(2024, 12, 18), 2.0, "USD"),
    ("A", date(2024, 12, 20), 0.75, None),  # with the split
    ("A", date(2025, 1, 8), 0.5, "usd"),  # with the split, inside every window
    ("A", date(2025, 1, 8), 0.25, "USD"),
    ("A", date(2025, 1, 23), 0.3, "USD"),
    ("B", date(2025, 1, 6), 0.2, "USD"),  # B is halted from the 3rd to the 7th, when it splits
    ("B", date(2025, 1, 15), 1.1, "USD"),
    ("B", date(2025, 3, 1), 9.0, "USD"),  # ahead
    ("C", date(2024, 12, 16), 1.0, "USD"),  # on its first day
]
HALTED = {("B", date(2025, 1, day)) for day in (3, 6, 7)}


def dividend(
    symbol: str, on: date, amount: float, currency: str | None = "USD", kind: str | None = "CD"
) -> dict[str, Any]:
    given = {"symbol": symbol, "date": on, "cash_amount": amount, "currency": currency}
    return {**dict.fromkeys(schema.DIVIDENDS.names), **given, "dividend_type": kind}


def dividends_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    kinds = pl.Schema(schema.DIVIDENDS)
    return conform(pl.DataFrame(rows, schema=kinds), schema.DIVIDENDS)


@pytest.fixture(scope="module")
def paying(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """Three symbols over a turn of the year, with splits, dividends and a halt."""
    store = LocalStore(tmp_path_factory.mktemp("paying"))
    rng = np.random.default_rng(11)
    for session in calendar.sessions_between(FIRST, LAST):
        rows = []
        for symbol, price in (("A", 60.0), ("B", 8.0), ("C", 25.0)):
            low, open_, close, high = sorted((price + rng.uniform(-2, 2, 4)).round(2).tolist())
            values = {"open": open_, "high": high, "low": low, "vwap": (low + high) / 2}
            if (symbol, session) not in HALTED:
                rows.append(bar(symbol, session, close, **values, volume=rng.uniform(100, 900)))
        land_rows(store, rows, calendar, received_at=received_after(session))
    splits = [
        {"symbol": symbol, "date": on, "split_from": 1.0, "split_to": ratio}
        for symbol, on, ratio in SPLITS
    ]
    add_splits(store, pl.DataFrame(splits), label="test")
    add_dividends(store, dividends_of([dividend(*one) for one in DIVIDENDS]))
    consolidate(store, calendar=calendar)
    resample(store, intervals=[5], calendar=calendar)
    return Lake(store)


def adjusted_by_hand(
    raw: pl.DataFrame,
    splits: list[tuple[str, date, float]],
    dividends: list[tuple[str, date, float]],
) -> pl.DataFrame:
    """Go back from the newest close by total returns, one day at a time.

    A holder of one share on the eve has r shares and D r dollars on the ex-date: the return is
    close r / (close of the eve - D r).
    """
    rows = []
    for own in raw.partition_by("symbol"):
        days = own.to_dicts()
        growth, shares = 1.0, 1.0  # of what comes behind a row, with dividends and in shares
        for at in range(len(days) - 1, -1, -1):
            row = days[at]
            # What a dollar of the newest price was worth as a price of this row.
            scale = days[-1]["close"] / (row["close"] * growth)
            rows.append(
                {
                    **row,
                    **{name: row[name] * scale for name in (*schema.PRICES, "vwap")},
                    "volume": row["volume"] * shares,
                }
            )
            if not at:
                break
            eve = days[at - 1]
            since = [
                one
                for one in (*splits, *dividends)
                if one[0] == row["symbol"] and eve["date"] < one[1] <= row["date"]
            ]
            # One share of the eve: what it became, paying on the shares of each ex-date.
            held, cash_usd = 1.0, 0.0
            for one in sorted(since, key=lambda one: (one[1], one in dividends)):
                if one in dividends:
                    cash_usd += held * one[2]
                else:
                    held *= one[2]
            growth *= row["close"] * held / (eve["close"] - cash_usd)
            shares *= held
    return pl.DataFrame(rows, schema=raw.schema).sort("symbol", "date")


PAID = [(symbol, on, amount) for symbol, on, amount, _ in DIVIDENDS]


def test_daily_bars_have_the_total_return_of_a_holder(paying: Lake) -> None:
    expected = adjusted_by_hand(paying.bars("1d", adjusted=False), SPLITS, PAID)

    found = paying.bars("1d", adjusted="dividends")

    assert_frame_equal(found, expected)
    assert_frame_equal(found, paying.lazy("1d", adjusted="dividends").collect())
    assert not found.equals(paying.bars("1d"))
    assert found.select("symbol", "volume", "split_ratio").equals(
        paying.bars("1d").select("symbol", "volume", "split_ratio")
    )


@pytest.mark.parametrize("width", [3, 5, 8])
def test_bars_of_n_sessions_are_the_adjusted_days_folded_by_duckdb(
    paying: Lake, calendar: Calendar, width: int
) -> None:
    days = adjusted_by_hand(paying.bars("1d", adjusted=False), SPLITS, PAID)
    days = days.with_columns(
        no=pl.Series(calendar.session_nos(days["date"].cast(pl.Int32).to_numpy()))
    )
    expected = duckdb.sql(
        f"""SELECT symbol, first(open ORDER BY date) AS open, max(high) AS high, min(low) AS low,
               last(close ORDER BY date) AS close, sum(volume) AS volume,
               sum(vwap * volume) / sum(volume) AS vwap, product(split_ratio) AS split_ratio
            FROM days GROUP BY symbol, no // {width} ORDER BY symbol, no // {width}"""
    ).pl()

    found = paying.bars(width, adjusted="dividends", complete=False)

    assert_frame_equal(found.select(expected.columns), expected)


def test_without_dividends_the_bars_made_on_read_are_those_of_the_table(paying: Lake) -> None:
    whole = {"complete": False, "start": "2024-12-20"}
    stored = paying.bars("5d", "C", **whole)

    assert paying.bars("5d", "C", adjusted="dividends", **whole).equals(stored)
    assert paying.bars("5d", "A", **whole)["close"][0] != pytest.approx(
        paying.bars("5d", "A", adjusted="dividends", **whole)["close"][0]
    )


@pytest.mark.parametrize("interval", ["1d", "5d"])
@pytest.mark.parametrize("anchor", ["calendar", "listing"])
def test_dates_choose_among_the_adjusted_bars(paying: Lake, interval: str, anchor: str) -> None:
    arguments: dict[str, Any] = {"adjusted": "dividends", "anchor": anchor, "complete": False}
    key = "date" if interval == "1d" else "start"
    last = "date" if interval == "1d" else "end"
    first_day, last_day = date(2024, 12, 27), date(2025, 1, 16)

    found = paying.bars(interval, start=first_day, end=last_day, **arguments)

    whole = paying.bars(interval, **arguments)
    assert_frame_equal(found, whole.filter(pl.col(key) >= first_day, pl.col(last) <= last_day))
    assert found.height > 2


def test_as_of_knows_the_dividends_that_had_gone_ex(paying: Lake) -> None:
    instant = datetime(2025, 1, 22, 23, tzinfo=UTC)
    raw = paying.bars("1d", adjusted=False, as_of=instant)
    gone_ex = [one for one in PAID if one[1] <= instant.date()]
    executed = [one for one in SPLITS if one[1] <= instant.date()]

    found = paying.bars("1d", adjusted="dividends", as_of=instant)

    assert_frame_equal(found, adjusted_by_hand(raw, executed, gone_ex))
    assert found["date"].max() == instant.date()
    bars = paying.bars("5d", adjusted="dividends", as_of="2030-01-01", complete=False)
    assert bars.equals(paying.bars("5d", adjusted="dividends", complete=False))


moves = st.tuples(
    st.sampled_from((None, None, 2.0, 0.1, 1.5)), st.sampled_from((None, None, None, 0.01, 0.4))
)


@given(st.lists(st.tuples(st.booleans(), st.floats(1.0, 500.0), moves), min_size=1, max_size=20))
def test_any_order_of_splits_dividends_and_halts_keeps_total_returns(
    days: list[tuple[bool, float, tuple[float | None, float | None]]],
) -> None:
    traded, splits, dividends = [], [], []
    ratio = 1.0
    for number, (halted, close, (split_to, amount)) in enumerate(days):
        day = FIRST + timedelta(days=number)
        if split_to:
            splits.append(("A", day, split_to))
            ratio *= split_to
        if amount:
            dividends.append(("A", day, amount * 0.01))
        if not halted:
            # A split before the first row scales nothing, as in consolidation.
            row = bar("A", day, close, split_ratio=ratio if traded else 1.0)
            traded.append(row)
            ratio = 1.0
    rows = pl.DataFrame(traded, schema=pl.Schema(schema.DAILY))
    on_record = pl.DataFrame(
        splits, schema={"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64}, orient="row"
    )

    events = dividend_events(
        rows.lazy(), dividends_of([dividend(*one) for one in dividends]), on_record
    )
    after = adjust_for_dividends(rows.lazy(), events.factors)
    found = adjust_for_splits(after, split_events(after, "date").collect(), "date").collect()

    assert events.left_out.is_empty()
    if rows.height:
        assert_frame_equal(found, adjusted_by_hand(rows, splits, dividends), rel_tol=1e-9)


def test_what_cannot_be_adjusted_for_is_named_and_left_out(
    lake: LocalStore, calendar: Calendar
) -> None:
    days = [date(2025, 1, 14), date(2025, 1, 15), date(2025, 1, 16)]
    for day in days:
        rows = [bar(symbol, day, 10.0) for symbol in ("A", "B")]
        land_rows(lake, rows, calendar, received_at=received_after(day))
    consolidate(lake, calendar=calendar)
    paid = [
        dividend("A", days[1], 0.5, "CAD"),
        dividend("A", days[1], 1.0),
        dividend("A", days[2], 4.0),
        dividend("A", days[2], 6.0, kind="SC"),
        dividend("B", days[2], 1.0),
        dividend("B", days[2], 1.0, currency=None, kind=None),  # the same from another source
        dividend("B", days[2], 1.0, kind="SC"),
        dividend("B", days[2], -3.0),
        dividend("B", days[2], float("nan")),
    ]
    with pytest.warns(LakeWarning, match="has no dividends: .* splits alone; import"):
        assert Lake(lake).bars("1d", adjusted="dividends").equals(Lake(lake).bars("1d"))
    add_dividends(lake, dividends_of(paid))

    with pytest.warns(
        LakeWarning, match="not adjusted for 3 dividends: A 2025-01-15 0.5 CAD"
    ) as told:
        found = Lake(lake).bars("1d", adjusted="dividends")

    assert "A 2025-01-16 4 USD (not below the close before, 10)" in str(told[0].message)
    assert found["close"].to_list() == pytest.approx([9.0, 10.0, 10.0, 8.0, 8.0, 10.0])
    with pytest.warns(LakeWarning, match="not adjusted for 3 dividends"):
        Lake(lake).lazy(2, "A", adjusted="dividends")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Lake(lake).bars("1d", "B", adjusted="dividends")


def test_another_word_is_refused_with_the_three_that_there_are(lake: LocalStore) -> None:
    lake.write("_state/note", b"")

    with pytest.raises(SettingsError, match=r"'total': expected True .*False .*'dividends'"):
        Lake(lake).bars("1d", adjusted="total")  # type: ignore[arg-type]


def test_the_adjusted_closes_are_those_of_the_published_example(
    lake: LocalStore, calendar: Calendar
) -> None:
    """Yahoo's page on the adjusted close (SLN28256) works one series out, in cents."""
    closes = {13: 46.99, 14: 48.30, 18: 24.96, 19: 24.53}  # of February 2003
    for day, close in closes.items():
        session = date(2003, 2, day)
        row = bar("A", session, close)
        land_rows(lake, [row], calendar, received_at=received_after(session))
    split = {"symbol": "A", "date": date(2003, 2, 18), "split_from": 1.0, "split_to": 2.0}
    add_splits(lake, pl.DataFrame([split]), label="example")
    add_dividends(lake, dividends_of([dividend("A", date(2003, 2, 19), 0.08)]))
    consolidate(lake, calendar=calendar)

    adjusted = Lake(lake).bars("1d", adjusted="dividends")["close"]

    assert adjusted.round(2).to_list() == [23.42, 24.07, 24.88, 24.53]


@pytest.mark.corpus
def test_real_dividends_give_the_vendors_adjusted_closes(
    lake: LocalStore, corpus: Path, calendar: Calendar
) -> None:
    """The delivery of an ex-date holds the session before it with the vendor's adjustment."""
    paid = [
        ("AAPL", date(2015, 8, 6), 0.52),
        ("XOM", date(2015, 8, 11), 0.73),
        ("JNJ", date(2015, 8, 21), 0.75),
        ("NKE", date(2015, 12, 7), 0.32),
        ("NKE", date(2016, 3, 3), 0.16),  # after its split of 2015-12-24
    ]
    files = {on: corpus_files(corpus, on, on)[0] for on in {on for _, on, _ in paid}}
    received = {on: read_corpus(path) for on, path in files.items()}
    for on, rows in received.items():
        own = rows.filter(pl.col("symbol").is_in(["AAPL", "XOM", "JNJ", "NKE"])).with_columns(
            vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64)
        )
        land(lake, own, received_at=received_at(files[on]), source="pystock", calendar=calendar)
    add_splits(lake, corpus_splits(corpus), label="splits.csv")
    add_dividends(lake, dividends_of([dividend(*one) for one in paid]))
    consolidate(lake, calendar=calendar)

    for symbol, ex_date, amount in paid:
        eve = (
            received[ex_date]
            .filter(pl.col("symbol") == symbol, pl.col("date") < ex_date)
            .row(0, named=True)
        )
        instant = received_at(files[ex_date])
        ours = Lake(lake).bars("1d", symbol, adjusted="dividends", as_of=instant)
        found = dict(ours.select("date", "close").iter_rows())[eve["date"]]
        assert found == pytest.approx(eve["adj_close"], abs=1e-5), symbol
        assert found == pytest.approx(eve["close"] - amount, abs=1e-5), symbol
    first = Lake(lake).bars("1d", "NKE", adjusted="dividends", start="2015-12-04")["close"][0]
    assert first == pytest.approx((132.330002 - 0.32) / 2 * (1 - 0.16 / 62.220001))
