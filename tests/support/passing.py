"""A store that passes everything on to another, for those that meddle with its writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject


class PassingStore:
    """The store behind it, under another name."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    @property
    def uri(self) -> str:
        return self.store.uri

    def exists(self) -> bool:
        return self.store.exists()

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        return self.store.list(prefix, start_after=start_after)

    def head(self, key: str) -> StoredObject | None:
        return self.store.head(key)

    def read(self, key: str) -> bytes:
        return self.store.read(key)

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        return self.store.local_copy(key)

    def scratch(self) -> AbstractContextManager[Path]:
        return self.store.scratch()

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        return self.store.write(key, content, expect=expect)

    def delete(self, keys: Iterable[str]) -> None:
        self.store.delete(keys)

    def abandoned_scratch(self) -> tuple[Path, ...]:
        return self.store.abandoned_scratch()

    def location(self, key: str) -> str:
        return self.store.location(key)

    def polars_options(self) -> dict[str, Any]:
        return self.store.polars_options()

    def arrow_filesystem(self) -> Any | None:
        return self.store.arrow_filesystem()
