"""Which rows of a delivery are refused, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.frames import conform, empty_frame
from batch.core.sessions import Calendar, Days

_UNSEEN: Final = r"\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}"
"""Control, format and other characters that make two tickers look like one."""

LEAST_PRICE: Final = 1e-9
MOST_PRICE: Final = 1e9
"""Bounds of prices in USD, inclusive. The dearest share has cost under 1e6.

Between these bounds, and those of volumes, counts and ratios, no sum over a window, no product
of price and volume and no scaling by splits leaves what a double holds to full precision.
"""

LEAST_VOLUME: Final = 1e-9
MOST_VOLUME: Final = 1e15
"""Bounds of volumes above zero in shares, inclusive. The whole market trades under 1e11 a day."""

MOST_TRADES: Final = 10**12

LEAST_RATIO: Final = 1e-9
MOST_RATIO: Final = 1e9
"""Bounds of the ratio of a split, inclusive."""


class Reason(StrEnum):
    """Why a row is refused; several may apply."""

    NO_SYMBOL = "no symbol"
    SYMBOL_UNSEEN = "symbol with invisible characters"
    NO_DATE = "no date"
    NOT_A_SESSION = "not a session of the exchange"
    SESSION_NOT_CLOSED = "session not closed when received"
    PRICE_MISSING = "price null or NaN"
    PRICE_INFINITE = "price infinite"
    PRICE_NOT_POSITIVE = "price not above zero"
    PRICE_OUT_OF_RANGE = "price below 1e-9 or above 1e9 USD"
    HIGH_TOO_LOW = "high below open, low or close"
    LOW_TOO_HIGH = "low above open, high or close"
    VOLUME_MISSING = "volume null or NaN"
    VOLUME_INFINITE = "volume infinite"
    VOLUME_NEGATIVE = "volume negative"
    VOLUME_OUT_OF_RANGE = "volume below 1e-9 or above 1e15 shares"
    KEY_TWICE = "symbol and date twice with different values"


@dataclass(frozen=True, slots=True)
class SiftedRows:
    """A delivery's rows, accepted and refused, both sorted by (date, symbol).

    ``accepted`` has the columns of :data:`batch.core.schema.DELIVERY` and one row per
    (symbol, date), ``refused`` those of :data:`batch.core.schema.REJECTED`.
    """

    accepted: pl.DataFrame
    refused: pl.DataFrame


def is_blank(column: str) -> pl.Expr:
    """Tell which symbols show nothing: only blanks, controls and characters without width."""
    return ~pl.col(column).str.contains(rf"[^\s{_UNSEEN}]")


def sift(rows: pl.DataFrame, calendar: Calendar, received_at: datetime) -> SiftedRows:
    """Separate the rows that may be consolidated from those that may not.

    ``received_at`` is the aware instant at which all of them were received. ``rows`` may have
    a column ``line``, which the refused ones keep, and a column ``reason``: a row in which it is
    not null is refused for that reason too.

    A row that is there twice with the same values is kept once. ``vwap`` and ``trades``
    that cannot be true (not a price; negative or too many) become null: they are optional, and
    their row is not refused for them. The rows may come in any order; a date
    outside the calendar is not a session.
    """
    absent = {"line", "reason"}.difference(rows.columns)
    rows = conform(rows.with_columns(pl.lit(None).alias(name) for name in absent), schema.REJECTED)
    names = schema.DELIVERY.names
    closed = calendar.closed_by(received_at)
    is_plain = rows.select(_is_plainly_sound(rows["date"], closed)).to_series()
    suspects = rows.filter(~is_plain)
    is_session = _is_one_of(calendar.days)
    dated = {
        Reason.NOT_A_SESSION: pl.col("date").is_not_null() & ~is_session,
        Reason.SESSION_NOT_CLOSED: is_session & ~_is_one_of(closed),
    }
    rules = _rules() | {name: rule.fill_null(value=False) for name, rule in dated.items()}
    sound, unsound = rows, suspects
    if suspects.height:
        is_broken = pl.any_horizontal([*rules.values(), pl.col("reason").is_not_null()])
        unsound = suspects.filter(is_broken)
        sound = pl.concat([rows.filter(is_plain), suspects.filter(~is_broken)])
    sound = sound.with_columns(
        pl.when(pl.col("vwap").is_between(LEAST_PRICE, MOST_PRICE)).then(pl.col("vwap")),
        pl.when(pl.col("trades").is_between(0, MOST_TRADES)).then(pl.col("trades")),
        pl.col("volume") + 0.0,  # -0.0 becomes 0.0
    )
    sound, contested = _one_row_per_key(sound, names)
    if unsound.is_empty() and contested.is_empty():
        return SiftedRows(sound.select(names), empty_frame(schema.REJECTED))
    applying = [pl.when(rules[name]).then(pl.lit(name.value)) for name in Reason if name in rules]
    reason = pl.concat_str([pl.col("reason"), *applying], separator="; ", ignore_nulls=True)
    refused = pl.concat(
        [
            unsound.with_columns(reason=reason),
            contested.with_columns(reason=pl.lit(Reason.KEY_TWICE.value)),
        ]
    )
    return SiftedRows(
        accepted=sound.select(names),
        refused=refused.sort([*_KEY, *refused.columns[2:]], nulls_last=True),
    )


_KEY: Final = ("date", "symbol")


def _one_row_per_key(rows: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sort rows by (date, symbol); return those whose key is theirs alone, then the others.

    Of rows that are equal in some columns one counts.
    """
    rows = rows if _ascends(rows) else rows.sort(_KEY, maintain_order=True)
    if _ascends(rows):
        return rows, rows.clear()
    rows = rows.unique(names, keep="first", maintain_order=True)
    is_contested = rows.select(pl.struct(_KEY).is_duplicated()).to_series()
    return rows.filter(~is_contested), rows.filter(is_contested)


def _ascends(rows: pl.DataFrame) -> bool:
    """Return whether each row has a greater (date, symbol) than the one before it."""
    day, symbol = pl.col("date"), pl.col("symbol")
    later = day > day.shift()
    next_symbol = (day == day.shift()) & (symbol > symbol.shift())
    return bool(rows.select((later | next_symbol).slice(1).all()).item())


def _is_plainly_sound(dates: pl.Series, closed: Days) -> pl.Expr:
    """Return which rows no rule can object to, by fewer comparisons than the rules need.

    What it leaves out may be sound even so: the rules decide.
    """
    known = dates.unique().drop_nulls()
    is_closed = np.isin(known.to_physical().to_numpy(), closed)
    open_, high, low, close, volume = (pl.col(name) for name in (*schema.PRICES, "volume"))
    is_plain = pl.all_horizontal(
        pl.col("reason").is_null(),
        pl.col("symbol").str.contains("^[!-~]+$"),
        low >= LEAST_PRICE,
        high <= MOST_PRICE,
        *(one >= low for one in (open_, close)),
        *(one <= high for one in (open_, close)),
        (volume == 0) | volume.is_between(LEAST_VOLUME, MOST_VOLUME),
        pl.col("date").is_in(known.filter(is_closed).implode()),
    )
    return is_plain.fill_null(value=False)


@cache
def _rules() -> dict[Reason, pl.Expr]:
    """Return the rules that need neither the calendar nor the instant of receipt."""
    prices = [pl.col(name) for name in schema.PRICES]
    open_, high, low, close = prices
    volume = pl.col("volume")
    any_price = pl.any_horizontal
    broken = {
        Reason.NO_SYMBOL: pl.col("symbol").is_null() | is_blank("symbol"),
        Reason.SYMBOL_UNSEEN: pl.col("symbol").str.contains(f"[{_UNSEEN}]") & ~is_blank("symbol"),
        Reason.NO_DATE: pl.col("date").is_null(),
        Reason.PRICE_MISSING: any_price([p.is_null() | p.is_nan() for p in prices]),
        Reason.PRICE_INFINITE: any_price([p.is_infinite() for p in prices]),
        Reason.PRICE_NOT_POSITIVE: any_price([p <= 0 for p in prices]),
        Reason.PRICE_OUT_OF_RANGE: any_price(
            [(p > 0) & p.is_finite() & ~p.is_between(LEAST_PRICE, MOST_PRICE) for p in prices]
        ),
        Reason.HIGH_TOO_LOW: any_price([_below(high, other) for other in (open_, low, close)]),
        Reason.LOW_TOO_HIGH: any_price([_below(other, low) for other in (open_, close)]),
        Reason.VOLUME_MISSING: volume.is_null() | volume.is_nan(),
        Reason.VOLUME_INFINITE: volume.is_infinite(),
        Reason.VOLUME_NEGATIVE: volume < 0,
        Reason.VOLUME_OUT_OF_RANGE: (volume > 0)
        & volume.is_finite()
        & ~volume.is_between(LEAST_VOLUME, MOST_VOLUME),
    }
    return {name: rule.fill_null(value=False) for name, rule in broken.items()}


def _is_one_of(days: Days) -> pl.Expr:
    return pl.col("date").is_in(pl.Series("date", days).cast(pl.Date).implode())


def _below(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    # As in SQL: a null or NaN on either side is not below anything.
    return (left < right) & ~left.is_nan() & ~right.is_nan()
