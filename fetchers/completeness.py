"""Sessions of which perhaps not all has come: how they are noticed, noted and looked up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from statistics import median

from batch.core.errors import ObjectMissing
from batch.core.layout import INCOMPLETE, incomplete_key, incomplete_session
from batch.storage.store import ObjectStore

USUAL_SESSIONS = 20
"""Sessions before one whose median row count is what is usual for it."""

MOST_ASKS = 10
"""How often a session is asked for again before the vendor is believed to have no more."""

_FEWEST_SESSIONS = 5


@dataclass(frozen=True, slots=True)
class IncompleteNote:
    """A session of which perhaps not all has come.

    Attributes:
        session: Which.
        doubts: Why, in words.
        rows: Rows that came.
        usual_rows: Median of the sessions before; None where too few are known.
        asked_at: When it was last asked for.
        asks: How often it came, or did not come, in doubt.
    """

    session: date
    doubts: tuple[str, ...]
    rows: int
    usual_rows: float | None
    asked_at: datetime
    asks: int = 1

    @property
    def told(self) -> str:
        """The note in one line."""
        return f"{self.session} is incomplete: {'; '.join(self.doubts)}"


def usual_rows(counts: Mapping[date, int], session: date) -> float | None:
    """Return the median row count of the sessions before one, or None if too few are known.

    Args:
        counts: Rows of some sessions; only those before ``session`` count, the newest
            :data:`USUAL_SESSIONS` of them.
        session: The session in question.
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
    content = {
        "session": str(note.session),
        "doubts": list(note.doubts),
        "rows": note.rows,
        "usual_rows": note.usual_rows,
        "asked_at": note.asked_at.isoformat(),
        "asks": note.asks,
    }
    store.write(incomplete_key(note.session), json.dumps(content, indent=2).encode())


def read_note(store: ObjectStore, session: date) -> IncompleteNote | None:
    """Return the note of a session, or None where there is none."""
    try:
        content = json.loads(store.read(incomplete_key(session)))
    except ObjectMissing:
        return None
    return IncompleteNote(
        session=date.fromisoformat(content["session"]),
        doubts=tuple(content["doubts"]),
        rows=content["rows"],
        usual_rows=content["usual_rows"],
        asked_at=datetime.fromisoformat(content["asked_at"]),
        asks=content["asks"],
    )


def worth_asking(store: ObjectStore, noted: Iterable[date], count: int) -> frozenset[date]:
    """Return the newest noted sessions, without those that were asked for often enough."""
    newest = sorted(noted)[-count:]
    notes = (read_note(store, session) for session in newest)
    return frozenset(note.session for note in notes if note and note.asks < MOST_ASKS)
