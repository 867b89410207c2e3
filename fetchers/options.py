"""The sessions that the options of the command line name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from batch.core.errors import SettingsError
from batch.core.sessions import EARLIEST
from fetchers.plan import exchange_date
from fetchers.request import SessionRange

_DAYS_A_YEAR = 365.25


def read_session_range(
    day: str | None,
    first: str | None,
    last: str | None,
    backfill_years: float | None,
    *,
    again: bool = False,
    now: datetime | None = None,
) -> SessionRange | None:
    """Return the range that the options name; None for the daily run.

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
    today = exchange_date(now or datetime.now(UTC))
    if day:
        session = _date("--date", day)
        return SessionRange(session, session, again=True)
    if first:
        return SessionRange(
            _date("--from", first), _date("--to", last) if last else today, again=again
        )
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
