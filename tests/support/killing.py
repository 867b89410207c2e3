"""A store under a job that dies: at one write or delete, before or after it took effect."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject
from tests.support.passing import PassingStore


class Killed(BaseException):
    """The process is gone; nothing may catch this."""


class Death(Enum):
    """When the job dies, and how."""

    BEFORE = "before"
    AFTER = "after"
    EXIT_BEFORE = "exit before"
    EXIT_AFTER = "exit after"


class DyingStore(PassingStore):
    """Passes everything on until a given write or delete; then nothing goes on any more."""

    def __init__(self, store: ObjectStore, last: int, death: Death) -> None:
        super().__init__(store)
        self.last = last
        self.death = death
        self.calls = 0
        self._lock = threading.Lock()
        self._entered = threading.Lock()

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        with self._entered:
            self._come_closer()
            written = super().write(key, content, expect=expect)
            self._die_if_due()
        return written

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._entered:
                self._come_closer()
                super().delete([key])
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
