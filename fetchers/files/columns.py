"""The columns of a delivery under the names that vendors give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from batch.core import schema
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
    "volume": ("volume", "v", "vol"),
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
NUMBERS: Final = tuple(name for name in schema.DELIVERY.names if name not in ("symbol", "date"))
_INTERVAL: Final = (
    *("per", "interval", "timeframe", "time_frame", "timespan", "period"),
    *("resolution", "frequency", "bar_size", "granularity"),
)
_QUOTES: Final = ("bid", "ask", "bid_price", "ask_price")
_CURRENCY: Final = ("currency", "currency_name", "currency_code")


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
        return [self.taken[name] for name in NUMBERS if name in self.taken]

    @property
    def currency(self) -> str | None:
        """The file's column with the currency of its prices, where there is one."""
        return next((name for name in self.unused if plain_name(name) in _CURRENCY), None)

    @property
    def times(self) -> list[str]:
        """The file's columns with times of day beside dates."""
        return [name for name in self.unused if plain_name(name) == "time"]

    @property
    def read(self) -> list[str]:
        """The file's columns whose values matter: taken, or by which rows are refused."""
        return [*self.taken.values(), *filter(None, [self.interval, self.currency]), *self.times]

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
    for ours, name in taken.items():
        alike = [one for one in header if _without_number(one) == _without_number(name)]
        if len(alike) > 1:
            raise FileRefused(
                Code.NO_COLUMNS,
                label,
                f"two columns for {ours}: {alike[0]!r} and {alike[1]!r}",
                "leave one of them out",
            )
    if plain_name(taken.get("close", "")) == "last" and not theirs.keys().isdisjoint(_QUOTES):
        del taken["close"]  # the last trade at some instant, not the session's
    if plain_name(taken.get("trades", "")) == "n" and "o" not in theirs:
        del taken["trades"]  # a number of something else
    missing = [name for name in _REQUIRED if name not in taken]
    if missing:
        raise FileRefused(
            Code.NO_COLUMNS,
            label,
            f"no column for {', '.join(missing)} among {', '.join(header) or 'none'}",
            f"expected headings such as {EXPECTED}",
        )
    interval = next((theirs[name] for name in _INTERVAL if name in theirs), None)
    used = {*taken.values(), interval}
    return Columns(taken, tuple(name for name in header if name not in used), interval)


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


def _without_number(name: str) -> str:
    """Return the plain name of a column, also of one whose name a reader has made unique."""
    return "symbol" if name == "T" else re.sub(r"_duplicated_\d+$", "", plain_name(name))


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
