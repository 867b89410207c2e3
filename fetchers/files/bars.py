"""The bars of a table: recognised by their columns, read whole or in pieces of bounded memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final, Protocol
from urllib.parse import unquote

import polars as pl

from batch.core.layout import NO_VALUE
from fetchers.files.columns import (
    Columns,
    has_column,
    plain_name,
    recognise_columns,
    require_types,
    stooq_symbol,
    symbol_of_name,
)
from fetchers.files.evidence import Evidence, Values
from fetchers.files.reading import Reading
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.files.stretches import Stretches
from fetchers.files.text import FOREIGN, FileTable

_SUFFIX = re.compile(r"\.(?:csv|txt|parquet)")
_PARTITIONS: Final = {"symbol": "symbol", "ticker": "symbol", "date": "date"}
"""Which of our columns a folder such as ``symbol=AAPL`` stands for."""

_SPLIT_ADJUSTED: Final = "this vendor's prices are usually adjusted for splits, not as traded"
_DIVIDEND_ADJUSTED: Final = (
    "without a column Adj Close they are adjusted for dividends too: download with"
    " auto_adjust=False"
)


class Table(Protocol):
    """A table in a file, read in one piece or in several."""

    columns: list[str]
    is_wide: bool
    is_whole: bool

    def pieces(self, names: Sequence[str] | None = None) -> Iterator[FileTable]:
        """Read some of its columns, or all that a delivery may have, from its beginning."""


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of a part, columns of :data:`batch.core.schema.STAGED`, dirty rows included.

    Attributes:
        columns: Which column was taken for what.
        adjusted: How the prices are not as traded, by the vendor that the layout is of; None
            where nothing shows it.
        pieces: The rows, read once, each piece as it is needed. All rows of a date are in one
            piece, in their order in the file. There is at least one; none is refused any more.
    """

    columns: Columns
    adjusted: str | None
    pieces: Iterable[pl.DataFrame]


def bars_of(
    table: Table, *, address: str, reading: Reading, piece_rows: int, scratch: ExitStack
) -> Bars:
    """Recognise the columns of bars; what the folders of a file stand for is a column too.

    The symbol of a table without any is its name's. A table of several pieces is read twice: for
    the evidence of how its dates and numbers are written, then row by row. ``scratch`` keeps the
    file in which the rows of such a table lie until they are used.

    Raises:
        FileRefused: It has no bars, other bars than its folder says, or adjusted prices; or its
            dates or numbers can be read in two ways.
    """
    partition = partition_of(address)
    given = {
        name: value for name, value in partition.items() if not has_column(table.columns, name)
    }
    columns = recognise_columns([*table.columns, *given], label=address)
    symbol = None if "symbol" in columns.taken else require_symbol(address)
    names = [name for name in columns.read if name not in given]

    def read() -> Iterator[FileTable]:
        for piece in table.pieces(names):
            literals = {name: pl.lit(value, dtype=pl.String) for name, value in given.items()}
            rows = piece.rows.with_columns(**literals)
            _require_whole_numbers(piece, columns, address)
            require_one_encoding(piece, rows, address)
            require_types(rows.schema, columns, label=address)
            yield replace(piece, rows=rows)

    def to_rows(piece: FileTable, values: Values) -> pl.DataFrame:
        rows = values.rows(piece.rows, symbol=symbol, lines=piece.lines)
        if "symbol" in partition:
            _require_symbol_of_folder(rows, partition["symbol"], address)
        return rows

    evidence = Evidence(columns, label=address)
    if table.is_whole:
        tables = list(read())
        for piece in tables:
            evidence.add(piece.rows, piece.lines)
        values = evidence.decide(reading)
        whole = [to_rows(piece, values) for piece in tables]
        return Bars(columns, _adjusted(table, columns, address, reading), whole)
    adjusted = _adjusted(table, columns, address, reading)
    for piece in read():
        evidence.add(piece.rows, piece.lines)
    values = evidence.decide(reading)
    stretches = scratch.enter_context(Stretches(evidence.rows_of_dates(values), piece_rows))
    for piece in read():
        stretches.add(to_rows(piece, values))
    return Bars(columns, adjusted, stretches.in_order())


def _adjusted(table: Table, columns: Columns, address: str, reading: Reading) -> str | None:
    """Return how the prices are not as traded; refuse those where they are not accepted."""
    adjusted = None
    of_one_symbol = not has_column(table.columns, "symbol")
    if table.is_wide or columns.is_yahoo(of_one_symbol=of_one_symbol):
        raw_closes = "adj_close" in map(plain_name, table.columns)
        adjusted = _SPLIT_ADJUSTED if raw_closes else f"{_SPLIT_ADJUSTED}; {_DIVIDEND_ADJUSTED}"
    elif columns.is_stooq or stooq_symbol(_stem(address)):
        adjusted = _SPLIT_ADJUSTED
    if adjusted and not reading.accept_adjusted:
        raise FileRefused(
            Code.ADJUSTED_PRICES,
            address,
            adjusted,
            "a lake has prices as traded: import such, or give --accept-adjusted",
        )
    return adjusted


def _require_whole_numbers(piece: FileTable, columns: Columns, address: str) -> None:
    end = piece.open_end
    if end is not None and (piece.is_wide or end in columns.taken.values()):
        raise FileRefused(
            Code.TRUNCATED,
            address,
            "its last line has no line break, so that its last number may be cut off",
            f"{DOWNLOAD_AGAIN}, or end the last line with a line break where it is whole",
        )


def require_one_encoding(piece: FileTable, rows: pl.DataFrame, address: str) -> None:
    """Refuse rows in which bytes of another encoding were replaced.

    Raises:
        FileRefused: Names the first such line.
    """
    if not piece.has_foreign:
        return
    texts = pl.col(pl.String)
    is_foreign = rows.select(
        pl.any_horizontal(texts.str.contains(FOREIGN, literal=True)).fill_null(value=False)
    ).to_series()
    if is_foreign.any() or any(FOREIGN in name for name in rows.columns):
        lines = piece.lines.filter(is_foreign) if piece.lines is not None else pl.Series([])
        raise FileRefused(
            Code.UNKNOWN_ENCODING,
            address,
            "neither UTF-8 nor UTF-16 with a byte order mark",
            "save it as UTF-8",
            line=next(iter(lines), None),
        )


def _require_symbol_of_folder(rows: pl.DataFrame, of_folder: str | None, address: str) -> None:
    others = rows.filter(pl.col("symbol").ne_missing(of_folder))["symbol"].drop_nulls()
    if len(others):
        raise FileRefused(
            Code.NO_COLUMNS,
            address,
            f"its folder stands for symbol {of_folder or 'null'}, its column has {others[0]}",
            "correct the one that is wrong",
        )


def partition_of(address: str) -> dict[str, str | None]:
    """Return our columns that a path has a value for: ``symbol=BRK%2FB/date=2025-01-15``.

    The folders above a relative path count too; None stands for Hive's null.
    """
    path = PurePosixPath(address if "://" in address else os.path.abspath(address))  # noqa: PTH100 - not to follow links
    found: dict[str, str | None] = {}
    for part in (*path.parent.parts, _stem(address)):
        name, equals, value = part.partition("=")
        if equals and name.lower() in _PARTITIONS:
            text = unquote(value)
            found[_PARTITIONS[name.lower()]] = None if text in ("", NO_VALUE) else text
    return found


def require_symbol(address: str) -> str:
    """Return the symbol that a file without a column of symbols is named after.

    Raises:
        FileRefused: It is not named after one.
    """
    symbol = symbol_of_name(_stem(address))
    if symbol is None:
        raise FileRefused(
            Code.NO_COLUMNS,
            address,
            "no column of symbols, and its name is not a symbol",
            "name it after its symbol in capitals, AAPL.csv, or put it into a folder such as"
            " symbol=AAPL",
        )
    return symbol


def _stem(address: str) -> str:
    return _SUFFIX.split(PurePosixPath(address).name)[0]
