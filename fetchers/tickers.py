"""The table of tickers: what was known of each, and when. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from fetchers.polygon.parsing import Details

LISTED_COLUMNS = (
    "name",
    "market",
    "locale",
    "primary_exchange",
    "type",
    "active",
    "cik",
    "composite_figi",
    "share_class_figi",
    "currency",
    "delisted_date",
)
"""What the list of tickers has; a change of any of them begins a new row."""

DETAIL_COLUMNS = ("market_cap_usd", "sic_code", "sic_description", "list_date")
"""What only the details have; a change of any of them begins a new row, too."""

_NAMED = 10

_DETAILS = polars_schema(schema.TICKERS, ["symbol", *DETAIL_COLUMNS])


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Tickers that trade without being listed, and the reverse; sorted."""

    session: date
    traded_not_listed: tuple[str, ...]
    listed_not_traded: tuple[str, ...]

    @property
    def summaries(self) -> list[str]:
        """A line for each of the two that is not empty, the first tickers named."""
        return [
            f"{len(symbols):,} tickers {what} on {self.session}: {', '.join(symbols[:_NAMED])}"
            f"{', ...' if len(symbols) > _NAMED else ''}"
            for what, symbols in (
                ("traded but are not listed", self.traded_not_listed),
                ("are listed but did not trade", self.listed_not_traded),
            )
            if symbols
        ]


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
        today: The date at the exchange.
        gone: Symbols that no list has any more: they become inactive.
    """
    current = current_rows(table)
    vanished = current.filter(pl.col("symbol").is_in(list(gone)) & pl.col("active"))
    news = pl.concat(
        [
            listed.select("symbol", *LISTED_COLUMNS),
            vanished.with_columns(active=pl.lit(value=False)).select("symbol", *LISTED_COLUMNS),
        ]
    ).unique("symbol", keep="first", maintain_order=True)
    details = current.select("symbol", *DETAIL_COLUMNS, "details_date")
    return _versioned(table, news.join(details, on="symbol", how="left"), today)


def apply_details(table: pl.DataFrame, found: Iterable[Details], today: date) -> pl.DataFrame:
    """Bring the table up to the details requested today.

    A detail that a ticker no longer has, or that the vendor does not know, is null.
    """
    rows = [
        (one.ticker, one.market_cap_usd, one.sic_code, one.sic_description, one.list_date)
        for one in found
    ]
    details = pl.DataFrame(rows, schema=_DETAILS, orient="row").unique("symbol", keep="last")
    listed = current_rows(table).select("symbol", *LISTED_COLUMNS)
    news = listed.join(details, on="symbol", how="inner").with_columns(details_date=pl.lit(today))
    return _versioned(table, news, today)


def choose_for_details(table: pl.DataFrame, count: int) -> list[str]:
    """Return the active tickers whose details to request: new ones first, then the stalest."""
    active = current_rows(table).filter("active")
    return active.sort("details_date", "symbol", nulls_last=False).head(count)["symbol"].to_list()


def compare_with_traded(
    table: pl.DataFrame, traded: Collection[str], session: date
) -> Mismatch | None:
    """Compare the active tickers with the symbols of a session; None where none are listed."""
    active = current_rows(table).filter("active")["symbol"].to_list()
    if not active:
        return None
    return Mismatch(
        session,
        tuple(sorted(set(traded) - set(active))),
        tuple(sorted(set(active) - set(traded))),
    )


def _versioned(table: pl.DataFrame, news: pl.DataFrame, today: date) -> pl.DataFrame:
    """Put news into the table: a new row per symbol of which anything has changed.

    Args:
        news: ``symbol``, the listed and the detail columns and ``details_date``, one row
            per symbol.
    """
    known = [*LISTED_COLUMNS, *DETAIL_COLUMNS]
    current = current_rows(table)
    same = news.join(current, on=["symbol", *known], how="semi", nulls_equal=True)
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
    columns = table.columns
    return pl.concat([kept.select(columns), added.select(columns)]).sort("symbol", "valid_from")
