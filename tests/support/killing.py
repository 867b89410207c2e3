"""A store under a job that dies: at one write or delete, before or after it took effect."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path

from batch.lake.store import Expect, Expectation, ObjectStore, StoredObject


class Killed(BaseException):
    """The process is gone; nothing may catch this."""


class Death(Enum):
    """When the job dies, and how."""

    BEFORE = "before"
    AFTER = "after"
    EXIT_BEFORE = "exit before"
    EXIT_AFTER = "exit after"


class DyingStore:
    """Passes everything on until a given write or delete; then nothing goes on any more."""

    def __init__(self, store: ObjectStore, last: int, death: Death) -> None:
        self.store = store
        self.last = last
        self.death = death
        self.calls = 0
        self._lock = threading.Lock()
        self._entered = threading.Lock()

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
        with self._entered:
            self._come_closer()
            written = self.store.write(key, content, expect=expect)
            self._die_if_due()
        return written

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._entered:
                self._come_closer()
                self.store.delete([key])
                self._die_if_due()

    def _come_closer(self) -> None:
        with self._lock:
            self.calls += 1
            due = self.calls == self.last
            dead = self.calls > self.last
        if dead or (due and self.death is Death.BEFORE):
            raise Killed
        if due and self.death is Death.EXIT_BEFORE:
            os._exit(9)

    def _die_if_due(self) -> None:
        if self.calls == self.last:
            if self.death is Death.EXIT_AFTER:
                os._exit(9)
            raise Killed
