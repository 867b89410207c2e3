"""The synthetic exchange: the same market from the same specification, and a believable one."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from batch.core import schema
from batch.core.frames import polars_schema
from batch.core.rules import sift
from batch.core.sessions import Calendar
from simulation.companies import ODD_TICKERS
from simulation.exchange import ExchangeSpec, ReceivedDelivery, SyntheticExchange
from simulation.market import LARGEST_RETURN

SPEC = ExchangeSpec(symbols=240, first=date(2014, 6, 2), last=date(2016, 7, 8))


@pytest.fixture(scope="module")
def exchange(calendar: Calendar) -> SyntheticExchange:
    return SyntheticExchange(SPEC, calendar)


@pytest.fixture(scope="module")
def rows(exchange: SyntheticExchange) -> pl.DataFrame:
    return pl.concat([exchange.session_rows(session) for session in exchange.sessions])


@pytest.fixture(scope="module")
def deliveries(exchange: SyntheticExchange) -> list[ReceivedDelivery]:
    return list(exchange.deliveries())


@pytest.mark.slow
def test_the_same_specification_gives_the_same_market(
    exchange: SyntheticExchange, rows: pl.DataFrame, calendar: Calendar
) -> None:
    again = SyntheticExchange(SPEC, calendar)
    backwards = [again.session_rows(session) for session in reversed(again.sessions)]

    assert pl.concat(backwards[::-1]).equals(rows)
    assert again.splits().equals(exchange.splits())
    assert again.tickers().equals(exchange.tickers())
    assert again.dividends().equals(exchange.dividends())


def test_another_seed_gives_another_market(exchange: SyntheticExchange, calendar: Calendar) -> None:
    other = SyntheticExchange(
        ExchangeSpec(symbols=240, first=SPEC.first, last=SPEC.last, seed=8), calendar
    )
    session = exchange.sessions[9]

    assert not other.session_rows(session).equals(exchange.session_rows(session))


@pytest.mark.slow
def test_a_later_last_session_changes_nothing_before_it(
    exchange: SyntheticExchange, deliveries: list[ReceivedDelivery], calendar: Calendar
) -> None:
    last = date(2015, 3, 18)
    shorter = SyntheticExchange(ExchangeSpec(symbols=240, first=SPEC.first, last=last), calendar)

    for session in shorter.sessions[:: len(shorter.sessions) // 7]:
        assert shorter.session_rows(session).equals(exchange.session_rows(session))
    assert shorter.splits().equals(exchange.splits().filter(pl.col("date") <= last))
    longer = {(sent.received_at, sent.rows["date"][0]): sent.rows for sent in deliveries}
    for sent in shorter.deliveries():
        assert sent.rows.equals(longer[sent.received_at, sent.rows["date"][0]], null_equal=True)


def test_every_final_row_is_sound(rows: pl.DataFrame, calendar: Calendar) -> None:
    sifted = sift(rows, calendar, datetime(2030, 1, 1, tzinfo=UTC))

    assert rows.schema == polars_schema(schema.DELIVERY)
    assert sifted.refused.is_empty()
    assert sifted.accepted.height == rows.height
    assert rows.equals(rows.sort("date", "symbol"))
    prices = rows.select("open", "high", "low", "close", "vwap")
    assert prices.equals(prices.select(pl.all().round(4)))


def test_splits_explain_every_large_step_of_a_raw_price(
    exchange: SyntheticExchange, rows: pl.DataFrame
) -> None:
    splits = exchange.splits().with_columns(ratio=pl.col("split_to") / pl.col("split_from"))
    steps = (
        rows.sort("symbol", "date")
        .with_columns(before=pl.col("close").shift().over("symbol"))
        .drop_nulls("before")
        .join_asof(
            splits.sort("date", "symbol").with_columns(
                scale=pl.col("ratio").cum_prod().over("symbol")
            ),
            on="date",
            by="symbol",
            check_sortedness=False,
        )
        .with_columns(pl.col("scale").fill_null(1.0))
        .with_columns(earlier=pl.col("scale").shift().over("symbol").fill_null(1.0))
        .with_columns(
            raw=(pl.col("close") / pl.col("before")).log().abs(),
            adjusted=(pl.col("close") / pl.col("before") * pl.col("scale") / pl.col("earlier"))
            .log()
            .abs(),
        )
    )

    rounding = 0.01
    assert steps.filter(pl.col("before") > 5)["adjusted"].max() < LARGEST_RETURN + rounding  # type: ignore[operator]
    stepped = steps.filter(pl.col("raw") > LARGEST_RETURN + 0.05)
    assert stepped.height > 20
    assert (stepped["scale"] != stepped["earlier"]).all()


def test_splits_go_both_ways_fall_on_halts_and_follow_each_other(
    exchange: SyntheticExchange, rows: pl.DataFrame
) -> None:
    splits = exchange.splits()
    ratio = splits["split_to"] / splits["split_from"]
    without_row = splits.join(rows, on=["symbol", "date"], how="anti")
    gaps = splits.select((pl.col("date") - pl.col("date").shift().over("symbol")).dt.total_days())

    assert (ratio > 1).any()
    assert (ratio < 1).any()
    assert without_row.height > 0
    assert (gaps.drop_nulls()["date"] < 25).any()


def test_listings_delistings_and_halts_occur(
    exchange: SyntheticExchange, rows: pl.DataFrame
) -> None:
    seen = rows.group_by("symbol").agg(
        first=pl.col("date").min(), last=pl.col("date").max(), rows=pl.len()
    )
    number = {session: at for at, session in enumerate(exchange.sessions)}
    span = [number[last] - number[first] + 1 for first, last in seen.select("first", "last").rows()]

    assert (seen["first"] > exchange.sessions[20]).sum() > 5
    assert (seen["last"] < exchange.sessions[-20]).sum() > 5
    assert int((pl.Series(span) - seen["rows"]).sum()) > 20


def test_tickers_have_the_dates_between_which_each_symbol_traded(
    exchange: SyntheticExchange, rows: pl.DataFrame
) -> None:
    tickers = exchange.tickers()
    seen = rows.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max())
    both = seen.join(tickers, left_on="symbol", right_on="ticker", how="left")

    assert tickers["ticker"].is_unique().all()
    assert both["name"].null_count() == 0
    assert (both["first"] >= both["list_date"]).all()
    gone = both.filter(~pl.col("active"))
    assert gone.height > 5
    assert (gone["last"] < gone["delisted_date"]).all()
    assert both.filter("active")["delisted_date"].is_null().all()


def test_odd_tickers_and_rows_without_vwap_occur(rows: pl.DataFrame) -> None:
    assert set(ODD_TICKERS) <= set(rows["symbol"].unique())
    assert 0 < rows["vwap"].null_count() < rows.height / 10
    assert 0 < rows["trades"].null_count() < rows.height / 10
    assert (rows["volume"] % 1 != 0).any()
    assert (rows["volume"] == 0).any()


def test_a_session_that_closes_early_trades_less(
    exchange: SyntheticExchange, rows: pl.DataFrame
) -> None:
    black_friday = date(2015, 11, 27)
    traded = dict(rows.group_by("date").agg(pl.col("volume").log1p().mean()).iter_rows())
    before = exchange.sessions[exchange.sessions.index(black_friday) - 1]

    assert traded[black_friday] < traded[before] - 0.5


def test_the_newest_delivery_of_every_session_holds_its_final_rows(
    exchange: SyntheticExchange, deliveries: list[ReceivedDelivery], calendar: Calendar
) -> None:
    newest = {}
    for sent in deliveries:
        newest[sent.rows["date"][0]] = sent.rows

    assert [sent.received_at for sent in deliveries] == sorted(
        sent.received_at for sent in deliveries
    )
    assert sorted(newest) == exchange.sessions
    for session in exchange.sessions[::25]:
        assert newest[session].equals(exchange.session_rows(session), null_equal=True)
    for sent in deliveries:
        assert sent.received_at > calendar.close_of(sent.rows["date"][0])


@pytest.mark.slow
def test_deliveries_are_late_repeated_corrected_and_a_little_broken(
    deliveries: list[ReceivedDelivery], calendar: Calendar
) -> None:
    by_session: dict[date, list[ReceivedDelivery]] = {}
    for sent in deliveries:
        by_session.setdefault(sent.rows["date"][0], []).append(sent)
    waited = [
        (sent[0].received_at - calendar.close_of(session)).total_seconds() / 3600
        for session, sent in by_session.items()
    ]
    refused = [
        sift(sent.rows, calendar, sent.received_at).refused.height / sent.rows.height
        for sent in deliveries
    ]
    twice = [
        session
        for session, sent in by_session.items()
        if len(sent) > 1 and sent[0].rows.equals(sent[1].rows, null_equal=True)
    ]
    corrected = [
        session
        for session, sent in by_session.items()
        if not sent[0].rows.equals(sent[-1].rows, null_equal=True)
    ]

    assert 0 < sum(hours > 12 for hours in waited) < len(waited) / 10
    assert 0 < np.max(refused) < 0.01
    assert len(twice) > 3
    assert len(by_session) / 5 < len(corrected) < len(by_session) / 2


def test_a_session_of_another_time_is_refused(exchange: SyntheticExchange) -> None:
    with pytest.raises(ValueError, match="2014-05-30 is not a session of the exchange from"):
        exchange.session_rows(date(2014, 5, 30))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"symbols": 0}, "symbols: 0"),
        ({"last": date(2014, 6, 1)}, "last: 2014-06-01"),
        ({"seed": -1}, "seed: -1"),
    ],
)
def test_an_impossible_specification_is_refused(values: dict[str, object], message: str) -> None:
    given = {"symbols": 5, "first": SPEC.first, "last": SPEC.last, **values}

    with pytest.raises(ValueError, match=message):
        ExchangeSpec(**given)  # type: ignore[arg-type]
