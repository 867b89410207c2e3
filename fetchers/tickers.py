"""The table of tickers: what was known of each, and when. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields
from datetime import date

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from fetchers.polygon.parsing import TICKERS_LISTED, Details

# A change of any of these columns begins a new row.
_LISTED = tuple(name for name in TICKERS_LISTED if name != "symbol")
_DETAILED = tuple(field.name for field in fields(Details) if field.name != "symbol")


def current_rows(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that hold now, one per symbol."""
    return table.filter(pl.col("valid_to").is_null())


def apply_listing(
    table: pl.DataFrame, listed: pl.DataFrame, today: date, *, gone: Collection[str] = ()
) -> pl.DataFrame:
    """Bring the table up to what the vendor lists today.

    A symbol that is new, or of which something has changed, gets a row that holds from
    today; the row before it ends today. A second change on one day replaces the first.

    Args:
        table: Columns of :data:`batch.core.schema.TICKERS`.
        listed: Columns of :data:`fetchers.polygon.parsing.TICKERS_LISTED`, one row per
            symbol; symbols that are not in it stay as they are.
        gone: Symbols that no list has any more: they become inactive.
    """
    current = current_rows(table)
    vanished = current.filter(pl.col("symbol").is_in(list(gone)) & pl.col("active"))
    inactive = vanished.with_columns(active=pl.lit(value=False))
    news = pl.concat(rows.select("symbol", *_LISTED) for rows in (listed, inactive))
    news = news.unique("symbol", keep="first", maintain_order=True)
    details = current.select("symbol", *_DETAILED, "details_date")
    return _versioned(table, news.join(details, on="symbol", how="left"), today)


def apply_details(table: pl.DataFrame, found: Iterable[Details], today: date) -> pl.DataFrame:
    """Bring the table up to the details requested today.

    A detail that a ticker no longer has, or that the vendor does not know, is null.
    """
    columns = polars_schema(schema.TICKERS, ["symbol", *_DETAILED])
    details = pl.DataFrame(list(found), schema=columns).unique("symbol", keep="last")
    listed = current_rows(table).select("symbol", *_LISTED)
    news = listed.join(details, on="symbol", how="inner").with_columns(details_date=pl.lit(today))
    return _versioned(table, news, today)


def apply_known(table: pl.DataFrame, known: pl.DataFrame, today: date) -> pl.DataFrame:
    """Bring the table up to what a file knows of some symbols.

    ``known`` has ``symbol`` and any of the other columns of :data:`batch.core.schema.TICKERS`;
    what it does not have stays as it was. A new symbol is active unless it says otherwise.
    """
    kinds = polars_schema(schema.TICKERS)
    given = [name for name in (*_LISTED, *_DETAILED) if name in known.columns]
    kept = [name for name in (*_LISTED, *_DETAILED, "details_date") if name not in given]
    news = (
        known.select(pl.col(name).cast(kinds[name]) for name in ("symbol", *given))
        .unique("symbol", keep="last", maintain_order=True)
        .join(current_rows(table).select("symbol", *kept), on="symbol", how="left")
        .with_columns(pl.col("active").fill_null(value=True))
    )
    if not set(given).isdisjoint(_DETAILED):
        news = news.with_columns(details_date=pl.lit(today))
    return _versioned(table, news, today)


def choose_for_details(table: pl.DataFrame, count: int) -> list[str]:
    """Return the active tickers whose details to request: new ones first, then the stalest."""
    active = current_rows(table).filter("active")
    return active.sort("details_date", "symbol", nulls_last=False).head(count)["symbol"].to_list()


def _versioned(table: pl.DataFrame, news: pl.DataFrame, today: date) -> pl.DataFrame:
    """Add a row for each symbol in ``news``, one row per symbol, of which anything has changed."""
    known = ["symbol", *_LISTED, *_DETAILED]
    same = news.join(current_rows(table), on=known, how="semi", nulls_equal=True)
    changed = news.join(same, on="symbol", how="anti")
    confirmed = same.select("symbol", newer_details_date="details_date")
    ended = pl.col("symbol").is_in(changed["symbol"].implode()) & pl.col("valid_to").is_null()
    kept = (
        table.filter(~(ended & (pl.col("valid_from") == today)))
        .with_columns(valid_to=pl.when(ended).then(pl.lit(today)).otherwise(pl.col("valid_to")))
        .join(confirmed, on="symbol", how="left")
        .with_columns(
            details_date=pl.when(pl.col("valid_to").is_null())
            .then(pl.coalesce("newer_details_date", "details_date"))
            .otherwise(pl.col("details_date"))
        )
    )
    added = changed.with_columns(valid_from=pl.lit(today), valid_to=pl.lit(None, dtype=pl.Date))
    rows = pl.concat(part.select(table.columns) for part in (kept, added))
    return rows.sort("symbol", "valid_from")
