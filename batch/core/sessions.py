"""The exchange calendar: which dates are sessions, and their numbers.

``session_no`` counts sessions of XNYS from 1970-01-02, which is 0; earlier sessions are
negative. Source: the ``exchange_calendars`` package, which records every closure with
its reason (https://github.com/gerrymanoim/exchange_calendars).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core.errors import SettingsError

EPOCH = date(1970, 1, 2)
"""The session whose number is 0."""

EARLIEST = date(1885, 1, 2)
LATEST = date(2261, 12, 31)
"""Bounds of what the calendar's library can compute (nanosecond timestamps)."""

_CLOSED = np.int32(np.iinfo(np.int32).min)

_DEFAULT_LAST = date(2049, 12, 31)

Days = npt.NDArray[np.int32]
"""Dates as days since 1970-01-01."""

SessionNos = npt.NDArray[np.int32]


def day_of(value: date) -> int:
    """Days from 1970-01-01 to ``value``."""
    return value.toordinal() - 719163


def date_of(day: int) -> date:
    """The inverse of :func:`day_of`."""
    return date.fromordinal(int(day) + 719163)


def year_of(days: Days) -> npt.NDArray[np.int64]:
    """Return the year of each day since 1970-01-01."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970


@dataclass(frozen=True, eq=False)
class Calendar:
    """The sessions of one exchange over a range of dates.

    Attributes:
        name: ISO 10383 code of the exchange.
        days: Of every session, since 1970-01-01, ascending.
        first_no: ``session_no`` of the first session.
        closes_s: Of each session, since 1970-01-01T00:00Z; early closes differ.
    """

    name: str
    days: Days
    first_no: int
    closes_s: npt.NDArray[np.int64] = field(repr=False)

    @property
    def first(self) -> date:
        """First session."""
        return date_of(self.days[0])

    @property
    def last(self) -> date:
        """Last session."""
        return date_of(self.days[-1])

    @cached_property
    def _numbers(self) -> npt.NDArray[np.int32]:
        """Of each day of the range; ``_CLOSED`` where it is not a session."""
        numbers = np.full(int(self.days[-1] - self.days[0]) + 1, _CLOSED, dtype=np.int32)
        numbers[self.days - self.days[0]] = np.arange(len(self.days)) + self.first_no
        return numbers

    def _lookup(self, days: Days) -> SessionNos:
        offset = days - self.days[0]
        inside = (offset >= 0) & (offset < len(self._numbers))
        return np.where(inside, self._numbers.take(offset, mode="clip"), _CLOSED)

    def is_session(self, value: date) -> bool:
        """Return whether the exchange was, or will be, open on a date."""
        return bool(self._lookup(np.array([day_of(value)], dtype=np.int32))[0] != _CLOSED)

    def session_nos(self, days: Days) -> SessionNos:
        """Number each session.

        Raises:
            ValueError: A day is not a session of this calendar.
        """
        numbers = self._lookup(days)
        if (numbers == _CLOSED).any():
            bad = date_of(days[numbers == _CLOSED][0])
            raise ValueError(
                f"{bad} is not a session of {self.name} between {self.first} and {self.last}"
            )
        return numbers

    def session_no(self, value: date) -> int:
        """Number one session, as :meth:`session_nos` does."""
        return int(self.session_nos(np.array([day_of(value)], dtype=np.int32))[0])

    def day_at(self, session_no: SessionNos | npt.NDArray[np.int64]) -> Days:
        """Return the day of each session number.

        Raises:
            ValueError: A number lies outside the range of this calendar.
        """
        at = np.asarray(session_no, dtype=np.int64) - self.first_no
        if len(at) and (int(at.min()) < 0 or int(at.max()) >= len(self.days)):
            raise ValueError(
                f"session numbers {int(at.min()) + self.first_no} to"
                f" {int(at.max()) + self.first_no} reach outside the calendar"
                f" {self.first} to {self.last}"
            )
        return self.days[at]

    def session_at(self, session_no: int) -> date:
        """Return the date of one session number."""
        return date_of(self.day_at(np.array([session_no], dtype=np.int64))[0])

    def _between(self, first: date, last: date) -> slice:
        low = int(np.searchsorted(self.days, day_of(first)))
        return slice(low, int(np.searchsorted(self.days, day_of(last), side="right")))

    def close_of(self, session: date) -> datetime:
        """Instant at which a session, as :meth:`session_no` takes it, closes, early or not."""
        at = self.session_no(session) - self.first_no
        return datetime.fromtimestamp(int(self.closes_s[at]), tz=UTC)

    def sessions_between(self, first: date, last: date) -> list[date]:
        """Sessions from ``first`` to ``last``, both inclusive, ascending."""
        return [date_of(day) for day in self.days[self._between(first, last)]]

    def closed_by(self, now: datetime) -> Days:
        """Days of the sessions whose close is not after ``now``, ascending."""
        return self.days[: np.searchsorted(self.closes_s, int(now.timestamp()), side="right")]

    def newest_closed(self, now: datetime) -> date:
        """The newest session whose close is not after ``now``."""
        closed = self.closed_by(now)
        if not len(closed):
            raise ValueError(f"no session of {self.name} had closed by {now}")
        return date_of(closed[-1])

    def next_to_close(self, instants_s: npt.NDArray[np.int64]) -> Days:
        """Return the day of the first session that had not closed at each instant.

        Instants are seconds since 1970-01-01T00:00Z. At its close a session has closed. Where
        all sessions of the calendar had, its last one is returned.
        """
        at = np.searchsorted(self.closes_s, instants_s, side="right")
        return self.days[np.minimum(at, len(self.days) - 1)]

    def digest(self, first: date, last: date) -> str:
        """Fingerprint of the sessions from ``first`` to ``last``, numbers included.

        Two calendars with the same digest cut the same windows over that range.
        """
        between = self._between(first, last)
        numbered = np.int64(between.start + self.first_no).tobytes() + self.days[between].tobytes()
        return hashlib.sha256(numbered).hexdigest()[:16]

    def version(self, first: date, last: date) -> str:
        """Name the calendar as far as it cuts the sessions from ``first`` to ``last``."""
        return f"{self.name}-{self.digest(first, last)}"


def load_calendar(first: date = EPOCH, last: date = _DEFAULT_LAST) -> Calendar:
    """Return the XNYS calendar over at least the given range, both bounds inclusive.

    Raises:
        SettingsError: The range reaches outside what the library can compute.
    """
    if first < EARLIEST or last > LATEST:
        raise SettingsError(
            f"sessions from {first} to {last} were asked for; the exchange calendar reaches"
            f" from {EARLIEST} to {LATEST}: use a shorter interval or later data"
        )
    decade = EPOCH if first >= EPOCH else max(date(first.year // 10 * 10, 1, 1), EARLIEST)
    until = min(max(date(last.year // 10 * 10 + 9, 12, 31), _DEFAULT_LAST), LATEST)
    return _load(decade, until)


def calendar_from(oldest: date | None) -> Calendar:
    """Return the XNYS calendar from the epoch or an older date on, as far back as it reaches."""
    return load_calendar(max(min(oldest or EPOCH, EPOCH), EARLIEST))


@lru_cache(maxsize=8)
def _load(first: date, last: date) -> Calendar:
    if (first, last) == (EPOCH, _DEFAULT_LAST):
        snapshot = json.loads(files("batch.core").joinpath("xnys.json").read_bytes())
        if snapshot["taken_from"] == version("exchange-calendars"):
            return _calendar_of(snapshot)
    return compute_calendar(first, last)


def compute_calendar(first: date, last: date) -> Calendar:
    """Ask the library for the sessions between two dates, both inclusive."""
    import exchange_calendars  # noqa: PLC0415 - brings pandas, most of a second to import

    exchange: Any = exchange_calendars.get_calendar(
        "XNYS", start=first.isoformat(), end=last.isoformat()
    )
    days = exchange.sessions.to_numpy().astype("datetime64[D]").astype(np.int32)
    closes = exchange.closes_nanos // 1_000_000_000
    first_no = -int((days < day_of(EPOCH)).sum())
    return Calendar("XNYS", days, first_no, closes)


def _calendar_of(snapshot: dict[str, Any]) -> Calendar:
    """Return the calendar of ``xnys.json``, which saves jobs the import of pandas.

    ``python -m tests.support.calendar_snapshot`` wrote it: the range from ``first`` to
    ``last``, the weekdays without a session, and the minute of the UTC day at which sessions
    close from each date on.
    """
    dates = np.arange(
        np.datetime64(snapshot["first"]), np.datetime64(snapshot["last"]) + np.timedelta64(1, "D")
    )
    closed = np.array(snapshot["closed"], dtype="datetime64[D]")
    days = dates[np.is_busday(dates, holidays=closed)].astype(np.int32)
    closes: dict[str, int] = snapshot["closes"]
    starts = np.array([*closes], dtype="datetime64[D]").astype(np.int32)
    minutes = np.array([*closes.values()], dtype=np.int64)
    at = np.searchsorted(starts, days, side="right") - 1
    return Calendar("XNYS", days, 0, (days.astype(np.int64) * 1_440 + minutes[at]) * 60)
