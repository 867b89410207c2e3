"""What the values of a file mean: evidence gathered piece by piece, then decided for all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

import polars as pl

from batch.core import schema
from batch.core.rules import Reason
from fetchers.files.columns import NUMBERS, Columns, read_numbers
from fetchers.files.dates import Dates, decide_dates, distinct, together
from fetchers.files.numbers import Numbers, NumbersEvidence
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused

_NO_STAMPS: Final = pl.Series([], dtype=pl.String)
_MOST_STAMPS: Final = 200_000
_MOST_ROWS_OF_A_DATE: Final = 1_000_000
"""A hundred times what US exchanges list."""

_DAILY: Final = (
    r"^(|d|1d|d1|days?|1days?|oneday|daily|eod|p1d|h24|24h(r|rs|ours?)?|m1440"
    r"|1440(\.0+)?(m|min|mins|minutes?)?|86400(\.0+)?(s|sec|secs|seconds?)?|1\.0+d)$"
)
"""What vendors call the interval of daily bars, without capitals, blanks and dashes."""

_MANY_DAYS: Final = 10
_LONGEST_CLOSURE_DAYS: Final = 4
"""Days from one session to the next over a long weekend; longer closures were in 1914 and 2001."""

_SYMBOL: Final = (
    r"^[A-Z0-9]{1,14}(p[A-Z]{0,2}|[ruw]{1,2})?([.\-/^=+_$#*][A-Z0-9]{1,8}){0,3}[\^+=*#$-]?$"
)
"""Tickers as CQS, NASDAQ and Polygon write them: capitals, then share classes and the like.

Letters for preferred shares (``BACpK``), rights, units and warrants may be small.
"""
_VENDORS_SUFFIX: Final = (
    r"[.](US|O|OQ|N|NQ|PK|OB|UN|UQ|UW|UA|UP|XNAS|XNYS|XASE|ARCX|NYSE|NASDAQ|NAS|AMEX|OTC)$"
)
"""What vendors append to a ticker for its country or exchange; no share class is called so."""


class Evidence:
    """What the values of a file show of what they mean, gathered part by part.

    Args:
        columns: What the file's columns stand for.
        label: Its address, for messages and for the dates in its name.
    """

    def __init__(self, columns: Columns, *, label: str) -> None:
        self._columns = columns
        self._label = label
        self._numbers = NumbersEvidence(
            columns.numbers,
            volume=columns.taken["volume"],
            misfits=partial(_misfits, columns=columns),
        )
        self._daily: pl.DataFrame | None = None
        self._others: pl.DataFrame | None = None
        self._interval: str | None = None

    def add(self, raw: pl.DataFrame, lines: pl.Series | None = None) -> None:
        """Take note of rows as they are in the file, and of the lines that they are on.

        Raises:
            FileRefused: There are more different dates than there can be sessions.
        """
        self._numbers.add(raw, lines)
        name, interval = self._columns.taken["date"], self._columns.interval
        stamps = raw[name]
        if interval is not None:
            is_daily = raw.select(_is_daily(interval)).to_series()
            if not is_daily.all():
                self._interval = self._interval or str(raw[interval].filter(~is_daily)[0])
                self._others = _gathered(self._others, distinct(stamps.filter(~is_daily)))
                stamps = stamps.filter(is_daily)
                lines = lines.filter(is_daily) if lines is not None else None
        self._daily = _gathered(self._daily, distinct(stamps, lines))
        if self._daily.height > _MOST_STAMPS:
            raise FileRefused(
                Code.NOT_A_TABLE,
                self._label,
                f"its column {name!r} has more than {_MOST_STAMPS:,} different dates",
                "expected a row per symbol and session",
            )

    def decide(self, reading: Reading = BY_EVIDENCE) -> Values:
        """Return what all values mean.

        Raises:
            FileRefused: The bars are not daily, or dates or numbers can be read in two ways.
        """
        stamps = self._daily if self._daily is not None else distinct(_NO_STAMPS)
        if self._interval is not None and stamps.is_empty():
            raise _not_daily(self._label, f"column {self._columns.interval!r} has {self._interval}")
        numbers = self._numbers.decide(label=self._label, reading=reading)
        dates = decide_dates(stamps, label=self._label, reading=reading)
        days = dates.of(stamps["stamp"]).drop_nulls().unique().sort().to_list()
        gaps = [(after - before).days for before, after in pairwise(days)]
        if len(days) >= _MANY_DAYS and min(gaps) > _LONGEST_CLOSURE_DAYS:
            raise _not_daily(self._label, f"none of its {len(days)} dates follow one another")
        return Values(self._columns, self._label, dates, numbers)

    def rows_of_dates(self, values: Values) -> pl.DataFrame:
        """Return ``date``, ascending, and about how many ``rows`` it has.

        Raises:
            FileRefused: One has more than there can be symbols.
        """
        parts = [part for part in (self._daily, self._others) if part is not None]
        found = (
            pl.concat(
                part.select(date=values.dates.of(part["stamp"]), rows=pl.col("rows"))
                for part in parts
            )
            .drop_nulls()
            .group_by("date")
            .agg(pl.col("rows").sum())
            .sort("date")
        )
        most = found.filter(pl.col("rows") > _MOST_ROWS_OF_A_DATE)
        if most.height:
            raise _not_daily(self._label, "{} has {:,} rows".format(*most.row(0)))
        return found


def _gathered(before: pl.DataFrame | None, stamps: pl.DataFrame) -> pl.DataFrame:
    return stamps if before is None else together([before, stamps])


@dataclass(frozen=True, slots=True)
class Values:
    """What the values of a file mean."""

    columns: Columns
    label: str
    dates: Dates
    numbers: Numbers

    def rows(
        self, raw: pl.DataFrame, *, symbol: str | None, lines: pl.Series | None = None
    ) -> pl.DataFrame:
        """Return rows of the file: columns of :data:`batch.core.schema.STAGED`, in their order.

        What cannot be read becomes null. What must not be taken has a ``reason``.

        Args:
            raw: As they are in the file.
            symbol: Used where the file has no column of symbols.
            lines: The line of the file that each row begins on, where it has lines.

        Raises:
            FileRefused: A symbol has several bars of one day.
        """
        columns, taken = self.columns, self.columns.taken
        raw = self.numbers.of(raw, columns.numbers)
        symbols, is_other = self._symbols(raw, symbol)
        reasons = [*self._reasons(), pl.when(is_other).then(pl.lit(Reason.SYMBOL_UNKNOWN.value))]
        rows = raw.select(
            symbol=symbols,
            date=self.dates.of(raw[taken["date"]]),
            **{name: read_numbers(taken.get(name), raw.schema) for name in NUMBERS},
            reason=_joined(reasons),
            line=pl.lit(None, pl.Int64) if lines is None else lines.cast(pl.Int64),
        )
        whole = pl.when(pl.col("trades").is_finite()).then(pl.col("trades").round())
        rows = rows.with_columns(whole.cast(pl.Int64, strict=False))
        _require_one_stamp_a_day(rows, raw, columns, self.label)
        return _with_known_symbols(rows)

    def _symbols(self, raw: pl.DataFrame, symbol: str | None) -> tuple[pl.Expr, pl.Expr]:
        """Return the symbols, and which of them are known to be others than of US exchanges."""
        if "symbol" not in self.columns.taken:
            return pl.lit(symbol, dtype=pl.String), pl.lit(value=False)
        symbols = pl.col(self.columns.taken["symbol"]).cast(pl.String).str.strip_chars()
        if not self.columns.is_stooq:
            return symbols, pl.lit(value=False)
        plain = symbols.str.strip_suffix(".US").str.replace_all("-", ".", literal=True)
        found = raw.select(theirs=symbols, ours=plain).unique()
        shared = found.filter(pl.col("ours").is_duplicated())["theirs"]
        is_ours = symbols.str.ends_with(".US") & ~symbols.is_in(shared.implode())
        return pl.when(is_ours).then(plain).otherwise(symbols), ~is_ours

    def _reasons(self) -> list[pl.Expr]:
        reasons: list[pl.Expr] = []
        if self.columns.interval is not None:
            is_daily = _is_daily(self.columns.interval)
            reasons.append(pl.when(~is_daily).then(pl.lit(Reason.NOT_DAILY.value)))
        if self.columns.currency is not None:
            text = (
                pl.col(self.columns.currency).cast(pl.String).str.strip_chars().str.to_uppercase()
            )
            is_other = ~text.is_in(["USD", "US$", "$", ""])
            reasons.append(pl.when(is_other).then(pl.lit(Reason.NOT_USD.value)))
        return reasons


def _joined(reasons: Sequence[pl.Expr]) -> pl.Expr:
    applies = pl.any_horizontal(reason.is_not_null() for reason in reasons)
    return pl.when(applies).then(pl.concat_str(reasons, separator="; ", ignore_nulls=True))


def _with_known_symbols(rows: pl.DataFrame) -> pl.DataFrame:
    """Refuse rows whose symbol is not written as US exchanges write theirs.

    A suffix that names an exchange or a vendor is not removed: ``ABC.O`` of one vendor is a
    share class of another.
    """
    symbols = rows["symbol"].unique().drop_nulls().to_frame()
    symbol = pl.col("symbol")
    shown = symbols.filter(symbol.str.contains(r"[^\s\p{Cc}\p{Cf}]"))
    is_known = symbol.str.contains(_SYMBOL) & ~symbol.str.contains(_VENDORS_SUFFIX)
    is_new = pl.col("reason").is_null() | ~pl.col("reason").str.contains(Reason.SYMBOL_UNKNOWN)
    strange = shown.filter(~is_known)["symbol"]
    if strange.is_empty():
        return rows
    refused = pl.when(symbol.is_in(strange.implode()) & is_new).then(
        pl.lit(Reason.SYMBOL_UNKNOWN.value)
    )
    return rows.with_columns(reason=_joined([pl.col("reason"), refused]))


def _is_daily(interval: str) -> pl.Expr:
    """Tell which rows are bars of a day by their interval; a blank one says nothing else."""
    text = pl.col(interval).cast(pl.String).str.to_lowercase().str.replace_all(r"[\s_-]", "")
    # A fraction is no interval, but may be a ratio of prices to earnings (PER).
    return (text.str.contains(_DAILY) | text.str.contains(r"^\d+\.\d*[1-9]\d*$")).fill_null(
        value=True
    )


def _not_daily(label: str, found: str) -> FileRefused:
    return FileRefused(
        Code.NO_SESSIONS, label, f"its bars are not daily: {found}", "export daily bars"
    )


def _require_one_stamp_a_day(
    rows: pl.DataFrame, raw: pl.DataFrame, columns: Columns, label: str
) -> None:
    """Refuse bars of minutes or hours: several times of one day for one symbol."""
    stamps = [columns.taken["date"]]
    stamps += columns.times
    varying = [name for name in stamps if raw[name].n_unique() > rows["date"].n_unique()]
    if not varying:
        return
    of_bars = rows.select(
        "symbol", "date", "reason", stamp=raw.select(pl.struct(stamps)).to_series()
    )
    is_bar = pl.col("date").is_not_null() & pl.col("reason").is_null()
    several = of_bars.filter(is_bar).drop("reason").unique()
    twice = several.filter(pl.struct("symbol", "date").is_duplicated())
    if twice.height:
        symbol, day, _ = twice.row(0)
        raise _not_daily(label, f"{symbol} has several times on {day}")


def _misfits(raw: pl.DataFrame, columns: Columns) -> pl.Series:
    """Tell which bars have a high or a low that is not one, with the numbers as they are read."""
    price = {name: read_numbers(columns.taken[name], raw.schema) for name in schema.PRICES}
    high, low = price["high"], price["low"]
    others = [price["open"], price["close"]]
    is_off = pl.any_horizontal(high < low, *(high < one for one in others))
    is_off |= pl.any_horizontal(low > one for one in others)
    return raw.select(is_off.fill_null(value=False)).to_series()
