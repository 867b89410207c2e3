"""Whether a file ends as one of its kind does, which it does not while it is being written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from fetchers.files.kinds import PARQUET, FileKind, kind_by_magic
from fetchers.files.refusals import Code, FileRefused
from fetchers.files.streams import Budget, counted, gzip_chunks, zstd_chunks


def has_its_end(path: Path) -> bool:
    """Tell whether a file has an end: of Parquet, of a ZIP archive, of gzip or zstd, of a line.

    Raises:
        OSError: It cannot be read.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        kind = kind_by_magic(file.read(4))
        file.seek(0)
        match kind:
            case FileKind.GZIP | FileKind.ZSTD:
                return _unpacks(file, kind, size_bytes)
            case FileKind.ZIP:
                return zipfile.is_zipfile(file)
            case FileKind.PARQUET:
                return size_bytes > 2 * len(PARQUET) and _last(file, len(PARQUET)) == PARQUET
            case _:
                # In UTF-16 the second byte of a line break may be the last.
                return any(one in _last(file, 2) for one in (b"\n", b"\r"))


def _last(file: BinaryIO, count: int) -> bytes:
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(size_bytes - count, 0))
    return file.read(count)


def _unpacks(file: BinaryIO, kind: FileKind, size_bytes: int) -> bool:
    """Tell whether all of it can be unpacked: only that shows that its last bytes are an end.

    Where it is refused for being too much, its end is not what is wrong with it.
    """
    unpack = gzip_chunks if kind is FileKind.GZIP else zstd_chunks
    try:
        for _ in counted(unpack(file, label=""), Budget(size_bytes, label="")):
            pass
    except FileRefused as err:
        return err.code is not Code.TRUNCATED
    return True
