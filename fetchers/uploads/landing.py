"""Which staged uploads land together, and as received when: decided once, then carried out.

The plan is one object. Whoever finds it carries it out, so that a run that was killed is
continued with the same deliveries, and of two runs at the same time neither adds any.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from batch.core.errors import CommitConflict, ObjectMissing, StateDamaged
from batch.core.layout import LANDING
from batch.storage.store import Expect, Expectation, ObjectStore

_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Uploads of one source that land as one delivery per session, received at one instant."""

    source: str
    received_at: datetime
    arrived_at: datetime
    uploads: tuple[str, ...]

    @property
    def position(self) -> tuple[datetime, datetime]:
        """Where its deliveries stand among those of a session."""
        return (self.received_at, self.arrived_at)


_ENTRIES: Final = TypeAdapter(tuple[Entry, ...])


def planned_entries(lake: ObjectStore) -> tuple[Entry, ...]:
    """Return what was planned and is not finished.

    Raises:
        StateDamaged: The plan cannot be read.
    """
    return _read(lake)[0]


def add_entries(lake: ObjectStore, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Add to the plan, less the uploads that are in it already; return all of it."""
    added = tuple(entries)

    def merged(before: tuple[Entry, ...]) -> tuple[Entry, ...]:
        known = {upload for entry in before for upload in entry.uploads}
        # An entry is whole or not at all: its instant is that of the newest of its uploads.
        return (*before, *(one for one in added if known.isdisjoint(one.uploads)))

    return _rewrite(lake, merged) if added else planned_entries(lake)


def remove_uploads(lake: ObjectStore, uploads: Iterable[str]) -> None:
    """Take entries out of the plan of which every upload is done."""
    done = set(uploads)

    def left(before: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(one for one in before if not done.issuperset(one.uploads))

    if done:
        _rewrite(lake, left)


def _read(lake: ObjectStore) -> tuple[tuple[Entry, ...], Expectation]:
    seen = lake.head(LANDING)
    if seen is None:
        return (), Expect.NOTHING
    try:
        return _ENTRIES.validate_python(json.loads(lake.read(LANDING))), seen.version
    except ObjectMissing:
        return (), Expect.NOTHING
    except (ValidationError, ValueError) as err:
        raise StateDamaged(
            f"{lake.uri}/{LANDING}: damaged: {str(err).splitlines()[0]}; remove it: what is staged"
            " lands again, and deliveries that are there already are not doubled",
            LANDING,
        ) from err


def _rewrite(
    lake: ObjectStore, change: Callable[[tuple[Entry, ...]], tuple[Entry, ...]]
) -> tuple[Entry, ...]:
    for _ in range(_TRIES):
        before, expect = _read(lake)
        after = change(before)
        if after == before:
            return before
        content = json.dumps(_ENTRIES.dump_python(after), default=datetime.isoformat).encode()
        try:
            lake.write(LANDING, content, expect=expect)
        except CommitConflict:
            continue
        return after
    raise CommitConflict(f"{lake.uri}/{LANDING}: others kept writing it; run it again")
