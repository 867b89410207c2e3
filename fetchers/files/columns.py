"""The columns of a delivery under the names that vendors give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from batch.core import schema
from fetchers.files.dates import date_order_of, read_dates
from fetchers.files.numbers import decimal_mark_of, with_decimal_points
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused

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
_NUMBERS: Final = tuple(name for name in schema.DELIVERY.names if name not in ("symbol", "date"))
_REQUIRED: Final = ("date", "open", "high", "low", "close", "volume")
_DAILY: Final = ("1d", "d", "day", "1day", "daily", "1 day", "24h", "1440", "")


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

    def is_yahoo(self, *, of_one_symbol: bool) -> bool:
        """Tell whether Yahoo or yfinance write these columns.

        Others have a column such as ``adj_close`` too, beside symbols and prices as traded.
        """
        names = {plain_name(name) for name in self.unused}
        has_actions = {"dividends", "stock_splits"} <= names
        is_close = "Adj Close" in self.unused or (of_one_symbol and "adj_close" in names)
        return has_actions or is_close

    @property
    def numbers(self) -> list[str]:
        """The file's columns that are taken for numbers."""
        return [self.taken[name] for name in _NUMBERS if name in self.taken]

    @property
    def read(self) -> list[str]:
        """The file's columns whose values matter: taken, or by which bars are daily or not."""
        times = [name for name in self.unused if plain_name(name) == "time"]
        return [*self.taken.values(), *filter(None, [self.interval]), *times]

    @property
    def is_stooq(self) -> bool:
        """Whether these are the columns of Stooq's files of many symbols."""
        return self.taken.get("symbol") == "<TICKER>"


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


def to_delivery_rows(
    raw: pl.DataFrame,
    columns: Columns,
    *,
    symbol: str | None,
    label: str,
    reading: Reading = BY_EVIDENCE,
    lines: pl.Series | None = None,
) -> pl.DataFrame:
    """Return a file's rows under our columns; what cannot be read becomes null.

    They have the columns of :data:`batch.core.schema.STAGED`.

    Args:
        raw: The rows as they are in the file.
        columns: What its columns stand for.
        symbol: Used where the file has no column of symbols.
        label: The file's address, for messages.
        reading: What is known of the source's files.
        lines: The line of the file that each row begins on, where it has lines.

    Raises:
        FileRefused: The bars are not daily, or its dates or numbers can be read in two ways.
    """
    taken = columns.taken
    if columns.interval is not None:
        keep = is_daily(raw, columns.interval)
        if raw.height and not keep.any():
            raise not_daily(f"column {columns.interval!r} has {raw[columns.interval][0]}", label)
        raw = raw.filter(keep)
        lines = lines.filter(keep) if lines is not None else None
    symbols = (
        pl.col(taken["symbol"]).cast(pl.String).str.strip_chars()
        if "symbol" in taken
        else pl.lit(symbol, dtype=pl.String)
    )
    if columns.is_stooq:  # Stooq's AAPL.US and BRK-B.US
        plain = symbols.str.strip_suffix(".US").str.replace_all("-", ".", literal=True)
        symbols = pl.when(symbols.str.ends_with(".US")).then(plain).otherwise(symbols)
    has_quotes = symbols.str.contains(r"['\"`]")  # of a dialect that is not read
    symbols = pl.when(~has_quotes).then(symbols)
    raw = with_decimal_points(
        raw,
        columns.numbers,
        label=label,
        reading=reading,
        misfits=partial(_misfits, columns=columns),
    )
    rows = raw.select(
        symbol=symbols,
        date=read_dates(raw[taken["date"]], label=label, reading=reading),
        **{name: read_numbers(taken.get(name), raw.schema) for name in _NUMBERS},
    )
    _require_one_stamp_a_day(rows, raw, columns, label)
    whole = pl.when(pl.col("trades").is_finite()).then(pl.col("trades").round())
    return rows.with_columns(
        whole.cast(pl.Int64, strict=False),
        reason=pl.lit(None, pl.String),
        line=pl.lit(None, pl.Int64) if lines is None else lines,
    )


def is_daily(raw: pl.DataFrame, interval: str) -> pl.Series:
    """Return which rows are of a day by the column with their interval."""
    text = pl.col(interval).cast(pl.String).str.strip_chars().str.to_lowercase()
    return raw.select(text.is_in(_DAILY) | text.is_null()).to_series()


def decided_reading(
    raw: pl.DataFrame, stamps: pl.Series, columns: Columns, *, label: str, reading: Reading
) -> Reading:
    """Return what rows and stamps of a file decide of all others: date order and decimal mark.

    Raises:
        FileRefused: Its dates or numbers can be read in two ways.
    """
    texts = [name for name in columns.numbers if raw.schema[name] == pl.String]
    mark = reading.decimal_mark
    if texts:
        misfits = partial(_misfits, columns=columns)
        mark = decimal_mark_of(raw, texts, label=label, reading=reading, misfits=misfits)
    order = date_order_of(stamps, label=label, reading=reading)
    return replace(reading, date_order=order, decimal_mark=mark)


def _require_one_stamp_a_day(
    rows: pl.DataFrame, raw: pl.DataFrame, columns: Columns, label: str
) -> None:
    """Refuse bars of minutes or hours: several times of one day for one symbol."""
    stamps = [columns.taken["date"]]
    stamps += [name for name in columns.unused if plain_name(name) == "time"]
    varying = [name for name in stamps if raw[name].n_unique() > rows["date"].n_unique()]
    if not varying:
        return
    of_bars = rows.select("symbol", "date", stamp=raw.select(pl.struct(stamps)).to_series())
    several = of_bars.filter(pl.col("date").is_not_null()).unique()
    twice = several.filter(pl.struct("symbol", "date").is_duplicated())
    if twice.height:
        symbol, day, _ = twice.row(0)
        raise not_daily(f"{symbol} has several times on {day}", label)


def not_daily(evidence: str, label: str) -> FileRefused:
    """Return the refusal of bars of minutes or hours."""
    return FileRefused(
        Code.NO_SESSIONS, label, f"its bars are not daily: {evidence}", "export daily bars"
    )


def _misfits(raw: pl.DataFrame, columns: Columns) -> int:
    """Count the bars whose high or low is not one, with the numbers as they are read."""
    price = {name: read_numbers(columns.taken[name], raw.schema) for name in schema.PRICES}
    high, low = price["high"], price["low"]
    others = [price["open"], price["close"]]
    is_off = pl.any_horizontal(high < low, *(high < one for one in others))
    is_off |= pl.any_horizontal(low > one for one in others)
    return int(raw.select(is_off.sum()).item())


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

    Stooq's are named as :func:`stooq_symbol` says; others ``AAPL.csv``, in capitals but for
    Polygon's endings of preferred shares, rights and warrants.
    """
    is_symbol = re.fullmatch(r"[A-Z]{1,6}([.-][A-Z]{1,4})?(p[A-Z]?|r?w?)", stem)
    return stooq_symbol(stem) or (stem if is_symbol else None)


def stooq_symbol(stem: str) -> str | None:
    """Return the symbol of ``aapl.us.txt`` and ``aapl_us_d.csv``, as Stooq names its files."""
    found = re.fullmatch(r"([a-z0-9.-]+?)[._]us(?:_d)?", stem)
    return found[1].upper().replace("-", ".") if found else None


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
    """Read a column of numbers with decimal points; null where it is not given."""
    if column is None:
        return pl.lit(None, dtype=pl.Float64)
    value = pl.col(column)
    if schema[column] == pl.Float32:  # by its shortest decimal: 115.92 is not 115.9199981689
        value = value.cast(pl.String)
    elif schema[column] == pl.String:
        value = value.str.strip_chars()
    return value.cast(pl.Float64, strict=False)
