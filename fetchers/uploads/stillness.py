"""Which files are no longer being written, judged by what is seen of them and by nobody's clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fetchers.uploads.drop import Upload

PATIENCE: Final = 10
"""How many times longer a file without its end is waited for than one with it."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """Files by what they are waiting for.

    Attributes:
        ready: Those that are no longer being written, in the order of receipt.
        moving: Those that have not held still for long enough.
        without_end: Those that hold still, but whose end is missing.
        due_s: When to look again, if nothing changes before; None where nothing waits.
    """

    ready: tuple[Upload, ...] = ()
    moving: tuple[Upload, ...] = ()
    without_end: tuple[Upload, ...] = ()
    due_s: float | None = None


@dataclass(slots=True)
class _Seen:
    upload: Upload
    since_s: float
    is_whole: bool | None = None


class Stillness:
    """Remembers since when each file has held still.

    A file is ready once its size and its times have held still for a while and its end is there;
    one without its end once it has held still for :data:`PATIENCE` times as long, for it may never
    get one.
    """

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._seen: dict[str, _Seen] = {}

    def sort(
        self, uploads: Iterable[Upload], now_s: float, is_whole: Callable[[Upload], bool]
    ) -> Sorted:
        """Sort a listing; files that are not in it any more are forgotten.

        Args:
            uploads: Files of which nobody knows yet.
            now_s: Seconds of a clock that only goes forward.
            is_whole: Tells whether a file has its end; asked once for each version.
        """
        before, self._seen = self._seen, {}
        ready, moving, without_end = [], [], []
        due_s: list[float] = []
        for upload in uploads:
            seen = before.get(upload.key)
            if seen is None or seen.upload != upload:
                seen = _Seen(upload, now_s)
            self._seen[upload.key] = seen
            settled_s = seen.since_s + self.settle_s
            given_up_s = seen.since_s + PATIENCE * self.settle_s
            if now_s < settled_s:
                moving.append(upload)
                due_s.append(settled_s)
                continue
            if seen.is_whole is None:
                seen.is_whole = is_whole(upload)
            if seen.is_whole or now_s >= given_up_s:
                ready.append(upload)
            else:
                without_end.append(upload)
                due_s.append(given_up_s)
        ready.sort(key=lambda one: (one.received_at, one.uploaded_at, one.key))
        return Sorted(
            tuple(ready), tuple(moving), tuple(without_end), min(due_s) if due_s else None
        )
