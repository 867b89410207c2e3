"""What a file is, by its first bytes and never by its name. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

PARQUET: Final = b"PAR1"
"""The first and the last bytes of Parquet."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""A frame, or one to be skipped: https://www.rfc-editor.org/rfc/rfc8878."""
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The container of .xls workbooks, and of .xlsx ones that have a password:
https://learn.microsoft.com/openspecs/windows_protocols/ms-cfb."""
_STREAM_OF_ENCRYPTED_OFFICE: Final = "EncryptedPackage".encode("utf-16-le")
_SQUEEZED: Final = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
}
_OTHER: Final = {
    b"%PDF": "a PDF document",
    b"ARROW1": "an Arrow file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
}
_ENCRYPTED: Final = (b"-----BEGIN PGP", b"Salted__", b"age-encryption.org", b"PARE")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_TAR_PLACE: Final = slice(257, 262)
_HTML: Final = re.compile(rb"<(?![A-Z]+>\s*[,;\t|])[?!a-zA-Z]")
"""A tag, but not the ``<TICKER>,`` with which Stooq's headings begin."""
_AS_TABLE: Final = "export the table as CSV or Parquet"
UNPACK: Final = "unpack it and import the files"


class FileKind(Enum):
    """What can be read, or unpacked and then read."""

    GZIP = "gzip"
    ZSTD = "zstd"
    ZIP = "a ZIP archive"
    PARQUET = "Parquet"
    TEXT = "text"


def kind_of_bytes(start: bytes, *, label: str) -> FileKind:
    """Recognise a file by its first bytes, of which all or a mebibyte are needed.

    Raises:
        FileRefused: It is empty, or of a kind that is not read.
    """
    kind = kind_by_magic(start)
    if kind is None:
        _refuse_others(start, label)
    return kind or FileKind.TEXT


def kind_by_magic(start: bytes) -> FileKind | None:
    """Recognise what has a magic number, of four bytes at most; None for text and all else."""
    if start.startswith(_GZIP):
        return FileKind.GZIP
    if _ZSTD.match(start):
        return FileKind.ZSTD
    if start.startswith(_ZIP):
        return FileKind.ZIP
    if start.startswith(PARQUET):
        return FileKind.PARQUET
    return None


def _refuse_others(start: bytes, label: str) -> None:
    if not start.strip():
        raise empty(label)
    if start.startswith(_OLE):
        if _STREAM_OF_ENCRYPTED_OFFICE in start:
            raise FileRefused(Code.ENCRYPTED, label, "an Excel workbook with a password", _AS_TABLE)
        raise FileRefused(Code.EXCEL, label, "an Excel workbook (.xls)", _AS_TABLE)
    if start.startswith(_ENCRYPTED):
        raise FileRefused(Code.ENCRYPTED, label, "encrypted", "decrypt it first")
    if start[_TAR_PLACE] == b"ustar":
        raise FileRefused(Code.NOT_A_TABLE, label, "a tar archive", UNPACK)
    for magic, name in _SQUEEZED.items():
        if start.startswith(magic):
            raise FileRefused(
                Code.NOT_A_TABLE, label, f"compressed with {name}", "unpack it, or use gzip"
            )
    for magic, name in _OTHER.items():
        if start.startswith(magic):
            raise FileRefused(Code.NOT_A_TABLE, label, name, _AS_TABLE)


def empty(label: str) -> FileRefused:
    """Return the refusal of a file without bytes, or of blanks only."""
    return FileRefused(Code.EMPTY, label, "empty", f"{DOWNLOAD_AGAIN}, or remove it")


def refuse_other_text(start: bytes, *, label: str) -> None:
    """Refuse a text that begins as no table does; ``start`` is UTF-8 without a mark.

    Raises:
        FileRefused: It is binary, HTML or JSON.
    """
    start = start[:4096].lstrip()
    if _CONTROL.search(start.partition(b"\n")[0]):
        raise FileRefused(
            Code.NOT_A_TABLE, label, "binary, of an unknown kind: it has control bytes", _AS_TABLE
        )
    if _HTML.match(start):
        raise FileRefused(
            Code.HTML,
            label,
            "a web page or XML, not a table: the vendor answered with an error or a login",
            f"open it in a browser to see what it says, then {DOWNLOAD_AGAIN}",
        )
    if start[:1] in (b"{", b"["):
        raise FileRefused(Code.NOT_A_TABLE, label, "JSON, not a table", _AS_TABLE)
