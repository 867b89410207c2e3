"""The members of a ZIP archive, as far as they can be trusted.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT describes the format.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from fetchers.files.kinds import UNPACK
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.files.streams import CHUNK_BYTES

MOST_MEMBERS: Final = 50_000
_MOST_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IS_ENCRYPTED: Final = 1

_LOCAL: Final = struct.Struct("<4s5H3L2H")


@contextmanager
def open_archive(path: Path, *, label: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members can be inflated one by one; nothing is inflated yet.

    Raises:
        FileRefused: It is damaged, too large or an Excel workbook, or its members overlap.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_Guarded(io.FileIO(path)))
        file.label = label
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            _require_apart(file, archive, label)
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as err:
            sentence = f"a damaged ZIP archive: {err}"
            raise FileRefused(Code.TRUNCATED, label, sentence, DOWNLOAD_AGAIN) from err
        if any(member.filename.startswith("xl/") for member in archive.infolist()):
            raise FileRefused(
                Code.EXCEL, label, "an Excel workbook", "export the table as CSV or Parquet"
            )
        yield archive


def members_of(archive: zipfile.ZipFile, *, label: str) -> list[zipfile.ZipInfo]:
    """Return the members that are files, without what macOS adds and hidden ones.

    Raises:
        FileRefused: There are none.
    """
    files = [member for member in archive.infolist() if _is_of_sender(member)]
    if not files:
        raise FileRefused(
            Code.EMPTY, label, "a ZIP archive without files", f"{DOWNLOAD_AGAIN}, or remove it"
        )
    return files


def member_chunks(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, label: str
) -> Iterator[bytes]:
    """Inflate a member; its checksum is compared at the end.

    Raises:
        FileRefused: It is encrypted, damaged, or compressed in another way than by deflate.
    """
    if member.flag_bits & _IS_ENCRYPTED:
        raise FileRefused(Code.ENCRYPTED, label, "has a password", UNPACK)
    if member.compress_type not in _METHODS:
        raise FileRefused(
            Code.NOT_A_TABLE,
            label,
            f"compressed by method {member.compress_type} inside its archive; expected 8, deflate",
            UNPACK,
        )
    try:
        with archive.open(member) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as err:
        raise FileRefused(
            Code.TRUNCATED, label, f"damaged inside its archive: {err}", DOWNLOAD_AGAIN
        ) from err


class _Guarded(io.BufferedReader):
    """A file that refuses to be asked for a directory too large for memory."""

    label: str

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise _too_large(self.label, f"a directory of {size:,} bytes")
        return super().read(size)


def _too_large(label: str, found: str) -> FileRefused:
    return FileRefused(
        Code.TOO_LARGE,
        label,
        f"a ZIP archive with {found}; at most {MOST_MEMBERS:,} members are read",
        UNPACK,
    )


def _require_apart(file: BinaryIO, archive: zipfile.ZipFile, label: str) -> None:
    """Refuse members that share bytes, as those of archives that unpack to petabytes do.

    https://www.bamsoftware.com/hacks/zipbomb/; CVE-2024-0450 of Python's zipfile.
    """
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise _too_large(label, f"{len(members):,} members")
    taken_up_to = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        file.seek(member.header_offset)
        local = _LOCAL.unpack(file.read(_LOCAL.size))
        if member.header_offset < taken_up_to:
            raise FileRefused(
                Code.BOMB,
                label,
                "a ZIP archive whose members overlap, as those of zip bombs do",
                "do not unpack it; ask its sender for another",
            )
        taken_up_to = member.header_offset + _LOCAL.size + local[9] + local[10]
        taken_up_to += member.compress_size
    if taken_up_to > archive.start_dir:
        raise zipfile.BadZipFile("its last member reaches into its directory")


def _is_of_sender(member: zipfile.ZipInfo) -> bool:
    *folders, name = member.filename.split("/")
    return bool(name) and "__MACOSX" not in folders and not name.startswith(".")
