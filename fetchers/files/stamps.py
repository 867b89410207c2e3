"""What is written in the cell of a date: numbers in some order, a time of day, an instant. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final

_CLOCK: Final = (
    r"(?:[T ]+(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"\s*(?P<half>[AaPp][Mm])?"
    r"\s*(?:(?P<utc>Z|UTC|GMT)|(?P<zone_hours>[+-]\d\d)(?::?(?P<zone_minutes>\d\d))?)?)?"
)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_WEEKDAY: Final = re.compile(
    r"(mon(?:day)?|tue(?:s|sday)?|wed(?:nesday)?|thu(?:rs|rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
    r"\.?(?:,\s*|\s+)",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})" + _CLOCK)
_WHOLE: Final = re.compile(r"(\d+)\.0+")
_EIGHT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)" + _CLOCK)
_NAMED: Final = tuple(
    re.compile(pattern + _CLOCK)
    for pattern in (
        r"(?P<day>\d{1,2})[ /-](?P<month>[A-Za-z]{3,9})\.?,?[ /-](?P<year>\d{4})",
        r"(?P<month>[A-Za-z]{3,9})\.? (?P<day>\d{1,2}),? (?P<year>\d{4})",
        r"(?P<year>\d{4})[ /-](?P<month>[A-Za-z]{3,9})\.?[ /-](?P<day>\d{1,2})",
    )
)
_PER_SECOND: Final = {
    9: 1,
    10: 1,
    12: 10**3,
    13: 10**3,
    15: 10**6,
    16: 10**6,
    19: 10**9,
}
"""Units of epochs by how many digits they have, from 1973 on.

Eighteen digits may be nanoseconds before 2001, ticks of .NET or a FILETIME: none is taken.
"""
_MOST_EPOCH_S: Final = 1_900_000_000
"""In 2030. Ten and twelve digits that begin with 19 or 20 are YYYYMMDDHH and YYYYMMDDHHMM."""

YEAR_MONTH_DAY: Final = "year-month-day"
YEAR_DAY_MONTH: Final = "year-day-month"
MONTH_DAY_YEAR: Final = "month/day/year"
DAY_MONTH_YEAR: Final = "day/month/year"
_PLACES: Final[dict[str, tuple[int, int, int]]] = {
    YEAR_MONTH_DAY: (0, 1, 2),
    YEAR_DAY_MONTH: (0, 2, 1),
    MONTH_DAY_YEAR: (2, 0, 1),
    DAY_MONTH_YEAR: (2, 1, 0),
}
"""Where year, month and day are among the three numbers of a stamp, by the order."""

DATE_ORDERS: Final = tuple(_PLACES)
"""Orders of the numbers in a date; what separates them does not matter."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A date as it is written, with or without a time of day.

    Attributes:
        text: All of it.
        orders: In which its numbers may be read, the usual one first.
        shape: What stamps have in common that were written alike.
        numbers: Three, as they follow one another.
        weekday: Monday is 0; None where none is given.
        clock: The time of day; None where none is given.
        zone: Of the clock; None where none is given.
    """

    text: str
    shape: str
    orders: tuple[str, ...]
    numbers: tuple[int, int, int]
    weekday: int | None = None
    clock: time | None = None
    zone: timezone | None = None

    def read(self, order: str) -> date | None:
        """Return its date in an order; None where it has none."""
        year, month, day = (self.numbers[place] for place in _PLACES[order])
        try:
            found = date(year, month, day) if 1900 <= year < 2100 else None
        except ValueError:
            return None
        is_other = found and self.weekday is not None and found.weekday() != self.weekday
        return None if is_other else found


def parse_stamp(text: str) -> Stamp | datetime | None:
    """Read a stamp; an epoch is an instant in UTC, and what has no meaning is None.

    Digits are an epoch by their number, which must be a unit's and no other stamp's.
    """
    rest = text.strip()
    if whole := _WHOLE.fullmatch(rest):  # of a column that a reader took for fractions
        rest = whole[1]
    if rest.isdecimal() and rest.isascii() and len(rest) != 8:
        return _epoch(rest)
    orders: tuple[str, ...]
    weekday = None
    if day := _WEEKDAY.match(rest):
        weekday, rest = _DAYS.index(day[1][:3].lower()), rest[day.end() :]
    if found := _EIGHT.fullmatch(rest):
        shape, orders = "digits", (YEAR_MONTH_DAY, YEAR_DAY_MONTH)
        numbers = int(found[1]), int(found[2]), int(found[3])
    elif found := _NUMBERS.fullmatch(rest):
        first, mark, second, third = found.group(1, 2, 3, 4)
        numbers = int(first), int(second), int(third)
        if len(first) == 4 and len(third) <= 2:
            shape, orders = f"year first, {mark}", (YEAR_MONTH_DAY, YEAR_DAY_MONTH)
        elif len(first) <= 2 and len(third) == 4:
            shape, orders = f"year last, {mark}", (MONTH_DAY_YEAR, DAY_MONTH_YEAR)
            orders = orders[::-1] if mark == "." else orders
        else:
            return None
    elif found := next((at for one in _NAMED if (at := one.fullmatch(rest))), None):
        month = _month(found["month"])
        if month is None:
            return None
        shape, orders = "month by its name", (YEAR_MONTH_DAY,)
        numbers = int(found["year"]), month, int(found["day"])
    else:
        return None
    try:
        clock, zone = _clock(found.groupdict())
    except ValueError:
        return None
    return Stamp(text, shape, orders, numbers, weekday, clock, zone)


def _month(name: str) -> int | None:
    name = name.lower()
    if name == "sept":
        return 9
    known = [number for number, one in enumerate(_MONTHS, 1) if name in (one, one[:3])]
    return next(iter(known), None)


def _clock(parts: Mapping[str, str | None]) -> tuple[time | None, timezone | None]:
    hour, minute, second = (parts[name] for name in ("hour", "minute", "second"))
    if hour is None:
        return None, None
    hours = int(hour)
    if half := parts["half"]:
        if not 1 <= hours <= 12:
            raise ValueError(hour)
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    clock = time(hours, int(minute or 0), int(second or 0))
    if parts["utc"]:
        return clock, UTC
    ahead = parts["zone_hours"]
    if ahead is None:
        return clock, None
    minutes = int(ahead) * 60 + int(f"{ahead[0]}{parts['zone_minutes'] or 0}")
    return clock, timezone(timedelta(minutes=minutes))


def _epoch(digits: str) -> datetime | None:
    per_second = _PER_SECOND.get(len(digits))
    if per_second is None or (len(digits) in (10, 12) and digits[:2] in ("19", "20")):
        return None
    seconds, rest = divmod(int(digits), per_second)
    if digits.startswith("0") or seconds >= _MOST_EPOCH_S:
        return None
    at = datetime.fromtimestamp(seconds, UTC)
    return at + timedelta(microseconds=rest * 10**6 // per_second)
