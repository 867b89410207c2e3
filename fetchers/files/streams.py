"""The bytes of a file as they come out of its compression, counted against a budget."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa

from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

CHUNK_BYTES: Final = 1024 * 1024
MOST_BYTES: Final = 100 * 1024**3
"""How large a file may be, inflated."""

MOST_RATIO: Final = 200
"""How much larger than its compressed bytes a file may be; bars compress to a fifth or so."""

UNJUDGED_BYTES: Final = 32 * 1024 * 1024
"""So much may come out of any file, however few its bytes are."""

_LEAST_MEMBER_BYTES: Final = 1024
_UNJUDGED_MEMBERS: Final = 1000


class Budget:
    """Counts what comes out of a file, or of all members of an archive together."""

    def __init__(self, packed_bytes: int, *, label: str) -> None:
        self._packed_bytes = packed_bytes
        self._label = label
        self._inflated_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Count bytes that came out, or will.

        Raises:
            FileRefused: They are more than the budget.
        """
        self._inflated_bytes += size_bytes
        inflated = self._inflated_bytes
        if inflated > max(UNJUDGED_BYTES, MOST_RATIO * self._packed_bytes):
            raise FileRefused(
                Code.BOMB,
                self._label,
                f"its {self._packed_bytes:,} bytes unpack to more than {inflated:,}; at most"
                f" {MOST_RATIO} times as many are read",
                "unpack it and look at it, or remove it",
            )
        if inflated > MOST_BYTES:
            raise FileRefused(
                Code.TOO_LARGE,
                self._label,
                f"larger than {MOST_BYTES // 1024**3} GiB",
                "split it into several files",
            )


def counted(chunks: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    """Pass chunks on, each after it was counted."""
    for chunk in chunks:
        budget.take(len(chunk))
        yield chunk


def plain_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Return the rest of a file in chunks."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def gzip_chunks(file: BinaryIO, *, label: str) -> Iterator[bytes]:
    """Inflate the gzip members that a file consists of; zeros may follow them.

    The length and the checksum of each are compared: https://www.rfc-editor.org/rfc/rfc1952.

    Raises:
        FileRefused: It is damaged or cut off, or consists of countless tiny members.
    """
    members = inflated_bytes = 0
    waiting = file.read(CHUNK_BYTES)
    while waiting:
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof:
            waiting = waiting or file.read(CHUNK_BYTES)
            try:
                chunk = inflate.decompress(waiting, CHUNK_BYTES)
            except zlib.error as err:
                raise _damaged(label, "gzip", str(err)) from err
            if not (chunk or waiting or inflate.eof):
                raise _damaged(label, "gzip", "it ends too early")
            waiting = inflate.unconsumed_tail
            inflated_bytes += len(chunk)
            if chunk:
                yield chunk
        members += 1
        if members > _UNJUDGED_MEMBERS + inflated_bytes // _LEAST_MEMBER_BYTES:
            raise FileRefused(
                Code.BOMB,
                label,
                f"its gzip has more than {members:,} members, almost all of them empty",
                DOWNLOAD_AGAIN,
            )
        waiting = inflate.unused_data.lstrip(b"\0")
        while not waiting and (more := file.read(CHUNK_BYTES)):
            waiting = more.lstrip(b"\0")


def zstd_chunks(file: BinaryIO, *, label: str) -> Iterator[bytes]:
    """Inflate the zstd frames that a file consists of.

    Raises:
        FileRefused: It is damaged or cut off.
    """
    try:
        with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except OSError as err:
        raise _damaged(label, "zstd", str(err)) from err


def _damaged(label: str, compression: str, reason: str) -> FileRefused:
    return FileRefused(
        Code.TRUNCATED,
        label,
        f"damaged or cut off: its {compression} is not whole: {reason}",
        DOWNLOAD_AGAIN,
    )
