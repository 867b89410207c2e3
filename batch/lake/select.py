"""The bars that a caller asks for: where they come from, and what they are adjusted for."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import polars as pl

from batch.core import schema
from batch.core.layout import DAILY_TABLE, DIVIDENDS, Anchor
from batch.lake.absence import explain_left_out
from batch.lake.adjust import (
    adjust_for_dividends,
    adjust_for_splits,
    dividend_events,
    split_events,
)
from batch.lake.arguments import BarsRequest
from batch.lake.manifest import load_daily_manifest
from batch.lake.reference import read_reference, read_splits
from batch.lake.tables import reading_table, require_years, scan_table, table_years
from batch.storage.scan import of_symbols
from batch.storage.store import ObjectStore


class SelectedBars(NamedTuple):
    """Bars, sorted by (symbol, date) or (symbol, start), and a warning about them.

    ``warning`` says which dividends could not be adjusted for; None where there are none.
    """

    rows: pl.LazyFrame
    warning: str | None


class _Found(NamedTuple):
    """Bars before they are adjusted for splits.

    Attributes:
        rows: At least those asked for.
        later: These and all later ones, for their splits.
        newest: The newest session known; None where that does not matter.
        warning: As in :class:`SelectedBars`.
    """

    rows: pl.LazyFrame
    later: pl.LazyFrame
    newest: date | None
    warning: str | None


def select_bars(store: ObjectStore, asked: BarsRequest) -> SelectedBars:
    """Return the bars that were asked for, as far as possible not yet read.

    Raises:
        SettingsError: The interval has not been made, and is not made on read.
        ObjectMissing: A job has replaced an object meanwhile.
        DataRefused: A file of the lake is damaged.
    """
    found = _made_on_read(store, asked) if asked.made_on_read else _published(store, asked)
    rows, key, first, last = found.rows, asked.key, asked.first, asked.last
    if first is not None:
        rows = rows.filter(pl.col(key) >= first)
    if last is not None:
        rows = rows.filter(_known_by(last, found.newest, asked))
    if not asked.daily and asked.complete:
        rows = rows.filter("complete")
    if asked.adjusted:
        with reading_table(store, asked.table):
            events = split_events(found.later, key).collect()
        rows = adjust_for_splits(rows, events, key)
    return SelectedBars(rows.sort("symbol", key), found.warning)


def _published(store: ObjectStore, asked: BarsRequest) -> _Found:
    """Find bars in their table."""
    table, symbols, first, last = asked.table, asked.symbols, asked.first, asked.last
    years = (table_years if asked.daily else require_years)(store, table)
    rows = of_symbols(scan_table(store, table, years, first, last), symbols)
    later = of_symbols(scan_table(store, table, years, first), symbols)
    warning = None
    if asked.for_dividends:
        factors, warning = _dividend_factors(store, asked, later)
        rows = adjust_for_dividends(rows.sort("symbol", asked.key), factors)
    needs_newest = not asked.daily and not asked.complete and last is not None
    newest = load_daily_manifest(store).newest if needs_newest else None
    return _Found(rows, later, newest, warning)


def _made_on_read(store: ObjectStore, asked: BarsRequest) -> _Found:
    """Make bars from daily ones."""
    from batch.lake.as_of import daily_known_at  # noqa: PLC0415 - only where it is needed
    from batch.lake.folding import fold_daily  # noqa: PLC0415

    warning = None
    if asked.as_of is not None:
        daily, newest = daily_known_at(store, asked.as_of, asked.symbols)
    else:
        # Windows counted from the listing need every bar since then.
        first = None if asked.anchor is Anchor.LISTING else asked.first
        scanned = scan_table(store, DAILY_TABLE, table_years(store, DAILY_TABLE), first)
        with reading_table(store, DAILY_TABLE):
            daily = of_symbols(scanned, asked.symbols).collect().sort("symbol", "date")
        newest = load_daily_manifest(store).newest
    if asked.for_dividends:
        factors, warning = _dividend_factors(store, asked, daily.lazy())
        daily = adjust_for_dividends(daily.lazy(), factors).collect()
    bars = daily if asked.daily else fold_daily(daily, newest, asked.interval, asked.anchor)
    return _Found(bars.lazy(), bars.lazy(), newest, warning)


def _dividend_factors(
    store: ObjectStore, asked: BarsRequest, daily: pl.LazyFrame
) -> tuple[pl.DataFrame, str | None]:
    """Return the factors of the dividends that daily bars went without, and a warning."""
    dividends = read_reference(store, DIVIDENDS, schema.DIVIDENDS)
    paid = of_symbols(dividends.lazy(), asked.symbols).collect()
    with reading_table(store, DAILY_TABLE):
        events = dividend_events(daily, paid, read_splits(store))
    if dividends.is_empty():
        return events.factors, (
            f"{store.uri} has no dividends: prices are adjusted for splits alone; import"
            " dividends with `ohlcv import`, or fetch them with `ohlcv fetch`"
        )
    return events.factors, explain_left_out(events.left_out)


def _known_by(last: date, newest: date | None, asked: BarsRequest) -> pl.Expr:
    """Select the bars that hold nothing of the sessions after ``last``."""
    if asked.daily:
        return pl.col("date") <= last
    whole = pl.col("end") <= last
    if newest is not None and newest <= last:
        return whole | (~pl.col("complete") & (pl.col("start") <= last))
    return whole
