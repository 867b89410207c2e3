"""One watcher per lake: an object in the lake says which, and is renewed while it runs."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from batch.core.errors import CommitConflict, CommitUnknown, OhlcvError
from batch.core.layout import WATCHER
from batch.storage.store import Expectation, ObjectStore, read_to_replace

RENEWED_EVERY: Final = timedelta(seconds=30)
DEAD_AFTER: Final = timedelta(minutes=3)
"""How long ago a watcher on another machine has renewed its lease when it counts as dead."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The watcher of a lake.

    Attributes:
        host: The machine's name.
        pid: Its process there.
        since: When it began.
        renewed_at: When it last said that it runs.
        token: Distinguishes watchers whose host and process are called alike.
    """

    host: str
    pid: int
    since: datetime
    renewed_at: datetime
    token: str

    def is_alive(self, now: datetime) -> bool:
        """Tell whether it runs; of a process on another machine by when it last said so.

        A process of our own number is not it: in a container every first process is number 1.
        """
        if self.host == socket.gethostname() and (self.pid == os.getpid() or not _runs(self.pid)):
            return False
        return abs(now - self.renewed_at) < DEAD_AFTER


_HOLDER: Final = TypeAdapter(Holder)


class Lease:
    """The right to watch for a lake, held by this process until it is lost or given back."""

    def __init__(self, lake: ObjectStore, holder: Holder, version: str) -> None:
        self._lake = lake
        self._holder = holder
        self._version = version
        self.is_lost = False

    def renew(self, now: datetime) -> None:
        """Say that this process still watches, unless another one took over.

        Raises:
            OhlcvError: The store did not answer, or refused: it can be tried again.
        """
        holder = replace(self._holder, renewed_at=now)
        try:
            self._version = _write(self._lake, holder, self._version)
        except (CommitConflict, CommitUnknown):
            seen, version = _read(self._lake)
            if seen and seen.token == self._holder.token and isinstance(version, str):
                self._version = version  # our own write, of which no answer came
            else:
                self.is_lost = True

    def require(self) -> None:
        """Require that no other watcher took over.

        Raises:
            CommitConflict: One did.
        """
        if self.is_lost:
            raise CommitConflict(
                f"{self._lake.uri}: another watcher took over, as this one could not say for"
                f" {DEAD_AFTER.seconds // 60} minutes that it runs; nothing is lost"
            )

    def give_back(self) -> None:
        """Let the next watcher begin at once."""
        seen, _ = _read(self._lake)
        if seen and seen.token == self._holder.token:
            self._lake.delete([WATCHER])


@contextmanager
def sole_watcher(lake: ObjectStore, clock: Callable[[], datetime]) -> Iterator[Lease]:
    """Be the one watcher of a lake; a thread renews the lease meanwhile.

    Raises:
        CommitConflict: Another process watches for the lake.
    """
    lease = take(lake, clock())
    done = threading.Event()

    def keep() -> None:
        while not done.wait(RENEWED_EVERY.total_seconds()) and not lease.is_lost:
            try:
                lease.renew(clock())
            except OhlcvError:
                continue  # the next time may be better; until then others see its age

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        lease.give_back()


def take(lake: ObjectStore, now: datetime) -> Lease:
    """Become the watcher of a lake that has none, or whose watcher is dead.

    Raises:
        CommitConflict: Another process watches for the lake.
    """
    other, expect = _read(lake)
    if other and other.is_alive(now):
        raise CommitConflict(_refusal(lake, other))
    holder = Holder(socket.gethostname(), os.getpid(), now, now, uuid4().hex)
    try:
        return Lease(lake, holder, _write(lake, holder, expect))
    except CommitConflict as err:
        first, _ = _read(lake)
        raise CommitConflict(_refusal(lake, first or holder)) from err


def _refusal(lake: ObjectStore, holder: Holder) -> str:
    return (
        f"{lake.uri}: process {holder.pid} on {holder.host} has watched for this lake since"
        f" {holder.since:%Y-%m-%d %H:%M} UTC; stop it first, or drop the files where it looks"
    )


def _read(lake: ObjectStore) -> tuple[Holder | None, Expectation]:
    """Return who watches, and what a write of ours expects; a damaged lease counts as none."""
    content, expect = read_to_replace(lake, WATCHER)
    if content is None:
        return None, expect
    try:
        return _HOLDER.validate_python(json.loads(content)), expect
    except (ValidationError, ValueError):
        return None, expect


def _write(lake: ObjectStore, holder: Holder, expect: Expectation) -> str:
    content = json.dumps(_HOLDER.dump_python(holder, mode="json")).encode()
    return lake.write(WATCHER, content, expect=expect).version


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
