"""Whether a file ends as one of its kind does, which it does not while it is being written."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_PARQUET: Final = b"PAR1"
_CHUNK_BYTES: Final = 1024 * 1024

_JUDGED_BYTES: Final = 32 * 1024 * 1024
_JUDGED_RATIO: Final = 200
"""What unpacks to more than this is no longer read: its end is not what is wrong with it."""


def has_its_end(path: Path) -> bool:
    """Tell whether a file has an end: of Parquet, of a ZIP archive, of gzip or zstd, of a line.

    Raises:
        OSError: It cannot be read.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        if start.startswith(_GZIP):
            return _unpacks(path, "gzip", size_bytes)
        if start == _ZSTD:
            return _unpacks(path, "zstd", size_bytes)
        if start.startswith(_ZIP):
            return zipfile.is_zipfile(file)
        if start == _PARQUET:
            return size_bytes > 2 * len(_PARQUET) and _last(file, 4) == _PARQUET
        # In UTF-16 the second byte of a line break may be the last.
        return any(one in _last(file, 2) for one in (b"\n", b"\r"))


def _last(file: BinaryIO, count: int) -> bytes:
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(size_bytes - count, 0))
    return file.read(count)


def _unpacks(path: Path, codec: str, size_bytes: int) -> bool:
    """Tell whether all of it can be unpacked: only that shows that its last bytes are an end."""
    unpacked_bytes = 0
    with path.open("rb") as file:
        try:
            with pa.CompressedInputStream(file, codec) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    unpacked_bytes += len(chunk)
                    if unpacked_bytes > max(_JUDGED_BYTES, _JUDGED_RATIO * size_bytes):
                        return True
        except (OSError, pa.ArrowException):
            return False
    return True
