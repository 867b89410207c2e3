"""Tables in text: which character separates values, and where headings and rows end.

What comes out has one heading and one row per symbol and date, all as text.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from fetchers.files.columns import plain_name
from fetchers.files.kinds import empty, refuse_other_text
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

_SEPARATORS: Final = (",", ";", "\t", "|")
MOST_COLUMNS: Final = 256
"""More are read only of a wide table: yfinance writes a column per field and symbol."""

MOST_LINE_BYTES: Final = 1024 * 1024

FOREIGN: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are not UTF-8."""

_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
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
    each row begins on, counted from 1; None where that is not known. ``has_foreign`` says that
    bytes of another encoding were replaced by :data:`FOREIGN` somewhere.
    """

    rows: pl.DataFrame
    is_wide: bool = False
    open_end: str | None = None
    lines: pl.Series | None = None
    has_foreign: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a text is written, by its first lines.

    ``fields`` and ``symbols`` are those of the columns behind the first of a wide table.
    """

    separator: str
    width: int
    headings: int
    fields: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()


class TextTable:
    """A table of values separated by commas, semicolons, tabs or bars, with its heading.

    Attributes:
        columns: Its headings; those that it has once each row is of one symbol.
        is_wide: Whether it has a column per field and symbol, as yfinance writes them.
        is_whole: Whether it is one piece.
    """

    def __init__(
        self, chunks: Callable[[], Iterator[bytes]], *, label: str, piece_bytes: int
    ) -> None:
        """Read the first piece.

        Args:
            chunks: Returns the text from its beginning, in UTF-8, or UTF-16 with a mark.
            label: The file's address, for messages.
            piece_bytes: How much of the text is read at a time.

        Raises:
            FileRefused: It is not such a table, damaged or cut off.
        """
        self._label = label
        self._chunks = chunks
        self._piece_bytes = piece_bytes
        content, self.is_whole = next(self._contents(), (b"", True))
        if not content.strip():
            raise empty(label)
        refuse_other_text(content, label=label)
        with self._translated():
            self._layout = _layout_of(content, label)
            self._first = self._parse(content, is_last=self.is_whole)
        self.columns = self._first.rows.columns
        self.is_wide = bool(self._layout.fields)

    def pieces(self, names: Sequence[str] | None = None) -> Iterator[FileTable]:
        """Read some columns, by default all, in the order of the rows.

        Raises:
            FileRefused: It is damaged further on.
        """
        if self.is_whole:
            yield _some_columns(self._first, names)
            return
        lines_before = 0
        for content, is_last in self._contents():
            with self._translated():
                table = self._parse(content, is_last=is_last, lines_before=lines_before)
            lines_before += content.count(b"\n")
            yield _some_columns(table, names)

    def _contents(self) -> Iterator[tuple[bytes, bool]]:
        text = as_utf8(self._chunks(), label=self._label)
        return _pieces(text, self._piece_bytes, self._label)

    def _parse(self, content: bytes, *, is_last: bool, lines_before: int = 0) -> FileTable:
        layout = self._layout
        content, has_foreign = _require_text(content, lines_before, self._label)
        _require_rows(content, layout, self._label)
        if is_last:
            _require_whole(content, layout, lines_before, self._label)
        if not lines_before:
            rows = pl.read_csv(
                content,
                separator=layout.separator,
                infer_schema=False,
                has_header=not layout.fields,
                skip_rows=layout.headings if layout.fields else 0,
            )
            lines = _lines_of(content, rows, 1 + layout.headings + _blank_lines(content))
            self._names = rows.columns
        else:
            headings = layout.separator.join(map(str, range(layout.width))).encode()
            rows = pl.read_csv(
                headings + b"\n" + content, separator=layout.separator, infer_schema=False
            )
            rows.columns = self._names
            lines = _lines_of(content, rows, 1)
        if lines is not None:
            lines += lines_before
        open_end = _open_end(content, rows) if is_last else None
        if not layout.fields:
            return FileTable(rows, open_end=open_end, lines=lines, has_foreign=has_foreign)
        parts = _of_each_symbol(rows, layout.fields, layout.symbols)
        return FileTable(
            pl.concat(
                [rows.select(part).filter(has_values) for part, has_values in parts],
                how="diagonal",
            ),
            is_wide=True,
            open_end=open_end,
            lines=None
            if lines is None
            else pl.concat([lines.filter(has_values) for _, has_values in parts]),
            has_foreign=has_foreign,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (csv.Error, pl.exceptions.PolarsError, pl.exceptions.PanicException) as err:
            raise FileRefused(
                Code.NOT_A_TABLE,
                self._label,
                f"not a table of rows under one heading: {str(err).strip().splitlines()[0]}",
                f"{DOWNLOAD_AGAIN}, or export it as CSV with a heading and a row per bar",
            ) from err


def _some_columns(table: FileTable, names: Sequence[str] | None) -> FileTable:
    return table if names is None else replace(table, rows=table.rows.select(names))


def as_utf8(chunks: Iterator[bytes], *, label: str) -> Iterator[bytes]:
    """Return a text as UTF-8, without a byte order mark.

    Raises:
        FileRefused: It is UTF-16 that is damaged or cut off.
    """
    first = next(chunks, b"")
    encoding = next((name for mark, name in _UTF16.items() if first.startswith(mark)), None)
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(first[2:]).encode()
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        decoder.decode(b"", final=True)
    except UnicodeError as err:
        raise FileRefused(
            Code.TRUNCATED, label, f"UTF-16 that is damaged or cut off: {err}", DOWNLOAD_AGAIN
        ) from err


def _pieces(chunks: Iterator[bytes], piece_bytes: int, label: str) -> Iterator[tuple[bytes, bool]]:
    """Return a text in pieces of whole rows, each with whether it is the last one."""
    waiting: list[bytes] = []
    size = 0
    is_first = True
    for chunk in chunks:
        if size + len(chunk) > piece_bytes and size:
            content = b"".join(waiting)
            end = _end_of_row(content)
            if not end:
                for _ in chunks:  # of a bomb, this counts as much as shows that it is one
                    pass
                raise _too_long(label)
            yield content[:end], False
            is_first = False
            waiting, size = [content[end:]], len(content) - end
        waiting.append(chunk)
        size += len(chunk)
    content = b"".join(waiting)
    if content or is_first:
        yield content, True


def _end_of_row(content: bytes) -> int:
    """Return where the last row ends: behind a line break that no quotes enclose; 0 if none."""
    end = content.rfind(b"\n") + 1
    quotes = content.count(b'"', 0, end)
    while quotes % 2:
        before = content.rfind(b"\n", 0, end - 1) + 1
        quotes -= content.count(b'"', before, end)
        end = before
    return end


def _require_text(content: bytes, lines_before: int, label: str) -> tuple[bytes, bool]:
    """Refuse control bytes and endless lines; tell whether some bytes are of another encoding.

    Those are replaced: whether they matter is decided by the column that they are in.
    """
    if 0 in content:
        raise FileRefused(
            Code.NOT_A_TABLE,
            label,
            "binary, of an unknown kind: it has control bytes",
            "export the table as CSV or Parquet",
            line=lines_before + content.count(b"\n", 0, content.index(0)) + 1,
        )
    at = 0
    while len(content) - at > MOST_LINE_BYTES:
        end = content.rfind(b"\n", at, at + MOST_LINE_BYTES)
        if end < 0:
            raise _too_long(label, line=lines_before + content.count(b"\n", 0, at) + 1)
        at = end + 1
    if content.isascii():
        return content, False
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode(errors="replace").encode(), True
    return content, False


def _require_rows(content: bytes, layout: _Layout, label: str) -> None:
    """Refuse lines most of which are shorter than the separators of a row.

    An empty line becomes a row that takes a hundred times its byte of memory.
    """
    if len(content) > MOST_LINE_BYTES and content.count(b"\n") * layout.width > len(content):
        raise FileRefused(
            Code.NOT_A_TABLE,
            label,
            f"most of its lines are empty or shorter than a row of {layout.width} columns",
            f"{DOWNLOAD_AGAIN}, or export it with a line for each bar",
        )


def _too_long(label: str, *, line: int | None = None) -> FileRefused:
    return FileRefused(
        Code.TOO_LARGE,
        label,
        f"a line of more than {MOST_LINE_BYTES // 1024**2} MiB",
        f"{DOWNLOAD_AGAIN}, or export it with a line for each bar",
        line=line,
    )


def too_many_columns(found: int, label: str) -> FileRefused:
    """Return the refusal of a table that has more columns than are read."""
    return FileRefused(
        Code.TOO_LARGE,
        label,
        f"{found:,} columns; at most {MOST_COLUMNS} are read",
        "export the columns of bars only, or a row for each symbol and date",
    )


def _layout_of(content: bytes, label: str) -> _Layout:
    start = end = len(content) - len(content.lstrip())
    for _ in range(3):
        end = content.find(b"\n", end) + 1 or len(content)
    first = content[start:end].decode(errors="replace").splitlines()[:3]
    separator = max(_SEPARATORS, key=lambda one: len(_cells(first[:1], one)[0]))
    head = _cells(first, separator)
    width = len(head[0])
    fields, symbols = _wide_headings(head)
    if fields:
        named_index = len(head) > 2 and not any(head[2][1:]) and not head[2][0][:1].isdigit()
        return _Layout(separator, width, 3 if named_index else 2, tuple(fields), tuple(symbols))
    if width > MOST_COLUMNS:
        raise too_many_columns(width, label)
    return _Layout(separator, width, 1)


def _blank_lines(content: bytes) -> int:
    return content[: len(content) - len(content.lstrip())].count(b"\n")


def _lines_of(content: bytes, rows: pl.DataFrame, first: int) -> pl.Series | None:
    """Return the line that each row begins on; None where that cannot be said.

    A row ends at a line break that no quotes enclose. Polars reads a row of nulls from an empty
    line, except above the heading. ``first`` is the line of the first row.
    """
    if b'"' not in content:
        last = content.count(b"\n") + (not content.endswith(b"\n"))
        lines = pl.int_range(first, last + 1, eager=True)
    else:
        at = np.frombuffer(content, np.uint8)
        ends = np.flatnonzero(at == _LINE_BREAK)
        quotes_before = np.searchsorted(np.flatnonzero(at == _QUOTE), ends)
        begins = np.arange(1, len(ends) + 2)[np.insert(quotes_before % 2 == 0, 0, values=True)]
        lines = pl.Series(begins[first - 1 :])
        lines = lines.head(len(lines) - content.endswith(b"\n"))
    return lines if len(lines) == rows.height else None


def _require_whole(content: bytes, layout: _Layout, lines_before: int, label: str) -> None:
    line = lines_before + content.count(b"\n") + 1
    if content.count(b'"') % 2:
        sentence = "cut off or damaged: quotes that begin and do not end"
        raise FileRefused(Code.TRUNCATED, label, sentence, DOWNLOAD_AGAIN)
    if content.endswith((b"\n", b"\r")):
        return
    last = content.rpartition(b"\n")[2].decode(errors="replace")
    found = len(_cells([last], layout.separator)[0])
    if line > 1 and found < layout.width:
        sentence = f"cut off: the last line has {found} of {layout.width} values and no line break"
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
    below: pl.DataFrame, fields: Sequence[str], symbols: Sequence[str]
) -> list[tuple[list[pl.Expr], pl.Series]]:
    """Return for each symbol of a wide table its columns, and in which rows it has values."""
    of_symbol: dict[str, dict[str, str]] = {}
    for column, field, symbol in zip(below.columns[1:], fields, symbols, strict=True):
        of_symbol.setdefault(symbol, {})[field] = column
    parts = []
    for symbol, own in of_symbol.items():
        part = [
            pl.lit(symbol).alias("symbol"),
            pl.col(below.columns[0]).alias("date"),
            *(pl.col(column).alias(field) for field, column in own.items()),
        ]
        has_values = below.select(pl.any_horizontal(pl.col(*own.values()).is_not_null()))
        parts.append((part, has_values.to_series()))
    return parts
