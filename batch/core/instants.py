"""Dates and instants as users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from batch.core.errors import SettingsError


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
