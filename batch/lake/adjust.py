"""Bringing a whole series to the shares of its newest bar. Pure."""

from __future__ import annotations

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
    if events.is_empty():
        return bars
    names = bars.collect_schema().names()
    factor = pl.col("factor").fill_null(1.0)
    return (
        bars.join_asof(
            events.lazy(),
            on=key,
            by="symbol",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(
            *(pl.col(name) / factor for name in (*schema.PRICES, "vwap")),
            volume=pl.col("volume") * factor,
        )
        .select(names)
    )
