"""Dates and instants in the names of files, which are written year, month, day. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

_INSTANT_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T_ -](\d\d)[-:]?(\d\d)[-:]?(\d\d)(\d{6}(?=Z))?Z?(?!-?\d)"
)
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""What pandas and Spark name their files after; eight digits in it are no date."""


def instant_in_name(name: str) -> datetime | None:
    """Return the instant in a file's name, or None where there is none.

    A date stands for the end of that day in UTC: after the session's close, before the next
    one's; of several, as in a range of dates, the last one does. A delivery of a lake has
    microseconds in its name.
    """
    name = _RANDOM.sub("", name)
    at = _INSTANT_IN_NAME.search(name)
    found = [at] if at else _DATE_IN_NAME.finditer(name)
    instants = (_instant([int(part or 0) for part in one.groups()]) for one in found)
    return max((one for one in instants if one), default=None)


def days_in_name(name: str) -> frozenset[date]:
    """Return the dates in a file's name."""
    found = _DATE_IN_NAME.finditer(_RANDOM.sub("", name))
    instants = (_instant([int(part) for part in one.groups()]) for one in found)
    return frozenset(one.date() for one in instants if one)


def _instant(parts: Sequence[int]) -> datetime | None:
    year, month, day, *clock = parts
    hour, minute, second, microsecond = clock or (23, 59, 59, 0)
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
    except ValueError:
        return None
