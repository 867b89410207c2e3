"""Bringing a whole series to one scale: that of its newest bar. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

import polars as pl

from batch.core import schema


def split_events(bars: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """Return the rows with a split, each with the factor of everything before it.

    ``key`` is ``date`` or ``start``. The rows have ``symbol``, ``key`` and ``factor``, sorted so:
    the product of the row's own split ratio and of those of all later rows of its symbol.
    """
    ratio = pl.col("split_ratio")
    return (
        bars.select("symbol", key, "split_ratio")
        .filter((ratio < 1.0) | (ratio > 1.0))
        .sort("symbol", key)
        .with_columns(factor=ratio.cum_prod(reverse=True).over("symbol"))
        .select("symbol", key, "factor")
    )


def adjust_for_splits(bars: pl.LazyFrame, events: pl.DataFrame, key: str) -> pl.LazyFrame:
    """Scale bars to the shares of their symbol's newest bar.

    Prices and ``vwap`` are divided, and ``volume`` is multiplied, by the product of the
    split ratios of all later rows. ``split_ratio`` stays: it still says where the splits are.

    Args:
        bars: Sorted by (symbol, key); an N-session bar has the scale of its last row.
        events: What :func:`split_events` found, for at least the symbols of the bars and
            over all time after the first of them.
        key: ``date`` or ``start``.
    """
    factor = pl.col("factor")
    return _scaled(
        bars,
        events,
        key,
        *(pl.col(name) / factor for name in (*schema.PRICES, "vwap")),
        pl.col("volume") * factor,
    )


class DividendEvents(NamedTuple):
    """What dividends do to the prices before them.

    Attributes:
        factors: ``symbol``, ``date`` and ``factor``, sorted by the first two: the rows that
            trade without a dividend, and the factor of every price before, which is the product
            over the dividends of this row and of all later rows of its symbol.
        left_out: The dividends that cannot be adjusted for, sorted: ``symbol``, ``date``,
            ``cash_amount``, ``currency`` and ``before_usd``, the close before on the same shares.
    """

    factors: pl.DataFrame
    left_out: pl.DataFrame


def dividend_events(
    daily: pl.LazyFrame, dividends: pl.DataFrame, splits: pl.DataFrame
) -> DividendEvents:
    """Find the factors by which dividends scale the prices before them.

    A dividend of D dollars leaves 1 - D / P of every price before its ex-date, P being the last
    close before it (https://help.yahoo.com/kb/SLN28256.html calls it CRSP's standard). Both are
    taken per share of the row on the ex-date, so P is divided by the ratio of that row's split.
    Amounts that go ex on one row are added. A dividend without a row on its ex-date goes to its
    symbol's next row; one without a row before it scales nothing.

    Cash of every type counts, in USD or where no currency is given. Of rows with the same
    symbol, date and amount, one without a type or a currency that another one has is the same
    dividend from another source. Left out are other currencies, and amounts not below P.

    Args:
        daily: At least ``symbol``, ``date``, ``close`` and ``split_ratio``, as traded.
        dividends: Columns of :data:`batch.core.schema.DIVIDENDS`.
        splits: ``symbol``, ``date`` and ``ratio``. A split that follows an ex-date before there
            is a row brings the amount to that row's shares.
    """
    paid = _each_once(dividends)
    rows = (
        daily.filter(pl.col("symbol").is_in(paid["symbol"].unique().implode()))
        .sort("symbol", "date")
        .select(
            "symbol",
            "date",
            row="date",
            before_usd=pl.col("close").shift(1).over("symbol") / pl.col("split_ratio"),
        )
        .collect()
    )
    found = paid.join_asof(
        rows, on="date", by="symbol", strategy="forward", check_sortedness=False
    ).drop_nulls("before_usd")
    # Of each ex-date without a row: the splits between it and the row that stands for it.
    later = (
        found.select("symbol", "date", "row")
        .unique()
        .join(splits.select("symbol", "ratio", executed="date"), on="symbol")
        .filter(pl.col("executed") > pl.col("date"), pl.col("executed") <= pl.col("row"))
        .group_by("symbol", "date")
        .agg(pl.col("ratio").product())
    )
    amount_usd = pl.col("cash_amount") / pl.col("ratio").fill_null(1.0)
    together_usd = pl.col("amount_usd").filter(pl.col("in_usd")).sum().over("symbol", "row")
    judged = (
        found.join(later, on=["symbol", "date"], how="left")
        .with_columns(amount_usd=amount_usd, in_usd=pl.col("currency") == "USD")
        .with_columns(left_usd=pl.col("before_usd") - together_usd)
        .with_columns(counts=pl.col("in_usd") & (pl.col("left_usd") > 0))
        .sort("symbol", "date")
    )
    factors = (
        judged.filter("counts")
        .unique(["symbol", "row"])
        .sort("symbol", "row")
        .select(
            "symbol",
            date="row",
            factor=(pl.col("left_usd") / pl.col("before_usd"))
            .cum_prod(reverse=True)
            .over("symbol"),
        )
    )
    left_out = judged.filter(~pl.col("counts"))
    return DividendEvents(
        factors, left_out.select("symbol", "date", "cash_amount", "currency", "before_usd")
    )


def _each_once(dividends: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows that lack what another of the same dividend has, and those of no amount."""
    of_one = ("symbol", "date", "cash_amount")
    paid = dividends.filter(pl.col("cash_amount").is_between(0, math.inf, closed="none"))
    for name in ("dividend_type", "currency"):
        missing = pl.col(name).is_null()
        paid = paid.filter(~missing | missing.all().over(of_one))
    currency = pl.col("currency").str.to_uppercase().fill_null("USD")
    return paid.select(*of_one, currency).sort("date")


def adjust_for_dividends(daily: pl.LazyFrame, factors: pl.DataFrame) -> pl.LazyFrame:
    """Scale the prices of daily bars, sorted by (symbol, date), as :func:`dividend_events` says.

    Volumes and the scale of splits stay, so that the bars may be folded as those traded are.
    """
    prices = (pl.col(name) * pl.col("factor") for name in (*schema.PRICES, "vwap"))
    return _scaled(daily, factors, "date", *prices)


def _scaled(bars: pl.LazyFrame, events: pl.DataFrame, key: str, *scaled: pl.Expr) -> pl.LazyFrame:
    """Give every bar the ``factor`` of the first event after it, 1.0 if none, and scale by it."""
    if events.is_empty():
        return bars
    names = bars.collect_schema().names()
    return (
        bars.join_asof(
            events.lazy(),
            on=key,
            by="symbol",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(pl.col("factor").fill_null(1.0))
        .with_columns(*scaled)
        .select(names)
    )
