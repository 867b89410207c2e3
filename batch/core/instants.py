"""Dates and instants as users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from batch.core.errors import SettingsError

EARLIEST_RECEIPT: Final = datetime(1970, 1, 1, tzinfo=UTC)

CLOCKS_DIFFER_BY: Final = timedelta(minutes=5)
"""How far the clock of the store that dates a file may be ahead of ours."""


def parse_date(text: str, *, label: str) -> date:
    """Read an ISO 8601 date.

    Raises:
        SettingsError: It is not a date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as err:
        raise SettingsError(f"{label} {text!r}: expected a date such as 2025-01-31") from err


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant with a time zone; a date stands for the end of that day in UTC.

    Raises:
        SettingsError: It is neither.
    """
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), time.max, tzinfo=UTC)
        instant = datetime.fromisoformat(text)
    except ValueError as err:
        raise SettingsError(
            f"{text!r} is not an instant: use 2025-01-10 or 2025-01-10T09:00:00Z"
        ) from err
    if instant.tzinfo is None:
        raise SettingsError(f"{text!r} has no time zone: add Z or +00:00")
    return instant


def receipt_refusal(received_at: datetime, *, now: datetime) -> str | None:
    """Return why a delivery cannot have been received at an instant; None where it can.

    A date stands for its end, so the end of today has not come and is accepted.
    """
    at = received_at.astimezone(UTC)
    if at < EARLIEST_RECEIPT:
        return f"received at {at.isoformat(' ')}: expected 1970-01-01 or later"
    today = now.astimezone(UTC)
    ends_today = at.date() == today.date() and at.time() >= time(23, 59, 59)
    if at > today + CLOCKS_DIFFER_BY and not ends_today:
        return (
            f"received at {at.isoformat(' ')} is in the future: it is"
            f" {today:%Y-%m-%d %H:%M} UTC now"
        )
    return None
