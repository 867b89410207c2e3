"""The tables in a file: its own, or one for each member of an archive.

Each is read, or refused, on its own.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final
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
    to_delivery_rows,
)
from fetchers.files.kinds import PARQUET, unpack
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.reference import Kind, ReferenceRows, kind_of, reference_rows
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.files.text import FileTable, parse_text

_SUFFIX = re.compile(r"\.(?:csv|txt|parquet)")
_PARTITIONS: Final = {"symbol": "symbol", "ticker": "symbol", "date": "date"}
"""Which of our columns a folder such as ``symbol=AAPL`` stands for."""

_SPLIT_ADJUSTED: Final = "this vendor's prices are usually adjusted for splits, not as traded"
_DIVIDEND_ADJUSTED: Final = (
    "without a column Adj Close they are adjusted for dividends too: download with"
    " auto_adjust=False"
)


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of a part, columns of :data:`batch.core.schema.STAGED`, dirty rows included.

    Attributes:
        columns: Which column was taken for what.
        adjusted: How the prices are not as traded, by the vendor that the layout is of; None
            where nothing shows it.
        pieces: The rows, read once, each piece as it is needed. All rows of a date are in one
            piece, in their order in the file. Nothing is refused any more once the first
            piece is there.
    """

    columns: Columns
    adjusted: str | None
    pieces: Iterable[pl.DataFrame]


class Part:
    """One table of a file; it can be read until the next part is asked for.

    Attributes:
        address: For messages: the file's, with the name of the member behind a slash.
        name: The member of an archive; None where the file is a table itself.
    """

    def __init__(
        self, path: Path, *, address: str, name: str | None = None, reading: Reading
    ) -> None:
        self.address = address
        self.name = name
        self._reading = reading
        self._path = path

    @property
    def kind(self) -> Kind | None:
        """The reference table that it holds by its columns; None for bars.

        Raises:
            FileRefused: It is not a table.
        """
        header = self._table.rows.columns
        return None if has_column(header, "open") else kind_of(header)

    def reference(self, kind: Kind) -> ReferenceRows:
        """Return its rows of a reference table.

        Raises:
            FileRefused: It names no symbols, or its dates or numbers can be read in two ways.
        """
        rows = self._table.rows
        symbol = None if has_column(rows.columns, "symbol") else require_symbol(self.address)
        return reference_rows(
            rows,
            kind,
            symbol=symbol,
            label=self.address,
            reading=self._reading,
            lines=self._table.lines,
        )

    def bars(self) -> Bars:
        """Recognise the columns of its bars; what its folders stand for is a column too.

        The symbol of a table without any is its name's.

        Raises:
            FileRefused: It has no bars, other bars than its folder says, or adjusted prices; or
                its dates or numbers can be read in two ways.
        """
        table, address = self._table, self.address
        rows, partition = table.rows, partition_of(address)
        for name, value in partition.items():
            if not has_column(rows.columns, name):
                rows = rows.with_columns(pl.lit(value, dtype=pl.String).alias(name))
        columns = recognise_columns(rows.columns, label=address)
        if table.open_end is not None and (
            table.is_wide or table.open_end in columns.taken.values()
        ):
            raise FileRefused(
                Code.TRUNCATED,
                address,
                "its last line has no line break, so that its last number may be cut off",
                f"{DOWNLOAD_AGAIN}, or end the last line with a line break where it is whole",
            )
        require_types(rows.schema, columns, label=address)
        symbol = None if "symbol" in columns.taken else require_symbol(address)
        bars = to_delivery_rows(
            rows,
            columns,
            symbol=symbol,
            label=address,
            reading=self._reading,
            lines=table.lines,
        )
        if "symbol" in partition:
            of_folder = partition["symbol"]
            others = bars.filter(pl.col("symbol").ne_missing(of_folder))["symbol"].drop_nulls()
            if len(others):
                raise FileRefused(
                    Code.NO_COLUMNS,
                    address,
                    f"its folder stands for symbol {of_folder or 'null'}, its column has"
                    f" {others[0]}",
                    "correct the one that is wrong",
                )
        adjusted = None
        of_one_symbol = not has_column(table.rows.columns, "symbol")
        if table.is_wide or columns.is_yahoo(of_one_symbol=of_one_symbol):
            raw_closes = "adj_close" in map(plain_name, rows.columns)
            adjusted = _SPLIT_ADJUSTED if raw_closes else f"{_SPLIT_ADJUSTED}; {_DIVIDEND_ADJUSTED}"
        elif columns.is_stooq or stooq_symbol(_stem(address)):
            adjusted = _SPLIT_ADJUSTED
        if adjusted and not self._reading.accept_adjusted:
            raise FileRefused(
                Code.ADJUSTED_PRICES,
                address,
                adjusted,
                "a lake has prices as traded: import such, or give --accept-adjusted",
            )
        return Bars(columns, adjusted, (bars,))

    @cached_property
    def _table(self) -> FileTable:
        content = unpack(self._path.read_bytes(), label=self.address)
        if content.startswith(PARQUET):
            try:
                return FileTable(pl.read_parquet(BytesIO(content)))
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as err:
                raise FileRefused(
                    Code.TRUNCATED,
                    self.address,
                    f"damaged or cut off: {_first_line(err)}",
                    DOWNLOAD_AGAIN,
                ) from err
        try:
            return parse_text(content, label=self.address)
        except (csv.Error, pl.exceptions.PolarsError) as err:
            raise FileRefused(
                Code.NOT_A_TABLE,
                self.address,
                f"not a table of rows under one heading: {_first_line(err)}",
                f"{DOWNLOAD_AGAIN}, or export it as CSV with a heading and a row per bar",
            ) from err


def parts_of(path: Path, *, address: str, reading: Reading = BY_EVIDENCE) -> Iterator[Part]:
    """Return the tables in a local file, one after another; at least one.

    Nothing is refused here: what cannot be read says so when it is read.

    Args:
        path: The file, under any name.
        address: Where it comes from, such as ``s3://bucket/uploads/stooq/aapl.us.txt``: for
            messages, and for the symbol that its name or its folders stand for.
        reading: What is known of the source's files.
    """
    yield Part(path, address=address, reading=reading)


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


def _first_line(err: BaseException) -> str:
    return str(err).strip().splitlines()[0]
