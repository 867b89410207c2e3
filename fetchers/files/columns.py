"""The columns of a delivery under the names that vendors give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from batch.core import schema
from fetchers.files.refusals import Code, FileRefused

EXCHANGE_ZONE: Final = "America/New_York"

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "symbol": ("symbol", "ticker", "sym", "act_symbol", "code"),
    "date": (
        "date",
        "session",
        "trade_date",
        "trading_day",
        "window_start",
        "timestamp",
        "datetime",
        "time",
        "t",
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price", "last"),
    "volume": ("volume", "v", "vol", "shares"),
    "vwap": ("vwap", "vw", "volume_weighted_average_price"),
    "trades": ("trades", "transactions", "n", "trade_count", "number_of_trades"),
}
EXPECTED: Final = (
    "symbol,date,open,high,low,close,volume for bars; ticker,execution_date,split_from,split_to"
    " for splits; ticker,ex_dividend_date,cash_amount for dividends; ticker,name,type for tickers"
)
"""Headings that are recognised, for messages."""

SYMBOL_NAMES: Final = _NAMES["symbol"]
_REQUIRED: Final = ("date", "open", "high", "low", "close", "volume")
_DAILY: Final = ("1d", "d", "day", "1day", "daily", "1 day")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file stands for what.

    ``taken`` has the file's column for each of ours; ``symbol`` may be missing, as in files of
    one symbol. ``interval`` is the column with the interval of each row, where there is one.
    """

    taken: dict[str, str]
    unused: tuple[str, ...]
    interval: str | None = None

    @property
    def summary(self) -> str:
        """Which column was taken for what, in one line."""
        pairs = ", ".join(f"{ours} from {theirs!r}" for ours, theirs in self.taken.items())
        rest = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        return f"{pairs}{rest}"

    @property
    def is_adjusted_vendor(self) -> bool:
        """Whether these are the columns of a vendor whose prices are split-adjusted."""
        names = {plain_name(name) for name in self.unused}
        return "adj_close" in names and "symbol" not in self.taken


def has_column(header: Sequence[str], ours: str) -> bool:
    """Tell whether a file's columns include one that stands for ours."""
    return not by_plain_name(header).keys().isdisjoint(_NAMES[ours])


def recognise_columns(header: Sequence[str], *, label: str) -> Columns:
    """Find our columns among a file's, by the names that vendors use.

    Case, blanks and the angle brackets of Stooq do not matter, but ``T`` is Polygon's ticker and
    ``t`` its time. Of several candidates the first in our list wins: ``date`` before
    ``timestamp``.

    Raises:
        FileRefused: A required column is missing.
    """
    theirs = by_plain_name(header)
    taken = {
        ours: next(theirs[name] for name in names if name in theirs)
        for ours, names in _NAMES.items()
        if not theirs.keys().isdisjoint(names)
    }
    missing = [name for name in _REQUIRED if name not in taken]
    if missing:
        raise FileRefused(
            Code.NO_COLUMNS,
            label,
            f"no column for {', '.join(missing)} among {', '.join(header) or 'none'}",
            f"expected headings such as {EXPECTED}",
        )
    interval = theirs.get("per") or theirs.get("interval")
    used = {*taken.values(), interval}
    return Columns(taken, tuple(name for name in header if name not in used), interval)


def to_delivery_rows(raw: pl.DataFrame, columns: Columns, *, symbol: str | None) -> pl.DataFrame:
    """Return a file's rows under our columns; what cannot be read becomes null.

    ``symbol`` is used where the file has no column of symbols.
    """
    taken = columns.taken
    if columns.interval is not None:
        interval = pl.col(columns.interval).cast(pl.String).str.to_lowercase()
        raw = raw.filter(interval.is_in(_DAILY))
    symbols = (
        pl.col(taken["symbol"]).cast(pl.String).str.strip_chars()
        if "symbol" in taken
        else pl.lit(symbol, dtype=pl.String)
    )
    numbers = (name for name in schema.DELIVERY.names if name not in ("symbol", "date"))
    rows = raw.select(
        symbol=symbols,
        date=read_dates(pl.col(taken["date"]), raw.schema[taken["date"]]),
        **{name: read_numbers(taken.get(name), raw.schema) for name in numbers},
    )
    whole = pl.when(pl.col("trades").is_finite()).then(pl.col("trades").round())
    return rows.with_columns(whole.cast(pl.Int64, strict=False))


def require_types(schema: pl.Schema, columns: Columns, *, label: str) -> None:
    """Refuse columns whose type cannot stand for what they are taken for.

    Text is read value by value; a Boolean, a list, bytes, a time or a duration is no price.

    Raises:
        FileRefused: Names the first such column, its type and what was expected.
    """
    for ours, theirs in columns.taken.items():
        kind = schema[theirs]
        if kind in (pl.String, pl.Null):
            continue
        if ours == "symbol":
            fits, expected = kind in (pl.Categorical, pl.Enum), "text"
        elif ours == "date":
            fits = kind in (pl.Date, pl.Datetime) or kind.is_integer() or kind == pl.Float64
            expected = "dates, instants, text or whole numbers"
        else:
            fits, expected = kind.is_numeric(), "numbers or text"
        if not fits:
            raise FileRefused(
                Code.NO_COLUMNS,
                label,
                f"its column {theirs!r} has values of type {kind}; expected {expected}",
                f"write the column as {expected}",
            )


def symbol_of_name(stem: str) -> str | None:
    """Return the symbol that a file of one symbol is named after; None where it is not.

    Stooq writes ``aapl.us.txt`` and ``aapl_us_d.csv``; others write ``AAPL.csv``, in capitals
    but for Polygon's endings of preferred shares, rights and warrants.
    """
    stooq = re.fullmatch(r"([a-z0-9.-]+?)[._]us(?:_d)?", stem)
    if stooq:
        return stooq[1].upper().replace("-", ".")
    return stem if re.fullmatch(r"[A-Z]{1,6}([.-][A-Z]{1,4})?(p[A-Z]?|r?w?)", stem) else None


def by_plain_name(header: Sequence[str]) -> dict[str, str]:
    """Return a file's columns by their names without capitals and punctuation."""
    theirs: dict[str, str] = {}
    for name in header:
        theirs.setdefault("symbol" if name == "T" else plain_name(name), name)
    return theirs


def plain_name(name: str) -> str:
    """Return the name of a column without capitals and punctuation."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def read_numbers(column: str | None, schema: pl.Schema) -> pl.Expr:
    """Read a column of numbers, with or without commas between thousands; null where not given."""
    if column is None:
        return pl.lit(None, dtype=pl.Float64)
    value = pl.col(column)
    if schema[column] == pl.Float32:  # by its shortest decimal: 115.92 is not 115.9199981689
        value = value.cast(pl.String)
    elif schema[column] == pl.String:
        value = value.str.strip_chars().str.replace_all(",", "", literal=True)
    return value.cast(pl.Float64, strict=False)


def read_dates(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Read dates as ISO text, 20150716, 07/16/2015, 16.07.2015, epochs of any unit, or typed."""
    if kind == pl.Date:
        return value
    if isinstance(kind, pl.Datetime):
        return _session_of(value) if kind.time_zone else value.dt.date()
    if kind.is_numeric():
        return _of_number(value.cast(pl.Int64, strict=False))
    text = value.cast(pl.String).str.strip_chars()
    number = text.str.extract(r"^(\d{8,19})$").cast(pl.Int64, strict=False)
    iso = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    zoned = (
        pl.when(text.str.contains(r"T.*(?:Z|[+-]\d\d:?\d\d)$"))
        .then(text)
        .str.to_datetime("%+", strict=False, time_zone="UTC")
    )
    return pl.coalesce(
        _of_number(number),
        _session_of(zoned),
        iso,
        text.str.to_date("%m/%d/%Y", strict=False),
        text.str.to_date("%d.%m.%Y", strict=False),
    )


def _of_number(number: pl.Expr) -> pl.Expr:
    day = pl.when(number < 100_000_000).then(number).cast(pl.String)
    nanos = pl.coalesce(
        pl.when(number >= least).then(number * nanos_each)
        for least, nanos_each in ((10**17, 1), (10**14, 10**3), (10**11, 10**6), (10**8, 10**9))
    )
    return pl.coalesce(
        day.str.to_date("%Y%m%d", strict=False),
        _session_of(pl.from_epoch(nanos, time_unit="ns").dt.replace_time_zone("UTC")),
    )


def _session_of(instant: pl.Expr) -> pl.Expr:
    """Return the exchange's date of an instant; midnight in UTC stands for its own date.

    A vendor's daily bar is stamped somewhere in its session's day in New York; files
    that hold dates only come out as midnight UTC when read as instants.
    """
    midnight = instant.dt.time() == pl.time(0, 0, 0)
    in_utc = instant.dt.convert_time_zone("UTC")
    return (
        pl.when(midnight)
        .then(in_utc.dt.date())
        .otherwise(in_utc.dt.convert_time_zone(EXCHANGE_ZONE).dt.date())
    )
