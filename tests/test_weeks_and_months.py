"""Bars of weeks and months: judged by DuckDB and by pandas."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import SettingsError
from batch.core.frames import conform, polars_schema
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.reference import add_dividends, add_splits
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from tests.support.bars import bar, land_rows, received_after

FIRST = date(2024, 12, 11)
LAST = date(2025, 4, 17)
"""A Thursday, the last session of its week: the next day is Good Friday."""

PERIODS = {"1w": "week", "1mo": "month"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """Three symbols over four months: splits, a dividend, a halt of a week, gaps in vwap."""
    store = LocalStore(tmp_path_factory.mktemp("weeks"))
    rng = np.random.default_rng(3)
    rows = []
    for number, session in enumerate(calendar.sessions_between(FIRST, LAST)):
        for symbol, price in (("A", 80.0), ("B", 9.0), ("NA", 25.0)):
            if symbol == "B" and (number % 4 == 0 or 20 <= number < 28):
                continue
            low, open_, close, high = sorted((price + rng.uniform(-3, 3, 4)).round(2).tolist())
            values = {"open": open_, "high": high, "low": low, "vwap": (low + high) / 2}
            if symbol == "NA" and number == 11:
                values |= {"vwap": None, "trades": None}
            rows.append(bar(symbol, session, close, **values, volume=rng.uniform(100, 900)))
    land_rows(store, rows, calendar, received_at=received_after(LAST))
    executed = (("A", date(2025, 1, 8), 4.0), ("A", date(2025, 1, 22), 1.5), ("B", LAST, 0.1))
    splits = [
        {"symbol": symbol, "date": on, "split_from": 1.0, "split_to": ratio}
        for symbol, on, ratio in executed
    ]
    add_splits(store, pl.DataFrame(splits), label="test")
    dividend = {"symbol": ["NA"], "date": [date(2025, 2, 5)], "cash_amount": [0.5]}
    kinds = pl.Schema(schema.DIVIDENDS)
    absent = [pl.lit(None, kinds[name]).alias(name) for name in kinds if name not in dividend]
    paid = pl.DataFrame(dividend).with_columns(absent)
    add_dividends(store, conform(paid, schema.DIVIDENDS))
    consolidate(store, calendar=calendar)
    return Lake(store)


def folded_by_duckdb(daily: pl.DataFrame, period: str, sessions: list[date]) -> pl.DataFrame:
    """Fold daily bars that are on one scale; weeks and months have these sessions."""
    query = f"""
        WITH edges AS (
            SELECT date_trunc('{period}', date) AS period, min(date) AS start, max(date) AS "end"
            FROM exchange GROUP BY ALL
        )
        SELECT symbol, start, "end", first(open ORDER BY date) AS open, max(high) AS high,
            min(low) AS low, last(close ORDER BY date) AS close, sum(volume) AS volume,
            CASE WHEN count(vwap) = count(*) THEN sum(vwap * volume) / sum(volume) END AS vwap,
            CASE WHEN count(trades) = count(*) THEN sum(trades) END::BIGINT AS trades,
            count(*)::INTEGER AS sessions, "end" <= DATE '{LAST}' AS complete,
            product(split_ratio) AS split_ratio
        FROM daily JOIN edges ON date_trunc('{period}', daily.date) = edges.period
        GROUP BY symbol, start, "end" ORDER BY symbol, start
        """
    with duckdb.connect() as connection:
        connection.register("daily", daily.to_arrow())
        connection.register("exchange", pl.DataFrame({"date": sessions}).to_arrow())
        return conform(connection.sql(query).pl(), schema.BARS)


@pytest.mark.parametrize("interval", PERIODS)
@pytest.mark.parametrize("adjusted", [True, "dividends"])
def test_bars_are_what_duckdb_makes_of_the_daily_ones(
    lake: Lake, calendar: Calendar, interval: str, adjusted: Any
) -> None:
    daily = lake.bars("1d", adjusted=adjusted)
    sessions = calendar.sessions_between(date(2024, 12, 1), date(2025, 4, 30))
    expected = folded_by_duckdb(daily, PERIODS[interval], sessions)

    found = lake.bars(interval, adjusted=adjusted, complete=False)

    assert_frame_equal(found, expected)
    assert found.schema == polars_schema(schema.BARS)
    assert lake.lazy(interval, adjusted=adjusted).collect().equals(found.filter("complete"))


@pytest.mark.parametrize(("interval", "rule"), [("1w", "W"), ("1mo", "ME")])
def test_bars_are_what_pandas_resamples(lake: Lake, interval: str, rule: str) -> None:
    daily = lake.bars("1d").with_columns(pl.col("date").cast(pl.Datetime("ns"))).to_pandas()
    kinds = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    resampled = daily.set_index("date").groupby("symbol").resample(rule).agg(kinds)
    expected = resampled.dropna(subset=["open"])

    found = lake.bars(interval, complete=False).to_pandas()

    assert len(found) == len(expected)
    assert found["symbol"].tolist() == expected.index.get_level_values("symbol").tolist()
    for name in kinds:
        assert found[name].tolist() == pytest.approx(expected[name].tolist())


def test_a_week_is_complete_with_its_last_session_even_on_a_thursday(lake: Lake) -> None:
    weeks = lake.bars("1w", "A")
    months = lake.bars("1mo", "A", complete=False)

    assert weeks["end"].to_list()[-1] == LAST
    assert weeks.row(3, named=True)["start"] == date(2024, 12, 30)
    assert months["complete"].to_list()[-2:] == [True, False]
    assert months["end"].to_list()[-1] == date(2025, 4, 30)


@pytest.mark.parametrize("interval", PERIODS)
def test_dates_choose_whole_weeks_and_months(lake: Lake, interval: str) -> None:
    every = lake.bars(interval, complete=False)
    begins, ends = every["start"][1], every["end"][2]

    chosen = lake.bars(interval, start=begins, end=ends)

    expected = every.filter(pl.col("start") >= begins, pl.col("end") <= ends)
    assert chosen.equals(expected)
    later, earlier = begins + timedelta(days=1), ends - timedelta(days=1)
    assert begins not in lake.bars(interval, start=later)["start"]
    assert ends not in lake.bars(interval, end=earlier, complete=False)["end"]


def test_a_panel_has_the_last_session_of_each_month(lake: Lake) -> None:
    months = lake.bars("1mo")

    wide = lake.panel("close", "1mo", ["NA", "A"])

    assert wide.columns == ["end", "NA", "A"]
    assert wide["end"].to_list() == sorted(set(months["end"]))
    assert wide["A"].to_list() == months.filter(symbol="A")["close"].to_list()


@pytest.mark.parametrize("interval", PERIODS)
def test_as_of_makes_the_weeks_and_months_known_then(
    lake: Lake, calendar: Calendar, interval: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    instant = received_after(LAST, days=1)

    assert lake.bars(interval, as_of=instant).equals(lake.bars(interval))
    assert lake.bars(interval, as_of=instant, complete=False).equals(
        lake.bars(interval, complete=False)
    )
    early = LocalStore(tmp_path_factory.mktemp("early"))
    newest = date(2025, 1, 15)
    for session in (date(2025, 1, 13), newest, date(2025, 1, 17)):
        land_rows(early, [bar("A", session)], calendar, received_at=received_after(session))
    consolidate(early, calendar=calendar)
    known = Lake(early).bars(interval, as_of=received_after(newest), complete=False)
    assert known.select("sessions", "complete").rows() == [(2, False)]


def test_the_first_week_of_the_epoch_starts_before_it(
    tmp_path_factory: pytest.TempPathFactory, calendar: Calendar
) -> None:
    store = LocalStore(tmp_path_factory.mktemp("epoch"))
    session = date(1970, 1, 2)
    land_rows(store, [bar("A", session)], calendar, received_at=received_after(session))
    consolidate(store, calendar=calendar)

    (week,) = Lake(store).bars("1w").rows(named=True)

    assert (week["start"], week["end"]) == (date(1969, 12, 29), session)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"interval": "1m"}, "interval '1m' is not a number of sessions.*1w is a week and 1mo a"),
        ({"interval": "2w"}, "interval '2w' is not a number of sessions"),
        ({"interval": "1w", "anchor": "listing"}, "1w bars begin with their week or month"),
    ],
)
def test_wrong_intervals_say_what_there_is(
    lake: Lake, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        lake.bars(**arguments)


def test_resampling_weeks_is_answered_by_where_they_are_made(lake: Lake) -> None:
    with pytest.raises(
        SettingsError, match=r"use 5 or 5d; 1w bars .* read them with Lake.bars\('1w'\)"
    ):
        resample(lake.store, intervals=["1w"])
