"""The tables in a file: its own, or one for each member of an archive.

Each is read, or refused, on its own. What a file is follows from its bytes, never from its name.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl

from fetchers.files.archives import member_chunks, members_of, open_archive
from fetchers.files.bars import Bars, Table, bars_of, require_one_encoding, require_symbol
from fetchers.files.columns import has_column
from fetchers.files.kinds import UNPACK, FileKind, kind_of_bytes
from fetchers.files.parquet import ParquetTable
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.reference import Kind, ReferenceRows, kind_of, reference_rows
from fetchers.files.refusals import Code, FileRefused
from fetchers.files.streams import (
    CHUNK_BYTES,
    Budget,
    counted,
    gzip_chunks,
    plain_chunks,
    zstd_chunks,
)
from fetchers.files.text import TextTable

PIECE_BYTES: Final = 32 * 1024 * 1024
"""How much of a table is read at a time: a smaller one is read at once."""

_ROW_BYTES: Final = 64
_MOST_REFERENCE_PIECES: Final = 8
_LONGEST_NAME: Final = 200

_Chunks = Callable[[], Iterator[bytes]]


class Part:
    """One table of a file; it can be read until the next part is asked for.

    Attributes:
        address: For messages: the file's, with the name of the member behind a slash.
        name: The member of an archive; None where the file is a table itself.
    """

    def __init__(
        self,
        open_table: Callable[[], Table],
        *,
        address: str,
        name: str | None = None,
        reading: Reading,
        piece_bytes: int,
        scratch: ExitStack,
    ) -> None:
        self.address = address
        self.name = name
        self._reading = reading
        self._piece_bytes = piece_bytes
        self._open_table = open_table
        self._scratch = scratch

    @property
    def kind(self) -> Kind | None:
        """The reference table that it holds by its columns; None for bars.

        Raises:
            FileRefused: It is not a table.
        """
        header = self._table.columns
        return None if has_column(header, "open") else kind_of(header)

    def reference(self, kind: Kind) -> ReferenceRows:
        """Return its rows of a reference table.

        Raises:
            FileRefused: It names no symbols, or its dates or numbers can be read in two ways.
        """
        symbol = None
        if not has_column(self._table.columns, "symbol"):
            symbol = require_symbol(self.address)
        pieces = []
        for piece in self._table.pieces():
            require_one_encoding(piece, piece.rows, self.address)
            pieces.append(piece)
            if len(pieces) > _MOST_REFERENCE_PIECES:
                raise FileRefused(
                    Code.TOO_LARGE,
                    self.address,
                    f"larger than {kind} of all US stocks can be",
                    "split it into several files",
                )
        lines = [piece.lines for piece in pieces if piece.lines is not None]
        return reference_rows(
            pl.concat(piece.rows for piece in pieces),
            kind,
            symbol=symbol,
            label=self.address,
            reading=self._reading,
            lines=pl.concat(lines) if len(lines) == len(pieces) else None,
        )

    def bars(self) -> Bars:
        """Return its bars; see :func:`bars_of`.

        Raises:
            FileRefused: It has none, or none that can be trusted.
        """
        return bars_of(
            self._table,
            address=self.address,
            reading=self._reading,
            piece_rows=self._piece_bytes // _ROW_BYTES,
            scratch=self._scratch,
        )

    @cached_property
    def _table(self) -> Table:
        return self._open_table()


def parts_of(
    path: Path,
    *,
    address: str,
    reading: Reading = BY_EVIDENCE,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[Part]:
    """Return the tables in a local file, one after another; at least one.

    Nothing is refused here: what cannot be read says so when it is read.

    Args:
        path: The file, under any name.
        address: Where it comes from, such as ``s3://bucket/uploads/stooq/aapl.us.txt``: for
            messages, and for the symbol that its name or its folders stand for.
        reading: What is known of the source's files.
        piece_bytes: How much of a table is read at a time.
    """
    with path.open("rb") as file:
        start = file.read(CHUNK_BYTES)

    def part(open_table: Callable[[], Table], scratch: ExitStack, name: str | None = None) -> Part:
        return Part(
            open_table,
            address=address if name is None else f"{address}/{name}",
            name=name,
            reading=reading,
            piece_bytes=piece_bytes,
            scratch=scratch,
        )

    with ExitStack() as stack:
        if not _is_archive(start):
            yield part(partial(_table_of_file, path, start, address, piece_bytes, stack), stack)
            return
        try:
            archive = stack.enter_context(open_archive(path, label=address))
            members = members_of(archive, label=address)
            inflated_bytes = sum(member.file_size for member in members)
            Budget(path.stat().st_size, label=address).take(inflated_bytes)
        except FileRefused as err:
            yield part(partial(_refuse, err), stack)
            return
        for member in members:
            with ExitStack() as of_member:
                name = _printable(member.filename)
                label = f"{address}/{name}"
                chunks = partial(_chunks_of_member, archive, member, label)
                opens = partial(
                    _table_of_chunks, chunks, "a ZIP archive", label, piece_bytes, of_member
                )
                yield part(opens, of_member, name)


def _is_archive(start: bytes) -> bool:
    with suppress(FileRefused):
        return kind_of_bytes(start, label="") is FileKind.ZIP
    return False


def _refuse(refusal: FileRefused) -> Table:
    raise refusal


def _table_of_file(
    path: Path, start: bytes, label: str, piece_bytes: int, stack: ExitStack
) -> Table:
    kind = kind_of_bytes(start, label=label)
    if kind is FileKind.PARQUET:
        return ParquetTable(path, label=label, piece_bytes=piece_bytes)
    if kind is FileKind.TEXT:
        chunks = partial(_chunks_of_file, path, label, lambda file, **_: plain_chunks(file))
        return TextTable(chunks, label=label, piece_bytes=piece_bytes)
    inflate = gzip_chunks if kind is FileKind.GZIP else zstd_chunks
    chunks = partial(_chunks_of_file, path, label, inflate)
    return _table_of_chunks(chunks, kind.value, label, piece_bytes, stack)


def _table_of_chunks(
    chunks: _Chunks, packing: str, label: str, piece_bytes: int, stack: ExitStack
) -> Table:
    """Open what came out of a compression; Parquet goes through a file without a name."""
    opened, taken = chunks(), list[bytes]()
    for chunk in opened:
        taken.append(chunk)
        if sum(map(len, taken)) >= CHUNK_BYTES // 16:
            break
    kind = kind_of_bytes(b"".join(taken), label=label)
    whole = chain(taken, opened)
    unread = [whole]

    def from_start() -> Iterator[bytes]:
        """Return the chunks; the first time, without inflating anew what is there already."""
        return unread.pop() if unread else chunks()

    if kind is FileKind.TEXT:
        return TextTable(from_start, label=label, piece_bytes=piece_bytes)
    if kind is FileKind.PARQUET:
        unpacked = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - it is one
        for chunk in whole:
            unpacked.write(chunk)
        unpacked.flush()
        return ParquetTable(Path(unpacked.name), label=label, piece_bytes=piece_bytes)
    raise FileRefused(Code.NOT_A_TABLE, label, f"{kind.value} inside {packing}", UNPACK)


def _chunks_of_file(
    path: Path, label: str, inflate: Callable[..., Iterator[bytes]]
) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from counted(inflate(file, label=label), Budget(path.stat().st_size, label=label))


def _chunks_of_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, label: str
) -> Iterator[bytes]:
    budget = Budget(member.compress_size, label=label)
    return counted(member_chunks(archive, member, label=label), budget)


def _printable(name: str) -> str:
    """Return the name of a member as it may stand in a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_NAME])
