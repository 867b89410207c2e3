"""A look into bronze: which deliveries of some sessions are there, listed cheaply."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date

from batch.core.errors import DeliveryUnreadable, ObjectMissing
from batch.core.layout import BRONZE, Delivery, bronze_session_prefix
from batch.core.sessions import Calendar
from batch.storage.parquet import read_footer
from batch.storage.store import ObjectStore
from fetchers.completeness import USUAL_SESSIONS


@dataclass(slots=True, eq=False)
class BronzeLook:
    """The deliveries of the sessions looked at, and the row counts asked for.

    Attributes:
        deliveries: Size in bytes of each delivery, by session.
        counts: Rows of the largest delivery of each session whose count was asked for.
    """

    store: ObjectStore
    calendar: Calendar
    deliveries: dict[date, dict[Delivery, int]] = field(default_factory=dict)
    counts: dict[date, int] = field(default_factory=dict)
    _seen: set[date] = field(default_factory=set)

    @property
    def present(self) -> frozenset[date]:
        """Sessions with a delivery, as far as was looked."""
        return frozenset(self.deliveries)

    def first_session(self) -> date | None:
        """Return the oldest session of the lake: one request."""
        for item in self.store.list(BRONZE):
            if delivery := Delivery.parse(item.key):
                return delivery.session
        return None

    def look(self, first: date, last: date) -> None:
        """List the deliveries of a range of sessions, both inclusive."""
        sessions = self.calendar.sessions_between(first, last)
        wanted = [session for session in sessions if session not in self._seen]
        if not wanted:
            return
        beyond = bronze_session_prefix(wanted[-1])
        after = f"{BRONZE}date={wanted[0]}"
        for item in self.store.list(BRONZE, start_after=after):
            if item.key > beyond and not item.key.startswith(beyond):
                break
            self._add(item.key, item.size_bytes)
        self._seen.update(sessions)

    def look_at_all(self) -> None:
        """List every delivery of the lake."""
        for item in self.store.list(BRONZE):
            self._add(item.key, item.size_bytes)

    def look_before(self, sessions: Iterable[date]) -> None:
        """List what the usual number of rows of some sessions follows from, and themselves."""
        lowest = self.calendar.session_no(self.calendar.first)
        first: date | None = None
        last: date | None = None
        for session in sorted(sessions):
            number = self.calendar.session_no(session) - USUAL_SESSIONS
            start = self.calendar.session_at(max(number, lowest))
            if first is None or last is None:
                first = start
            elif start > last:
                self.look(first, last)
                first = start
            last = session
        if first is not None and last is not None:
            self.look(first, last)

    def newest_of(self, session: date, sender: str) -> Delivery | None:
        """Return the newest delivery of a session by one sender."""
        sent = (found for found in self.deliveries.get(session, ()) if found.sender == sender)
        return max(sent, default=None)

    def add(self, delivery: Delivery, size_bytes: int = 0) -> None:
        """Add a delivery that was just written."""
        self.deliveries.setdefault(delivery.session, {})[delivery] = size_bytes

    def counts_before(self, session: date) -> dict[date, int]:
        """Return the rows of the sessions right before one, reading footers as needed."""
        before = sorted(known for known in self.deliveries if known < session)[-USUAL_SESSIONS:]
        for known in before:
            if known not in self.counts:
                self.counts[known] = self._count(known)
        return {known: self.counts[known] for known in before if self.counts[known]}

    def symbols_of_newest(self) -> tuple[date, Collection[Delivery]] | None:
        """Return the newest session looked at and its deliveries."""
        if not self.deliveries:
            return None
        newest = max(self.deliveries)
        return newest, list(self.deliveries[newest])

    def _count(self, session: date) -> int:
        sizes = self.deliveries[session]
        largest = max(sizes, key=lambda delivery: (sizes[delivery], delivery))
        try:
            with self.store.local_copy(largest.key) as path:
                return read_footer(path, named=largest.key).rows
        except (DeliveryUnreadable, ObjectMissing):
            return 0

    def _add(self, key: str, size_bytes: int) -> None:
        delivery = Delivery.parse(key)
        if delivery is not None:
            self.add(delivery, size_bytes)
