"""What an object store does: the one edge to storage. A local folder and S3 behave alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it.

    Its key is relative to the root, with ``/`` between the parts. The version is opaque, and
    changes whenever the content is written again.
    """

    key: str
    size_bytes: int
    version: str
    modified_at: datetime | None = field(default=None, compare=False)


class Expect(Enum):
    """What a conditional write expects to find under its key."""

    ANYTHING = "anything"
    NOTHING = "nothing"


Expectation = Expect | str
"""An :class:`Expect`, or the version that must still be there."""


class ObjectStore(Protocol):
    """Objects under one root.

    No reader can see a partly written object: a write that fails or is killed leaves what
    was there before. Methods may be called from several threads.

    Raises:
        StoreDenied: Permissions or credentials do not allow the call.
        StoreUnavailable: The store does not answer, asks to slow down, or is full.
    """

    @property
    def uri(self) -> str:
        """The root as a user would write it."""

    def exists(self) -> bool:
        """Return whether the root is there: a folder, or a bucket that answers."""

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Return the objects whose key begins with ``prefix``, ascending by key.

        Keys up to and including ``start_after`` are left out.
        """

    def head(self, key: str) -> StoredObject | None:
        """Return what a listing would show of a key; None if there is no object."""

    def read(self, key: str) -> bytes:
        """Return the content of an object.

        Raises:
            ObjectMissing: There is none.
        """

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Give the object as a local file for as long as the context lasts.

        Raises:
            ObjectMissing: There is none.
        """

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        """Publish an object whole, if what is there is what was expected.

        A content given as a path is consumed: the file may be gone afterwards.

        Raises:
            CommitConflict: Something else is there; it was left alone.
            CommitUnknown: The connection broke; the object may or may not be published.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; keys that are not there are ignored."""

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty local folder, from which :meth:`write` may take files."""

    def abandoned_scratch(self) -> tuple[Path, ...]:
        """Return what killed jobs left where :meth:`scratch` works; it will be removed."""

    def location(self, key: str) -> str:
        """Return where other libraries open an object: a local path or an ``s3://`` URI."""

    def polars_options(self) -> dict[str, Any]:
        """Return the keyword arguments with which ``pl.scan_parquet`` opens a location."""

    def arrow_filesystem(self) -> Any:
        """Return the Arrow file system of the objects.

        Its paths are locations without ``s3://``.
        """
