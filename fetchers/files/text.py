"""Tables in text: which character separates values, and where headings end.

Pure. What comes out has one heading and one row per symbol and date, all as text.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from fetchers.files.columns import plain_name
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

_SEPARATORS: Final = (",", ";", "\t", "|")
_HEAD_BYTES: Final = 256 * 1024
"""Where the first three lines are sought: yfinance writes a column per field and symbol."""

_LINE_BREAK, _QUOTE = b'\n"'

_YFINANCE_FIELDS: Final = frozenset(
    {
        *("open", "high", "low", "close", "adj_close", "volume"),
        *("dividends", "stock_splits", "capital_gains", "repaired"),
    }
)


@dataclass(frozen=True, slots=True)
class FileTable:
    """The table of a file as it is written there.

    ``is_wide`` says that it had a column per field and symbol, as yfinance writes them.
    ``open_end`` is the last column of a text that ends without a line break, so that its last
    number may lack digits; None where that cannot be. ``lines`` has the line of the text that
    each row begins on, counted from 1; None where that is not known.
    """

    rows: pl.DataFrame
    is_wide: bool = False
    open_end: str | None = None
    lines: pl.Series | None = None


def parse_text(content: bytes, *, label: str) -> FileTable:
    """Read a table of values separated by commas, semicolons, tabs or bars, with its heading.

    Raises:
        FileRefused: It ends in the middle of a row or of quotes.
        polars.exceptions.PolarsError: It is not such a table.
    """
    first = content[:_HEAD_BYTES].decode("utf-8-sig", errors="replace").lstrip().splitlines()[:3]
    separator = max(_SEPARATORS, key=lambda one: len(_cells(first[:1], one)[0]))
    head = _cells(first, separator)
    _require_whole(content, separator, len(head[0]), label)
    fields, symbols = _wide_headings(head)
    if not fields:
        rows = pl.read_csv(content, separator=separator, infer_schema=False)
        return FileTable(rows, open_end=_open_end(content, rows), lines=_lines_of(content, rows, 1))
    named_index = len(head) > 2 and not any(head[2][1:]) and not head[2][0][:1].isdigit()
    headings = 3 if named_index else 2
    below = pl.read_csv(
        content, separator=separator, infer_schema=False, has_header=False, skip_rows=headings
    )
    parts = _of_each_symbol(below, fields, symbols)
    lines = _lines_of(content, below, headings)
    return FileTable(
        pl.concat(
            [below.select(part).filter(has_values) for part, has_values in parts], how="diagonal"
        ),
        is_wide=True,
        open_end=_open_end(content, below),
        lines=None
        if lines is None
        else pl.concat([lines.filter(has_values) for _, has_values in parts]),
    )


def _lines_of(content: bytes, rows: pl.DataFrame, headings: int) -> pl.Series | None:
    """Return the line that each row begins on; None where that cannot be said.

    A row ends at a line break that no quotes enclose. Polars reads a row of nulls from an empty
    line, except above the heading.
    """
    blank = content[: len(content) - len(content.lstrip())].count(b"\n")
    first = blank + headings + 1
    if b'"' not in content:
        last = content.count(b"\n") + (not content.endswith(b"\n"))
        lines = pl.int_range(first, last + 1, eager=True)
    else:
        at = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(at == _LINE_BREAK)
        quotes_before = np.searchsorted(np.flatnonzero(at == _QUOTE), ends)
        begins = np.arange(2, len(ends) + 2)[quotes_before % 2 == 0]
        lines = pl.Series(begins[first - 2 :])
        lines = lines.head(len(lines) - content.endswith(b"\n"))
    return lines if len(lines) == rows.height else None


def _require_whole(content: bytes, separator: str, columns: int, label: str) -> None:
    line = content.count(b"\n") + 1
    if content.count(b'"') % 2:
        sentence = "cut off or damaged: quotes that begin and do not end"
        raise FileRefused(Code.TRUNCATED, label, sentence, DOWNLOAD_AGAIN)
    if content.endswith((b"\n", b"\r")):
        return
    last = content.rpartition(b"\n")[2].decode(errors="replace")
    found = len(_cells([last], separator)[0])
    if line > 1 and found < columns:
        sentence = f"cut off: the last line has {found} of {columns} values and no line break"
        raise FileRefused(Code.TRUNCATED, label, sentence, DOWNLOAD_AGAIN, line=line)


def _open_end(content: bytes, table: pl.DataFrame) -> str | None:
    """Return the last column where its last number may have been longer.

    It is known to be whole where all numbers of the column have as many decimals.
    """
    if content.endswith((b"\n", b"\r", b'"')) or not table.width:
        return None
    name = table.columns[-1]
    decimals = table[name].str.extract(r"[.,](\d+)\s*$").str.len_chars()
    is_fixed = table.height > 1 and decimals.null_count() == 0 and decimals.n_unique() == 1
    return None if is_fixed else name


def _cells(lines: list[str], separator: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]


def _wide_headings(head: list[list[str]]) -> tuple[list[str], list[str]]:
    """Return the fields and the symbols of the columns behind the first; none elsewhere.

    yfinance writes the fields above the symbols, or below with ``group_by="ticker"``.
    """
    if len(head) < 2 or len(head[0]) != len(head[1]) or len(head[0]) < 2:
        return [], []
    first, second = head[0][1:], head[1][1:]
    for fields, symbols in ((first, second), (second, first)):
        plain = [plain_name(field) for field in fields]
        if _YFINANCE_FIELDS.issuperset(plain) and all(map(_may_be_symbol, symbols)):
            return plain, symbols
    return [], []


def _may_be_symbol(cell: str) -> bool:
    return any(map(str.isalpha, cell)) and cell.lower() != "nan"


def _of_each_symbol(
    below: pl.DataFrame, fields: list[str], symbols: list[str]
) -> list[tuple[list[pl.Expr], pl.Series]]:
    """Return for each symbol of a wide table its columns, and in which rows it has values."""
    parts = []
    for symbol in dict.fromkeys(symbols):
        own = {
            field: below.columns[place]
            for place, (field, of) in enumerate(zip(fields, symbols, strict=True), 1)
            if of == symbol
        }
        part = [
            pl.lit(symbol).alias("symbol"),
            pl.col(below.columns[0]).alias("date"),
            *(pl.col(column).alias(field) for field, column in own.items()),
        ]
        has_values = below.select(pl.any_horizontal(pl.col(*own.values()).is_not_null()))
        parts.append((part, has_values.to_series()))
    return parts
