"""Which deliveries count for a year, and which of them were known at an instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from batch.core.layout import Delivery
from batch.core.sessions import Calendar
from batch.lake.manifest import fingerprint
from batch.storage.store import StoredObject


def received_before_close(delivery: Delivery, calendar: Calendar) -> bool:
    """Return whether a delivery is of a session that had not closed when it was received.

    None can land, as rows of such sessions are refused; a lake may have them from before that was
    a rule.
    """
    session = delivery.session
    return calendar.is_session(session) and delivery.received_at < calendar.close_of(session)


@dataclass(frozen=True, slots=True)
class YearInputs:
    """The deliveries of one year's sessions, with the size in bytes of each."""

    year: int
    deliveries: Mapping[Delivery, int]

    @property
    def sizes(self) -> dict[str, int]:
        """Key and size of each delivery, as the lake keeps them beside the manifest."""
        return {delivery.key: self.deliveries[delivery] for delivery in sorted(self.deliveries)}

    @property
    def digest(self) -> str:
        """Digest of keys and sizes; a key holds a digest of its rows, so nothing is read."""
        return fingerprint(self.sizes)

    def known_at(self, as_of: datetime | None) -> YearInputs:
        """Leave out what was received after an instant; nothing where it is None."""
        if as_of is None:
            return self
        return self.without(d for d in self.deliveries if d.received_at > as_of)

    def without(self, left_out: Iterable[Delivery]) -> YearInputs:
        """Leave out some deliveries."""
        kept = self.deliveries.keys() - set(left_out)
        return YearInputs(self.year, {delivery: self.deliveries[delivery] for delivery in kept})

    def sessions_that_differ(self, sizes: Mapping[str, int]) -> set[date]:
        """Return the sessions whose deliveries are not those of another list of sizes."""
        mine = self.sizes
        keys = {key for key in mine.keys() | sizes.keys() if mine.get(key) != sizes.get(key)}
        return {found.session for key in keys if (found := Delivery.parse(key))}


@dataclass(frozen=True, slots=True)
class ListedDeliveries:
    """What a listing under bronze shows: deliveries with their sizes in bytes, and strays.

    Equal rows received at the same instant count once, as the delivery that arrived first;
    the later ones are ``repeats``. So a file that two processes import at once changes nothing
    the second time. Strays are the keys that are not a delivery's, hidden files left out.
    """

    deliveries: Mapping[Delivery, int]
    repeats: Mapping[Delivery, int]
    strays: tuple[str, ...]

    @classmethod
    def of(cls, objects: Iterable[StoredObject]) -> ListedDeliveries:
        """Tell deliveries from other objects."""
        deliveries: dict[Delivery, int] = {}
        strays = []
        for item in objects:
            delivery = Delivery.parse(item.key)
            if delivery is not None:
                deliveries[delivery] = item.size_bytes
            elif not item.key.rpartition("/")[2].startswith((".", "_")):
                strays.append(item.key)
        first: dict[Delivery, Delivery] = {}
        for delivery in deliveries:
            first[delivery.as_sent] = min(delivery, first.get(delivery.as_sent, delivery))
        repeats = {one: deliveries.pop(one) for one in [*deliveries] if first[one.as_sent] != one}
        return cls(deliveries, repeats, tuple(strays))

    @property
    def oldest(self) -> date | None:
        """Oldest date of a delivery, session or not."""
        return min((delivery.session for delivery in self.deliveries), default=None)

    def by_year(self, calendar: Calendar) -> dict[int, YearInputs]:
        """Return the deliveries that count: those received after the close of a session."""
        years: dict[int, dict[Delivery, int]] = {}
        for delivery, size_bytes in self.deliveries.items():
            if received_before_close(delivery, calendar):
                continue
            if calendar.is_session(delivery.session):
                years.setdefault(delivery.session.year, {})[delivery] = size_bytes
        return {year: YearInputs(year, found) for year, found in years.items()}

    def before_close(self, calendar: Calendar) -> list[Delivery]:
        """Return the deliveries of sessions that had not closed at their receipt, ascending."""
        return sorted(one for one in self.deliveries if received_before_close(one, calendar))

    def unusable(self, calendar: Calendar) -> dict[str, str]:
        """Return the keys that count for nothing, ascending, each with the reason."""
        found = dict.fromkeys(self.strays, "is not a delivery's name") | {
            delivery.key: "is not a session"
            for delivery in self.deliveries
            if not calendar.is_session(delivery.session)
        }
        return dict(sorted(found.items()))
