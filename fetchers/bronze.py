"""Which deliveries of some sessions are in bronze, listed cheaply."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from batch.core.errors import DeliveryUnreadable, ObjectMissing
from batch.core.layout import (
    BRONZE,
    Delivery,
    bronze_session_prefix,
    vacuumed_session_prefix,
)
from batch.core.sessions import Calendar
from batch.lake.inputs import received_before_close
from batch.storage.parquet import read_footer
from batch.storage.store import ObjectStore
from fetchers.incomplete import USUAL_SESSIONS
from fetchers.plan import lookback_start


class BronzeListing:
    """The deliveries of the sessions listed so far, and row counts read when needed.

    One that was received before its session closed counts for nothing.
    """

    def __init__(self, store: ObjectStore, calendar: Calendar) -> None:
        self._store = store
        self._calendar = calendar
        self._sizes_bytes: dict[date, dict[Delivery, int]] = {}
        self._rows: dict[date, int] = {}
        self._listed: set[date] = set()

    @property
    def present(self) -> frozenset[date]:
        """Sessions with a delivery, as far as they were listed."""
        return frozenset(self._sizes_bytes)

    def first_session(self) -> date | None:
        """Return the oldest session of the lake, from the first page of a listing."""
        for item in self._store.list(BRONZE):
            if delivery := self._counted(item.key):
                return delivery.session
        return None

    def list_range(self, first: date, last: date) -> None:
        """List the deliveries of a range of sessions, both inclusive."""
        sessions = self._calendar.sessions_between(first, last)
        wanted = [session for session in sessions if session not in self._listed]
        if not wanted:
            return
        newest = bronze_session_prefix(wanted[-1])
        for item in self._store.list(BRONZE, start_after=f"{BRONZE}date={wanted[0]}"):
            if item.key > newest and not item.key.startswith(newest):
                break
            self._add_key(item.key, item.size_bytes)
        self._listed.update(sessions)

    def list_all(self) -> None:
        """List every delivery of the lake."""
        for item in self._store.list(BRONZE):
            self._add_key(item.key, item.size_bytes)

    def list_before(self, sessions: Collection[date]) -> None:
        """List some sessions and those that their usual row counts follow from.

        Stretches that overlap are listed at once; sessions far apart are not joined.
        """
        stretches: list[tuple[date, date]] = []
        for session in sorted(sessions):
            start = lookback_start(self._calendar, session, USUAL_SESSIONS + 1)
            if stretches and start <= stretches[-1][1]:
                start = stretches.pop()[0]
            stretches.append((start, session))
        for first, last in stretches:
            self.list_range(first, last)

    def deliveries(self, session: date) -> Collection[Delivery]:
        """Return the deliveries of a session that was listed."""
        return self._sizes_bytes.get(session, {})

    def newest_sent(self, session: date, sender: str) -> Delivery | None:
        """Return the newest delivery of one sender and session, removed by a vacuum or not."""
        sent = [one for one in self.deliveries(session) if one.sender == sender]
        # Listed after the deliveries: a vacuum writes the marker before it removes.
        if session in self.present:
            for item in self._store.list(vacuumed_session_prefix(session)):
                removed = Delivery.of_vacuumed(item.key)
                if removed and removed.sender == sender:
                    sent.append(removed)
        return max(sent, default=None)

    def add(self, delivery: Delivery, rows: int) -> None:
        """Add a delivery that was just written, and the row count of its session."""
        self._sizes_bytes.setdefault(delivery.session, {})[delivery] = 0
        self._rows[delivery.session] = rows

    def rows_before(self, session: date) -> list[int]:
        """Return the row counts of the sessions right before one.

        The largest delivery of a session counts; sessions without a readable one are left out.
        """
        before = sorted(known for known in self._sizes_bytes if known < session)[-USUAL_SESSIONS:]
        return [rows for known in before if (rows := self._rows_of(known))]

    def _rows_of(self, session: date) -> int:
        if session not in self._rows:
            sizes = self._sizes_bytes[session]
            largest = max(sizes, key=lambda delivery: (sizes[delivery], delivery))
            try:
                with self._store.local_copy(largest.key) as path:
                    self._rows[session] = read_footer(path, label=largest.key).rows
            except (DeliveryUnreadable, ObjectMissing):
                self._rows[session] = 0
        return self._rows[session]

    def _add_key(self, key: str, size_bytes: int) -> None:
        if delivery := self._counted(key):
            self._sizes_bytes.setdefault(delivery.session, {})[delivery] = size_bytes

    def _counted(self, key: str) -> Delivery | None:
        delivery = Delivery.parse(key)
        if delivery is None or received_before_close(delivery, self._calendar):
            return None
        return delivery
