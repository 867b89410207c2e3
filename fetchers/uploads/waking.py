"""Waiting for something to happen in a folder, by the system's word or by time alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from batch.runtime.progress import LOGGER, StopRequested

_ASKED_EVERY_S: Final = 0.2
"""How long a request to stop may go unnoticed while nothing happens."""


class Alarm:
    """Ends a wait early; without the system's word waits end by time alone.

    Attributes:
        has_word: Whether the system says when something changes.
    """

    def __init__(self) -> None:
        self.has_word = False
        self._rung = threading.Event()

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    def wait(self, seconds: float, stop_requested: StopRequested) -> None:
        """Wait for a change, a request to stop, or so many seconds."""
        until_s = time.monotonic() + seconds
        while not stop_requested():
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self._rung.wait(min(left_s, _ASKED_EVERY_S)):
                break
        self._rung.clear()


@contextmanager
def alarm_of(folder: str, *, poll: bool) -> Iterator[Alarm]:
    """Give an alarm that rings when something changes below a folder.

    Network file systems often report nothing, and what is reported may come late: it ends a wait,
    and says nothing of what is there.
    """
    alarm = Alarm()
    watch = None if poll else _watch()
    if watch is None:
        yield alarm
        return
    alarm.has_word = True
    done = threading.Event()

    def listen() -> None:
        try:
            for _ in watch(
                folder, watch_filter=None, stop_event=done, raise_interrupt=False, rust_timeout=1000
            ):
                alarm.ring()
        except (OSError, RuntimeError) as err:
            if not done.is_set():
                LOGGER.warning("no word of changes (%s): looking from time to time instead", err)
        alarm.has_word = False
        alarm.ring()

    thread = threading.Thread(target=listen, name="alarm", daemon=True)
    thread.start()
    try:
        yield alarm
    finally:
        done.set()
        thread.join()


def _watch() -> Callable[..., Iterator[object]] | None:
    try:
        from watchfiles import watch  # noqa: PLC0415 - an extra
    except ImportError:
        LOGGER.warning(
            "watchfiles is not installed, so nothing says when a file is dropped: looking from time"
            " to time instead; `pip install watchfiles`, or --poll to leave this out"
        )
        return None
    return watch
