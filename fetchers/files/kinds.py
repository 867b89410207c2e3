"""What a file is, by its first bytes and never by its name: Parquet, text, or refused. Pure."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from io import BytesIO
from typing import Final

from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

PARQUET: Final = b"PAR1"
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The container of .xls workbooks, and of .xlsx ones that have a password:
https://learn.microsoft.com/openspecs/windows_protocols/ms-cfb."""
_STREAM_OF_ENCRYPTED_OFFICE: Final = "EncryptedPackage".encode("utf-16-le")
_SQUEEZED: Final = {
    b"\x28\xb5\x2f\xfd": "zstd",
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
_UTF16: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF8_MARK: Final = b"\xef\xbb\xbf"

_AS_TABLE: Final = "export the table as CSV or Parquet"


def unpack(content: bytes, *, label: str) -> bytes:
    """Return a file's Parquet, or its text as UTF-8 without a byte order mark.

    Gzip is unpacked, UTF-16 is decoded where a byte order mark says so.

    Raises:
        FileRefused: It is empty, damaged, or anything else.
    """
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as err:
            raise FileRefused(
                Code.TRUNCATED,
                label,
                f"damaged or cut off: its gzip is not whole: {err}",
                DOWNLOAD_AGAIN,
            ) from err
        if content.startswith((_GZIP, *_ZIP)):
            raise FileRefused(
                Code.NOT_A_TABLE, label, "an archive inside gzip", "unpack it and import the files"
            )
    if not content.strip():
        raise FileRefused(Code.EMPTY, label, "empty", f"{DOWNLOAD_AGAIN}, or remove it")
    if content.startswith(PARQUET):
        if not content.endswith(PARQUET):
            raise FileRefused(
                Code.TRUNCATED,
                label,
                "damaged or cut off: a Parquet file without its end",
                DOWNLOAD_AGAIN,
            )
        return content
    _refuse_others(content, label)
    return _as_utf8(content, label)


def _refuse_others(content: bytes, label: str) -> None:
    if content.startswith(_OLE):
        if _STREAM_OF_ENCRYPTED_OFFICE in content:
            raise FileRefused(Code.ENCRYPTED, label, "an Excel workbook with a password", _AS_TABLE)
        raise FileRefused(Code.EXCEL, label, "an Excel workbook (.xls)", _AS_TABLE)
    if content.startswith(_ZIP):
        _refuse_zip(content, label)
    if content.startswith(_ENCRYPTED):
        raise FileRefused(Code.ENCRYPTED, label, "encrypted", "decrypt it first")
    if content[_TAR_PLACE] == b"ustar":
        raise FileRefused(
            Code.NOT_A_TABLE, label, "a tar archive", "unpack it and import the files"
        )
    for start, name in _SQUEEZED.items():
        if content.startswith(start):
            raise FileRefused(
                Code.NOT_A_TABLE, label, f"compressed with {name}", "unpack it, or use gzip"
            )
    for start, name in _OTHER.items():
        if content.startswith(start):
            raise FileRefused(Code.NOT_A_TABLE, label, name, _AS_TABLE)


def _refuse_zip(content: bytes, label: str) -> None:
    unpack_it = "unpack it and import the files"
    try:
        members = zipfile.ZipFile(BytesIO(content)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as err:
        raise FileRefused(
            Code.TRUNCATED, label, f"a damaged ZIP archive: {err}", DOWNLOAD_AGAIN
        ) from err
    if any(member.filename.startswith("xl/") for member in members):
        raise FileRefused(Code.EXCEL, label, "an Excel workbook", _AS_TABLE)
    if any(member.flag_bits & 1 for member in members):
        raise FileRefused(Code.ENCRYPTED, label, "a ZIP archive with a password", unpack_it)
    raise FileRefused(Code.NOT_A_TABLE, label, "a ZIP archive", unpack_it)


def _as_utf8(content: bytes, label: str) -> bytes:
    mark = next((mark for mark in _UTF16 if content.startswith(mark)), None)
    if mark:
        try:
            content = content[2:].decode(_UTF16[mark]).encode()
        except UnicodeError as err:
            raise FileRefused(
                Code.TRUNCATED, label, f"UTF-16 that is damaged or cut off: {err}", DOWNLOAD_AGAIN
            ) from err
    content = content.removeprefix(_UTF8_MARK)
    if 0 in content or _CONTROL.search(content[:4096].lstrip(b" \t\r\n").partition(b"\n")[0]):
        raise FileRefused(
            Code.NOT_A_TABLE, label, "binary, of an unknown kind: it has control bytes", _AS_TABLE
        )
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as err:
            raise FileRefused(
                Code.UNKNOWN_ENCODING,
                label,
                f"neither UTF-8 nor UTF-16 with a byte order mark: byte {content[err.start]:#04x}",
                "save it as UTF-8",
                line=content.count(b"\n", 0, err.start) + 1,
            ) from err
    start = content[:4096].lstrip()
    if _HTML.match(start):
        raise FileRefused(
            Code.HTML,
            label,
            "a web page or XML, not a table: the vendor answered with an error or a login",
            f"open it in a browser to see what it says, then {DOWNLOAD_AGAIN}",
        )
    if start[:1] in (b"{", b"["):
        raise FileRefused(Code.NOT_A_TABLE, label, "JSON, not a table", _AS_TABLE)
    if not content.strip():
        raise FileRefused(Code.EMPTY, label, "empty", f"{DOWNLOAD_AGAIN}, or remove it")
    return content
