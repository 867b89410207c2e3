"""Opening the store behind a root: the one door to storage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from batch.core.errors import LakeMissing, ObjectMissing, SettingsError
from batch.core.layout import ROOTS
from batch.storage.objects import Expect, Expectation, ObjectStore, StoredObject

__all__ = [
    "Expect",
    "Expectation",
    "ObjectStore",
    "StoredObject",
    "open_store",
    "read_to_replace",
    "require_lake",
]


def open_store(uri: str) -> ObjectStore:
    """Return the store behind a root: a folder, ``file://`` or ``s3://bucket/prefix``.

    Nothing is read or created yet.

    Raises:
        SettingsError: The root is empty or of another kind.
    """
    parts = urlsplit(uri)
    if not uri.strip():
        raise SettingsError("the lake's root is empty: give --lake or OHLCV_LAKE")
    if parts.scheme == "s3":
        from batch.storage.s3 import S3Store  # noqa: PLC0415 - the SDK takes long to import

        return S3Store.from_uri(uri)
    if parts.scheme and parts.scheme != "file" and "://" in uri:
        raise SettingsError(f"lake {uri!r}: expected a folder or s3://bucket/prefix")
    from batch.storage.local import LocalStore  # noqa: PLC0415

    return LocalStore(Path(parts.path if parts.scheme == "file" else uri))


def read_to_replace(store: ObjectStore, key: str) -> tuple[bytes | None, Expectation]:
    """Return an object's content, None where there is none, and what its replacement expects.

    The version is asked for first: of an object replaced between the two requests, the content
    is then newer than the version, and a write on its condition is refused.
    """
    seen = store.head(key)
    if seen is None:
        return None, Expect.NOTHING
    try:
        return store.read(key), seen.version
    except ObjectMissing:
        return None, Expect.NOTHING


def require_lake(store: ObjectStore) -> None:
    """Require that a lake, or nothing yet, is at the root.

    Raises:
        LakeMissing: There is no such folder or bucket, or it holds something else.
    """
    where = store.uri if "://" in store.uri else Path(store.uri).absolute()
    advice = "check the path (--lake or OHLCV_LAKE)"
    if not store.exists():
        raise LakeMissing(
            f"no lake at {where}; {advice}, or make one with `ohlcv import` or `ohlcv demo`"
        )
    if any(_has(store, root) for root in ROOTS) or not _has(store, ""):
        return
    raise LakeMissing(f"no lake at {where}: what is there has none of {', '.join(ROOTS)}; {advice}")


def _has(store: ObjectStore, prefix: str) -> bool:
    return next(iter(store.list(prefix)), None) is not None
