"""Sessions of which perhaps not all rows have come, and the notes kept of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from statistics import median

from batch.core.errors import ObjectMissing
from batch.core.layout import INCOMPLETE, incomplete_key, incomplete_session
from batch.storage.store import ObjectStore

USUAL_SESSIONS = 20
"""The usual row count of a session is the median of this many sessions before it."""

MOST_REQUESTS = 10
"""How often a daily run requests a session again before it takes it that there is no more."""

_FEWEST_SESSIONS = 5


@dataclass(frozen=True, slots=True)
class IncompleteNote:
    """A session of which perhaps not all rows have come.

    Attributes:
        doubts: Why, in words.
        usual_rows: Median of the sessions before; None where too few are known.
        asked_at: When it was last requested.
        asks: How often the answer was in doubt.
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


def usual_rows(counts: Mapping[date, int], session: date) -> float | None:
    """Return the median row count of the sessions before one, or None if too few are known.

    Only the newest :data:`USUAL_SESSIONS` of ``counts`` before ``session`` count.
    """
    before = sorted(known for known in counts if known < session)[-USUAL_SESSIONS:]
    if len(before) < _FEWEST_SESSIONS:
        return None
    return float(median(counts[known] for known in before))


def doubt_few_rows(rows: int, usual: float | None, *, below: float) -> tuple[str, ...]:
    """Return a doubt where a session has fewer rows than a share of what is usual."""
    if usual is None or not rows or rows >= below * usual:
        return ()
    return (f"{rows:,} rows, less than {below:.0%} of the usual {usual:,.0f}",)


def noted_sessions(store: ObjectStore) -> frozenset[date]:
    """Return the sessions that are noted as incomplete."""
    found = (incomplete_session(item.key) for item in store.list(INCOMPLETE))
    return frozenset(session for session in found if session)


def note_incomplete(store: ObjectStore, note: IncompleteNote) -> None:
    """Keep a note until the session has come whole."""
    content = {**asdict(note), "asked_at": note.asked_at.isoformat()}
    store.write(incomplete_key(note.session), json.dumps(content, default=str, indent=2).encode())


def read_note(store: ObjectStore, session: date) -> IncompleteNote | None:
    """Return the note of a session, or None where there is none."""
    try:
        content = json.loads(store.read(incomplete_key(session)))
    except ObjectMissing:
        return None
    return IncompleteNote(
        session,
        doubts=tuple(content["doubts"]),
        rows=content["rows"],
        usual_rows=content["usual_rows"],
        asked_at=datetime.fromisoformat(content["asked_at"]),
        asks=content["asks"],
    )


def worth_requesting(store: ObjectStore, noted: Iterable[date], count: int) -> frozenset[date]:
    """Return the newest noted sessions, without those that were requested often enough."""
    newest = sorted(noted)[-count:]
    notes = (read_note(store, session) for session in newest)
    return frozenset(note.session for note in notes if note and note.asks < MOST_REQUESTS)
