"""Which sessions to fetch: from the options, the calendar, bronze and the clock. Pure."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from batch.core.errors import SettingsError
from batch.core.sessions import EARLIEST, Calendar
from fetchers.request import SessionRange

NEW_YORK = ZoneInfo("America/New_York")
"""Where the exchange is; an instant's date there decides what today is."""

_DAYS_A_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """The sessions to fetch, ascending: those that the lake lacks, and those to fetch again.

    ``nothing`` is why a range that was asked for has none of either, in words.
    """

    missing: tuple[date, ...]
    again: tuple[date, ...] = ()
    nothing: str | None = None

    @property
    def sessions(self) -> tuple[date, ...]:
        """All of them, ascending."""
        return tuple(sorted({*self.missing, *self.again}))


def exchange_date(now: datetime) -> date:
    """Return the date at the exchange at an instant."""
    return now.astimezone(NEW_YORK).date()


def read_session_range(
    day: str | None,
    first: str | None,
    last: str | None,
    backfill_years: float | None,
    *,
    again: bool = False,
    now: datetime,
) -> SessionRange | None:
    """Return the range that the options of the command line name; None for the daily run.

    Raises:
        SettingsError: They contradict each other, or one is not a date.
    """
    given = [name for name, text in (("--date", day), ("--from", first)) if text]
    given += ["--backfill"] if backfill_years is not None else []
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} ask for different sessions: give one of them")
    if (day or not first) and last:
        raise SettingsError("--to goes with --from")
    if again and not given:
        raise SettingsError("--again goes with --from, --date or --backfill")
    today = exchange_date(now)
    if day:
        session = _date("--date", day)
        return SessionRange(session, session, again=True)
    if first:
        start = _date("--from", first)
        return SessionRange(start, _date("--to", last) if last else today, again=again)
    if backfill_years is not None:
        if not 0 < backfill_years <= 200:
            raise SettingsError(f"--backfill: {backfill_years:g} years, expected 0.1 to 200")
        start = today - timedelta(days=round(backfill_years * _DAYS_A_YEAR))
        return SessionRange(start, today, again=again)
    return None


def _date(option: str, text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError as err:
        raise SettingsError(f"{option}: {text!r} is not a date such as 2025-01-10") from err
    if found < EARLIEST:
        raise SettingsError(f"{option}: {found} is before {EARLIEST}, where the calendar begins")
    return found


def lookback_start(calendar: Calendar, newest: date, sessions: int) -> date:
    """Return the first of the last so many sessions up to ``newest``, inclusive."""
    number = calendar.session_no(newest) - sessions + 1
    lowest = calendar.session_no(calendar.first)
    return calendar.session_at(max(number, lowest))


def plan_daily(
    calendar: Calendar,
    newest: date,
    *,
    first: date | None,
    present: Set[date],
    incomplete: Set[date],
    trailing: int,
    lookback: int,
) -> FetchPlan:
    """Plan a daily run.

    Missing sessions are sought over the lookback, and from the newest session of the lake
    where that is older; none is sought before the oldest session of the lake. A lake
    without any begins with the trailing sessions.

    Args:
        newest: Newest session that is due.
        first: Oldest session of the lake; None where it has none.
        present: Sessions with a delivery, at least over the lookback, and back to the newest
            session of the lake where that is older.
        incomplete: Sessions worth requesting again, wherever they lie.
        trailing: Sessions before the newest one to fetch again.
        lookback: Sessions to search for gaps.
    """
    tail = calendar.sessions_between(lookback_start(calendar, newest, trailing + 1), newest)
    if first is None:
        return FetchPlan(tuple(tail))
    start = lookback_start(calendar, newest, lookback)
    before = [session for session in present if session <= newest]
    if before:
        start = min(start, max(before))
    sought = calendar.sessions_between(max(start, min(first, newest)), newest)
    missing = [session for session in sought if session not in present]
    noted = [session for session in incomplete if session <= newest]
    known = [session for session in tail if session in present]
    return FetchPlan(tuple(missing), tuple(sorted({*known, *noted} - set(missing))))


def plan_range(
    calendar: Calendar,
    newest: date,
    wanted: SessionRange,
    *,
    present: Set[date],
    incomplete: Set[date],
) -> FetchPlan:
    """Plan the sessions of a range that are due: missing, incomplete, or all of them.

    ``present`` must reach over the range; ``newest`` is the newest session due.
    """
    due = calendar.sessions_between(wanted.first, min(wanted.last, newest))
    missing = [session for session in due if session not in present]
    asked = due if wanted.again else [session for session in due if session in incomplete]
    again = [session for session in asked if session in present]
    nothing = None if missing or again else _nothing_to_fetch(calendar, newest, wanted)
    return FetchPlan(tuple(missing), tuple(again), nothing)


def _nothing_to_fetch(calendar: Calendar, newest: date, wanted: SessionRange) -> str:
    if calendar.sessions_between(wanted.first, min(wanted.last, newest)):
        return f"{wanted.first} to {wanted.last}: every session is in the lake"
    one_day = wanted.first == wanted.last
    span = str(wanted.first) if one_day else f"{wanted.first} to {wanted.last}"
    if not calendar.sessions_between(wanted.first, wanted.last):
        return f"{span}: no session of {calendar.name}, the exchange is closed; nothing to fetch"
    return (
        f"{span}: not due yet, the newest session that is closed long enough is {newest};"
        " nothing to fetch"
    )


def gaps_in_words(sessions: Collection[date]) -> str:
    """Return sessions as ``3 sessions, 2025-01-03 to 2025-01-08``."""
    if not sessions:
        return "no session"
    if len(sessions) == 1:
        return str(next(iter(sessions)))
    return f"{len(sessions)} sessions, {min(sessions)} to {max(sessions)}"
