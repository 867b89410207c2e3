"""Splits, dividends and tickers in files: recognised by their columns, refused row by row. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from batch.core.rules import LEAST_RATIO, MOST_PRICE, MOST_RATIO, Reason, is_blank
from fetchers.files.columns import SYMBOL_NAMES, by_plain_name, plain_name, read_numbers
from fetchers.files.dates import read_dates
from fetchers.files.numbers import with_decimal_points
from fetchers.files.reading import BY_EVIDENCE, Reading


class Kind(StrEnum):
    """What a file that has no bars holds."""

    SPLITS = "splits"
    DIVIDENDS = "dividends"
    TICKERS = "tickers"


RATIO_REASON: Final = f"ratio missing, below {LEAST_RATIO} or above {MOST_RATIO:g}"
AMOUNT_REASON: Final = "amount not a number above zero"

_EXECUTED: Final = ("date", "execution_date", "ex_date")
_PAID: Final = ("date", "ex_dividend_date", "ex_date")
_BEFORE: Final = ("split_from",)
_AFTER: Final = ("split_to",)
_RATIO: Final = ("ratio", "split_ratio", "stock_splits")
_AMOUNT: Final = ("cash_amount", "amount", "dividend", "dividends")

_OTHER_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "dividend_type": ("dividend_type", "type"),
    "currency": ("currency", "currency_name"),
    "pay_date": ("pay_date", "payment_date"),
    "primary_exchange": ("primary_exchange", "exchange"),
    "delisted_date": ("delisted_date", "delisted_utc"),
    "market_cap_usd": ("market_cap_usd", "market_cap"),
}
"""Names of columns that are not only called as ours are."""

_NUMBERS: Final = frozenset({*_BEFORE, *_AFTER, *_RATIO, *_AMOUNT, *_OTHER_NAMES["market_cap_usd"]})

_OF_TICKERS: Final = tuple(
    name
    for name in schema.TICKERS.names
    if name not in ("symbol", "valid_from", "valid_to", "details_date")
)


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """Rows of a reference table, those that cannot be true left out.

    Attributes:
        rows: ``symbol`` and the columns that the file has, under our names and of our types.
        refused_rows: How many were left out.
        reasons: How often each reason to refuse a row applied.
        first_refused: The first of them in words; empty where there is none.
        first_refused_line: Of the file; None where rows have no lines.
    """

    kind: Kind
    rows: pl.DataFrame
    refused_rows: int
    reasons: Counter[str]
    first_refused: str
    first_refused_line: int | None = None

    @property
    def received_rows(self) -> int:
        """Accepted and refused together."""
        return self.rows.height + self.refused_rows


def kind_of(header: Sequence[str]) -> Kind | None:
    """Recognise a reference table by its columns; None where it is none."""
    names = by_plain_name(header).keys()

    def has(*choices: tuple[str, ...]) -> bool:
        return all(not names.isdisjoint(choice) for choice in choices)

    if has(_EXECUTED) and (has(_BEFORE, _AFTER) or has(_RATIO)):
        return Kind.SPLITS
    if has(_PAID, _AMOUNT):
        return Kind.DIVIDENDS
    if has(SYMBOL_NAMES) and any(has(_names(name)) for name in _OF_TICKERS):
        return Kind.TICKERS
    return None


def reference_rows(
    raw: pl.DataFrame,
    kind: Kind,
    *,
    symbol: str | None,
    label: str,
    reading: Reading = BY_EVIDENCE,
    lines: pl.Series | None = None,
) -> ReferenceRows:
    """Return a file's rows of one kind; ``symbol`` is used where it has no column of symbols.

    ``lines`` are those of the file that the rows begin on.

    Raises:
        FileRefused: Its dates or numbers can be read in two ways.
    """
    if kind is Kind.TICKERS and (ends := by_plain_name(raw.columns).get("valid_to")):
        holds = raw[ends].is_null()  # in a table of ours, the other rows are history
        raw, lines = raw.filter(holds), lines.filter(holds) if lines is not None else None
    numbers = [name for name in raw.columns if plain_name(name) in _NUMBERS]
    raw = with_decimal_points(raw, numbers, label=label, reading=reading)
    rows = _READERS[kind](_Source(raw, symbol, label, reading))
    rules = {
        Reason.NO_SYMBOL: pl.col("symbol").is_null() | is_blank("symbol"),
        **_RULES[kind],
    }
    broken = rows.select(rule.fill_null(value=True).alias(reason) for reason, rule in rules.items())
    is_broken = broken.select(pl.any_horizontal(pl.all())).to_series()
    refused = raw.filter(is_broken)
    refused_lines = lines.filter(is_broken).head(1).to_list() if lines is not None else []
    return ReferenceRows(
        kind=kind,
        rows=rows.filter(~is_broken),
        refused_rows=refused.height,
        reasons=Counter({name: n for name in broken.columns if (n := int(broken[name].sum()))}),
        first_refused=str(refused.row(0, named=True)) if refused.height else "",
        first_refused_line=next(iter(refused_lines), None),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    raw: pl.DataFrame
    symbol: str | None
    label: str
    reading: Reading

    def find(self, names: Sequence[str]) -> str | None:
        theirs = by_plain_name(self.raw.columns)
        return next((theirs[name] for name in names if name in theirs), None)

    def symbols(self) -> pl.Expr:
        column = self.find(SYMBOL_NAMES)
        return pl.col(column).cast(pl.String).str.strip_chars() if column else pl.lit(self.symbol)

    def dates(self, names: Sequence[str]) -> pl.Series:
        column = self.find(names)
        if column is None:
            return pl.Series([None], dtype=pl.Date)
        return read_dates(self.raw[column], label=self.label, reading=self.reading)

    def numbers(self, names: Sequence[str]) -> pl.Expr:
        return read_numbers(self.find(names), self.raw.schema)

    def others(self, table_schema: Any, names: Sequence[str]) -> dict[str, pl.Expr | pl.Series]:
        """Return the columns of a table that the file has, each as its type."""
        kinds = polars_schema(table_schema, names)
        return {
            name: self._other(column, kinds[name])
            for name in names
            if (column := self.find(_names(name)))
        }

    def _other(self, column: str, kind: pl.DataType) -> pl.Expr | pl.Series:
        if kind == pl.Date:
            return read_dates(self.raw[column], label=self.label, reading=self.reading)
        if kind == pl.Boolean:
            text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
            return text.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
        if kind.is_numeric():
            return read_numbers(column, self.raw.schema).cast(kind, strict=False)
        text = pl.col(column).cast(pl.String).str.strip_chars()
        return pl.when(text != "").then(text)


_TRUTH: Final = {
    **dict.fromkeys(("true", "t", "yes", "1", "active"), True),
    **dict.fromkeys(("false", "f", "no", "0", "inactive", "delisted"), False),
}


def _splits(source: _Source) -> pl.DataFrame:
    both = source.find(_BEFORE) and source.find(_AFTER)
    return source.raw.select(
        symbol=source.symbols(),
        date=source.dates(_EXECUTED),
        split_from=source.numbers(_BEFORE) if both else pl.lit(1.0),
        split_to=source.numbers(_AFTER if both else _RATIO),
    )


def _dividends(source: _Source) -> pl.DataFrame:
    names = [
        name for name in schema.DIVIDENDS.names if name not in ("symbol", "date", "cash_amount")
    ]
    given = source.others(schema.DIVIDENDS, names)
    kinds = polars_schema(schema.DIVIDENDS)
    absent = {name: pl.lit(None, dtype=kinds[name]) for name in names if name not in given}
    return source.raw.select(
        symbol=source.symbols(),
        date=source.dates(_PAID),
        cash_amount=source.numbers(_AMOUNT),
        **given,
        **absent,
    ).select(schema.DIVIDENDS.names)


def _tickers(source: _Source) -> pl.DataFrame:
    return source.raw.select(symbol=source.symbols(), **source.others(schema.TICKERS, _OF_TICKERS))


def _names(name: str) -> tuple[str, ...]:
    return _OTHER_NAMES.get(name, (name,))


_READERS: Final[dict[Kind, Callable[[_Source], pl.DataFrame]]] = {
    Kind.SPLITS: _splits,
    Kind.DIVIDENDS: _dividends,
    Kind.TICKERS: _tickers,
}
_RATIO_OF_ROW: Final = pl.col("split_to") / pl.col("split_from")
_NO_DATE: Final = {Reason.NO_DATE: pl.col("date").is_null()}
_RULES: Final[dict[Kind, dict[str, pl.Expr]]] = {
    Kind.SPLITS: _NO_DATE | {RATIO_REASON: ~_RATIO_OF_ROW.is_between(LEAST_RATIO, MOST_RATIO)},
    Kind.DIVIDENDS: _NO_DATE
    | {AMOUNT_REASON: ~pl.col("cash_amount").is_between(0, MOST_PRICE, closed="right")},
    Kind.TICKERS: {},
}
