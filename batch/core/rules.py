"""Which rows of a delivery are refused, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from batch.core import schema
from batch.core.frames import conform, empty_frame
from batch.core.sessions import EARLIEST, Calendar, Days, load_calendar

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
    """Why a row is refused; several may apply.

    Readers of files give the reasons that depend on more than the columns of a delivery.
    """

    NO_SYMBOL = "no symbol"
    SYMBOL_UNSEEN = "symbol with invisible characters"
    SYMBOL_UNKNOWN = "symbol not as US exchanges write it"
    NO_DATE = "no date"
    NOT_DAILY = "bar not of one session"
    NOT_USD = "price not in USD"
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


def calendar_for(rows: pl.DataFrame, calendar: Calendar) -> Calendar:
    """Return a calendar that covers the dates of rows: this one, or the library's whole one."""
    oldest = rows["date"].min()
    too_old = isinstance(oldest, date) and oldest < calendar.first
    return load_calendar(EARLIEST) if too_old else calendar


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
    plain = _sorted_if_plain(rows, closed)
    if plain is not None:
        return SiftedRows(
            plain.select(names).with_columns(_true_or_null()), empty_frame(schema.REJECTED)
        )
    is_session = _is_one_of(calendar.days)
    had_closed = _is_one_of(closed)
    dated = {
        Reason.NOT_A_SESSION: pl.col("date").is_not_null() & ~is_session,
        Reason.SESSION_NOT_CLOSED: is_session & ~had_closed,
    }
    rules = _rules() | {name: rule.fill_null(value=False) for name, rule in dated.items()}
    is_broken = pl.any_horizontal([*rules.values(), pl.col("reason").is_not_null()])
    flagged = rows.with_columns(is_broken.alias("is_broken"))
    order = ["date", "symbol"]
    sound = (
        flagged.lazy()
        .filter(~pl.col("is_broken"))
        .drop("is_broken")
        .with_columns(_true_or_null())
        .unique(names, keep="first", maintain_order=True)
        .with_columns(is_contested=pl.struct(order).is_duplicated())
        .sort(order)
        .collect()
    )
    if not flagged["is_broken"].any() and not sound["is_contested"].any():
        return SiftedRows(sound.select(names), empty_frame(schema.REJECTED))
    applying = [pl.when(rules[name]).then(pl.lit(name.value)) for name in Reason if name in rules]
    reason = pl.concat_str(
        [pl.col("reason"), *applying],
        separator="; ",
        ignore_nulls=True,
    )
    unsound = flagged.filter("is_broken").drop("is_broken").with_columns(reason=reason)
    contested = sound.filter("is_contested").drop("is_contested")
    contested = contested.with_columns(reason=pl.lit(Reason.KEY_TWICE.value))
    refused = pl.concat([unsound, contested])
    return SiftedRows(
        accepted=sound.filter(~pl.col("is_contested")).select(names),
        refused=refused.sort([*order, *refused.columns[2:]], nulls_last=True),
    )


def _true_or_null() -> tuple[pl.Expr, ...]:
    """Return the optional columns without what cannot be true, and the volume without -0.0."""
    return (
        pl.when(pl.col("vwap").is_between(LEAST_PRICE, MOST_PRICE)).then(pl.col("vwap")),
        pl.when(pl.col("trades").is_between(0, MOST_TRADES)).then(pl.col("trades")),
        # Not volume + 0.0: Polars may leave -0.0 as it is there.
        pl.when(pl.col("volume") != 0).then(pl.col("volume")).otherwise(0.0).alias("volume"),
    )


_REQUIRED: Final = ("symbol", "date", *schema.PRICES, "volume")
_PACKED_BYTES: Final = 8


def _sorted_if_plain(rows: pl.DataFrame, closed: Days) -> pl.DataFrame | None:
    """Return rows by (date, symbol) if no rule objects to any of them, by fewer comparisons.

    Most deliveries are such. A row that is there twice with the same values is kept once. None
    does not mean that a row is broken: the rules say that.
    """
    complete = all(rows[name].null_count() == 0 for name in _REQUIRED)
    if not (complete and rows.height and rows["reason"].null_count() == rows.height):
        return None
    day = rows["date"].to_physical().to_numpy()
    open_, high, low, close, volume = (rows[name].to_numpy() for name in (*schema.PRICES, "volume"))
    is_sound = (low >= LEAST_PRICE) & (high <= MOST_PRICE)  # a NaN is neither
    for price in (open_, close):
        is_sound &= (price >= low) & (price <= high)
    is_sound &= (volume == 0) | ((volume >= LEAST_VOLUME) & (volume <= MOST_VOLUME))
    symbol = _packed(rows["symbol"])
    if symbol is None or not (is_sound.all() and np.isin(day, closed).all()):
        return None
    order = np.lexsort((symbol, day))  # stable: of rows with one key, the first stays the first
    day, symbol = day[order], symbol[order]
    repeats = np.flatnonzero((day[1:] == day[:-1]) & (symbol[1:] == symbol[:-1])) + 1
    if len(repeats):
        names = schema.DELIVERY.names
        first, second = (rows[order[at]].select(names) for at in (repeats - 1, repeats))
        if not first.equals(second):
            return None
        order = np.delete(order, repeats)
    return rows[order]


def _packed(symbols: pl.Series) -> npt.NDArray[np.uint64] | None:
    """Return short symbols of visible ASCII as numbers of the same order; None if one is not."""
    _, offsets, text = symbols.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
    starts = np.frombuffer(offsets, np.int64)[: len(symbols) + 1]
    characters = np.frombuffer(text, np.uint8)[: starts[-1]]
    lengths = np.diff(starts)
    is_visible = (characters > ord(" ")) & (characters <= ord("~"))
    if not (is_visible.all() and lengths.min() > 0 and lengths.max() <= _PACKED_BYTES):
        return None
    packed = np.zeros((len(symbols), _PACKED_BYTES), np.uint8)
    for place in range(int(lengths.max())):
        reaches = np.flatnonzero(lengths > place)
        packed[reaches, place] = characters[starts[reaches] + place]
    return packed.view(">u8").ravel().astype(np.uint64)


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
