"""Sessions of which perhaps not all rows have come, and the notes kept of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from statistics import median

from pydantic import TypeAdapter

from batch.core.errors import ObjectMissing
from batch.core.layout import INCOMPLETE, incomplete_key, incomplete_session
from batch.core.sessions import Calendar
from batch.storage.store import ObjectStore

USUAL_SESSIONS = 20
"""The usual row count of a session is the median of this many sessions before it."""

INCOMPLETE_PER_RUN = 20
"""A daily run fetches so many of the incomplete sessions again, the newest ones."""

MOST_REQUESTS = 10
"""How often a daily run requests a session again before it takes it that there is no more."""

_FEWEST_SESSIONS = 5


@dataclass(frozen=True, slots=True)
class IncompleteNote:
    """A session of which perhaps not all rows have come.

    ``usual_rows`` is None where too few sessions before it are known; ``asks`` counts the
    answers in doubt, the last of which was requested at ``asked_at``.
    """

    session: date
    doubts: tuple[str, ...]
    rows: int
    usual_rows: float | None
    asked_at: datetime
    asks: int = 1

    @property
    def summary(self) -> str:
        """The note in one line."""
        return f"{self.session} is incomplete: {'; '.join(self.doubts)}"

    def keep(self, store: ObjectStore) -> None:
        """Keep the note until the session has come whole."""
        content = {**asdict(self), "asked_at": self.asked_at.isoformat()}
        key = incomplete_key(self.session)
        store.write(key, json.dumps(content, default=str, indent=2).encode())


def usual_rows(counts: Collection[int]) -> float | None:
    """Return the median row count of some sessions, or None if they are too few."""
    return float(median(counts)) if len(counts) >= _FEWEST_SESSIONS else None


def noted_sessions(store: ObjectStore, calendar: Calendar) -> frozenset[date]:
    """Return the sessions noted as incomplete; notes of days without a session are deleted."""
    found = (incomplete_session(item.key) for item in store.list(INCOMPLETE))
    noted = frozenset(day for day in found if day)
    sessions = frozenset(day for day in noted if calendar.is_session(day))
    store.delete(incomplete_key(day) for day in noted - sessions)
    return sessions


def read_note(store: ObjectStore, session: date) -> IncompleteNote | None:
    """Return the note of a session, or None where there is none."""
    try:
        return TypeAdapter(IncompleteNote).validate_json(store.read(incomplete_key(session)))
    except ObjectMissing:
        return None


def worth_requesting(store: ObjectStore, noted: Iterable[date]) -> frozenset[date]:
    """Return the newest noted sessions, without those that were requested often enough."""
    newest = sorted(noted)[-INCOMPLETE_PER_RUN:]
    notes = (read_note(store, session) for session in newest)
    return frozenset(note.session for note in notes if note and note.asks < MOST_REQUESTS)
