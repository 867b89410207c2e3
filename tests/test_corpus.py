"""Real deliveries, recomputed by pandas and by backtrader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from batch.core import schema
from batch.core.frames import polars_schema
from batch.core.layout import INTERVALS, Anchor
from batch.core.sessions import load_calendar
from batch.lake import Lake
from batch.lake.landing import land
from batch.lake.reference import add_splits
from tests.oracle import library_sessions
from tests.support.lakes import Filled, new_lake, refused_rows, rows_of

pytestmark = pytest.mark.corpus

PRICES = ["open", "high", "low", "close"]


@dataclass(frozen=True)
class Real:
    """A lake of real deliveries of some hundred symbols, and pandas' idea of its daily bars."""

    lake: Filled
    daily: pd.DataFrame
    received: pd.DataFrame
    splits: pd.DataFrame


@pytest.fixture(scope="module")
def real(corpus: Path) -> Iterator[Real]:
    splits = pd.read_csv(corpus / "splits.csv", keep_default_na=False)
    received = read_deliveries(corpus)
    every = sorted(received["symbol"].unique())
    chosen = {*every[::40], *splits["ticker"], "NFLX", "NAN", "INF", "TRUE"}
    received = received[received["symbol"].isin(chosen)]
    with new_lake() as lake:
        for at, rows in received.groupby("received_at"):
            assert isinstance(at, date)
            land(
                lake.store,
                as_delivery(rows),
                received_at=datetime.combine(at, time(23, 59, 59), tzinfo=UTC),
                source="csv",
                calendar=load_calendar(),
            )
        table = pl.read_csv(corpus / "splits.csv", try_parse_dates=True)
        table = table.rename({"ticker": "symbol", "execution_date": "date"})
        add_splits(lake.store, table, label="splits.csv")
        lake.run(INTERVALS, Anchor)
        yield Real(lake, consolidated(received, splits), received, splits)


def read_deliveries(corpus: Path) -> pd.DataFrame:
    """Read every delivery with pandas; tickers stay text."""
    parts = []
    for path in sorted((corpus / "us-stocks-deliveries").glob("*.csv.gz")):
        if path.stat().st_size <= 20:
            continue
        part = pd.read_csv(
            path,
            keep_default_na=False,
            na_values={name: [""] for name in (*PRICES, "volume")},
            dtype={"symbol": str, "date": str},
        )
        part["received_at"] = date.fromisoformat(path.name[:10])
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    rows["date"] = pd.to_datetime(rows["date"])
    rows["volume"] = rows["volume"].astype(float)
    return rows


def as_delivery(rows: pd.DataFrame) -> pl.DataFrame:
    columns = {name: rows[name].to_list() for name in ("symbol", *PRICES, "volume")}
    nothing = [None] * len(rows)
    dates = [day.date() for day in rows["date"]]
    return pl.DataFrame(
        {**columns, "date": dates, "vwap": nothing, "trades": nothing},
        schema_overrides=polars_schema(schema.DELIVERY),
        nan_to_null=False,
    ).select(schema.DELIVERY.names)


def sound(rows: pd.DataFrame) -> pd.Series:
    prices = rows[PRICES]
    return (
        np.isfinite(prices).all(axis=1)
        & (prices > 0).all(axis=1)
        & (rows["high"] >= prices.max(axis=1))
        & (rows["low"] <= prices.min(axis=1))
        & np.isfinite(rows["volume"])
        & (rows["volume"] >= 0)
        & rows["date"].isin(pd.to_datetime([*library_sessions()]))
    )


def consolidated(received: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Consolidate with pandas: newest value last, but for other bases; splits to the next row."""
    rows = in_order(received)
    before = rows.groupby(["symbol", "date"])[[*PRICES, "volume"]].shift()
    rows[before.columns] = before.where(on_other_bases(rows, splits), rows[before.columns])
    rows = rows.drop_duplicates(["symbol", "date"], keep="last")
    rows["ratio"] = 1.0
    rows = rows.sort_values(["symbol", "date"]).reset_index(drop=True)
    for split in splits.itertuples():
        own = rows[rows["symbol"] == split.ticker]
        executed = pd.Timestamp(split.execution_date)
        later = own[own["date"] >= executed]
        if len(later) and (len(later) < len(own) or later["date"].iloc[0] == executed):
            rows.loc[later.index[0], "ratio"] *= split.split_to / split.split_from
    return rows


def in_order(received: pd.DataFrame) -> pd.DataFrame:
    """Return the sound rows, those of a symbol and session in the order of their receipt."""
    rows = received[sound(received)].drop(columns="adj_close").drop_duplicates()
    key = ["symbol", "date", "received_at"]
    rows = rows[~rows.duplicated(key, keep=False)].sort_values(key, kind="stable")
    assert rows.groupby(key[:2]).size().max() == 2
    return rows.reset_index(drop=True)


def on_other_bases(rows: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Mark the values of second rows that a split explains."""
    sessions = pd.to_datetime([*library_sessions()])
    received_at = pd.to_datetime(rows["received_at"])
    last = sessions[sessions.searchsorted(received_at, side="right")]
    ratio = pd.Series(1.0, rows.index)
    for split in splits.itertuples():
        executed = pd.Timestamp(split.execution_date)
        counts = (rows["symbol"] == split.ticker) & (rows["date"] < executed) & (executed <= last)
        ratio[counts] *= split.split_to / split.split_from
    before = rows.groupby(["symbol", "date"])[[*PRICES, "volume"]].shift()
    rebased = before.div(ratio, axis=0)
    rebased["volume"] = before["volume"] * ratio
    allowed = rebased * 0.005
    allowed["volume"] = np.maximum(rebased["volume"] * 0.02, 100)
    away = (rows[rebased.columns] - rebased).abs()
    nearer = away < (rows[rebased.columns] - before).abs()
    return (away <= allowed) & nearer & (ratio != 1.0).to_numpy()[:, None]


def with_pandas(daily: pd.DataFrame, width: int, anchor: Anchor) -> pd.DataFrame:
    """Fold into bars of one width with pandas."""
    sessions = pd.to_datetime([*library_sessions()])
    rows = daily.copy()
    if anchor is Anchor.CALENDAR:
        rows["window"] = sessions.get_indexer(pd.DatetimeIndex(rows["date"])) // width
    else:
        rows["window"] = rows.groupby("symbol").cumcount() // width
    key = ["symbol", "window"]
    upto = rows.groupby(key)["ratio"].cumprod()
    factor = rows.groupby(key)["ratio"].transform("prod") / upto
    rows[PRICES] = rows[PRICES].div(factor, axis=0)
    rows["volume"] = rows["volume"] * factor
    bars = (
        rows.groupby(key)
        .agg(
            first=("date", "first"),
            last=("date", "last"),
            open=("open", "first"),
            high=("high", "max"),
            low=("low", "min"),
            close=("close", "last"),
            volume=("volume", "sum"),
            sessions=("date", "size"),
            split_ratio=("ratio", "prod"),
        )
        .reset_index()
    )
    if anchor is Anchor.CALENDAR:
        bars["start"] = sessions[bars["window"] * width]
        bars["end"] = sessions[bars["window"] * width + width - 1]
        bars["complete"] = bars["end"] <= daily["date"].max()
    else:
        bars["start"], bars["end"] = bars["first"], bars["last"]
        bars["complete"] = bars["sessions"] == width
    return bars.sort_values(["symbol", "start"]).reset_index(drop=True)


def found_bars(real: Real, table: str) -> pd.DataFrame:
    bars = pd.DataFrame(rows_of(real.lake.store, table))
    for name in ("date", "start", "end"):
        if name in bars:
            bars[name] = pd.to_datetime(bars[name])
    when = "start" if "start" in bars else "date"
    return bars.sort_values(["symbol", when], kind="stable").reset_index(drop=True)


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame, exact: list[str]) -> None:
    assert len(found) == len(expected)
    for name in exact:
        assert (found[name].to_numpy() == expected[name].to_numpy()).all(), name
    for name in (*PRICES, "volume", "split_ratio"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, err_msg=name)


@pytest.mark.slow
def test_the_daily_bars_are_those_that_pandas_finds(real: Real) -> None:
    found = found_bars(real, "1d")

    assert len(found) > 30_000
    assert_equal(found, real.daily.rename(columns={"ratio": "split_ratio"}), ["symbol", "date"])


@pytest.mark.parametrize("anchor", Anchor)
@pytest.mark.parametrize("width", INTERVALS)
def test_the_bars_are_those_that_pandas_folds(real: Real, width: int, anchor: Anchor) -> None:
    found = found_bars(real, f"{width}d" if anchor is Anchor.CALENDAR else f"{width}d_listing")

    exact = ["symbol", "start", "end", "sessions", "complete"]
    assert_equal(found, with_pandas(real.daily, width, anchor), exact)


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 8, 34])
def test_backtrader_counts_the_listing_windows_alike(real: Real, width: int) -> None:
    bt = pytest.importorskip("backtrader")
    found = found_bars(real, f"{width}d_listing")
    with_splits = set(real.daily[real.daily["ratio"] != 1.0]["symbol"])
    symbols = [one for one in found["symbol"].unique() if one not in with_splits][::12]
    assert len(symbols) >= 8

    class Collect(bt.Strategy):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.seen: list[tuple[float, ...]] = []

        def next(self) -> None:
            line = self.data
            self.seen.append(
                (line.open[0], line.high[0], line.low[0], line.close[0], line.volume[0])
            )

    for symbol in symbols:
        own = real.daily[real.daily["symbol"] == symbol].set_index("date")
        cerebro = bt.Cerebro(stdstats=False)
        feed = bt.feeds.PandasData(dataname=own[[*PRICES, "volume"]], openinterest=None)
        cerebro.resampledata(feed, timeframe=bt.TimeFrame.Days, compression=width)
        cerebro.addstrategy(Collect)
        (run,) = cerebro.run()

        ours = found[found["symbol"] == symbol][[*PRICES, "volume"]].to_numpy()
        np.testing.assert_allclose(np.array(run.seen), ours, rtol=1e-9, err_msg=symbol)


def test_a_split_of_seven_makes_no_false_step_inside_any_window(real: Real) -> None:
    executed = pd.Timestamp("2015-07-15")
    daily = found_bars(real, "1d")
    own = daily[daily["symbol"] == "NFLX"].set_index("date")
    assert own.loc[executed, "split_ratio"] == 7.0
    assert own["split_ratio"].drop(executed).eq(1.0).all()
    assert own["close"].shift().loc[executed] > 600 > 110 > own.loc[executed, "open"]

    for width in INTERVALS:
        for table in (f"{width}d", f"{width}d_listing"):
            bars = found_bars(real, table)
            bars = bars[bars["symbol"] == "NFLX"]
            (at,) = bars.index[(bars["start"] <= executed) & (executed <= bars["end"])]
            bar = bars.loc[at]
            assert bar["split_ratio"] == 7.0
            assert bar["high"] / bar["low"] < 1.6, table
            assert bars.drop(at)["split_ratio"].eq(1.0).all()


def test_tickers_that_look_like_values_are_tickers(real: Real) -> None:
    for table in ("1d", "5d", "34d_listing"):
        symbols = set(found_bars(real, table)["symbol"])
        assert {"NAN", "INF", "TRUE"} <= symbols


def test_every_row_that_was_refused_is_kept_with_a_reason(real: Real) -> None:
    refused = refused_rows(real.lake.store)
    expected = real.received[~sound(real.received)]

    assert len(refused) == len(expected) > 0
    told = {reason for row in refused for reason in row["reason"].split("; ")}
    assert "not a session of the exchange" in told


def test_corrections_of_the_next_day_are_restated_with_old_and_new(real: Real) -> None:
    rows = in_order(real.received)
    before = rows.groupby(["symbol", "date"])[[*PRICES, "volume"]].shift()
    changes = int((before.notna() & (before != rows[before.columns])).sum().sum())

    restated = found_bars(real, "restatements")

    assert len(restated) == changes > 500
    assert set(restated["field"]) <= {*PRICES, "volume"}
    restated["stands"] = restated["new"].where(restated["reason"].isna(), restated["old"])
    last = restated.groupby(["symbol", "date", "field"])["stands"].last()
    daily = found_bars(real, "1d").set_index(["symbol", "date"])
    for (symbol, day, field), value in last.sample(200, random_state=1).items():
        assert daily.loc[(symbol, day), field] == value


def test_volumes_on_the_basis_of_a_split_are_held_back_and_no_other_value_is(real: Real) -> None:
    restated = found_bars(real, "restatements")
    held_back = restated[restated["reason"].notna()]
    rows = in_order(real.received)
    expected = on_other_bases(rows, real.splits)

    # Only symbols with splits are concerned, and the lake has all of these.
    assert (held_back["field"] == "volume").all()
    assert set(held_back["reason"]) == {"other split basis"}
    assert len(held_back) == int(expected.to_numpy().sum()) == 101
    assert "101 volumes" in Path("docs/data.md").read_text(encoding="utf-8")
    by_hand = held_back.set_index(["symbol", "date"])
    netflix = by_hand.loc[("NFLX", pd.Timestamp("2015-07-13"))]
    assert (netflix["old"], netflix["new"]) == (4_711_700.0, 32_981_900.0)
    daily = found_bars(real, "1d").set_index(["symbol", "date"])
    assert daily.loc[("NFLX", pd.Timestamp("2015-07-13")), "volume"] == 4_711_700.0
    steps = (held_back["new"] / held_back["old"]).where(held_back["old"] > 10_000).dropna()
    assert ((steps > 1.4) | (steps < 0.6)).all()


@pytest.mark.parametrize("interval", ["1d", "5d", "34d", "13d_listing"])
def test_adjusted_views_are_the_adjusted_bars_of_the_read_api(real: Real, interval: str) -> None:
    lake = Lake(real.lake.store)
    width, _, anchor = interval.partition("_")
    bars = lake.bars(width, anchor=anchor or "calendar", complete=False)

    found = lake.sql(f"SELECT * FROM adjusted.bars_{interval} ORDER BY ALL")

    assert_frame_equal(found.select(bars.columns), bars, check_exact=True)
    assert bars.filter(pl.col("split_ratio") != 1)["symbol"].n_unique() > 50
