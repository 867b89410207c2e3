"""What dates a file's stamps stand for: their order and their unit, from evidence or refused.

Pure. Stamps are text, whole numbers, dates or instants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from batch.core.sessions import load_calendar
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused

_NEW_YORK: Final = ZoneInfo("America/New_York")
_LATEST: Final = time(16, 30)
"""New York's time of day up to which the instant of a daily bar is taken for its session's day.

Later ones are midnight of the next day in Europe, written in UTC.
"""

_STAMP: Final = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})"
    r"(?:[T ]+(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"\s*(?:(?P<utc>Z|UTC)|(?P<zone_hours>[+-]\d\d)(?::?(?P<zone_minutes>\d\d))?)?)?"
)
_EIGHT: Final = re.compile(r"\d{8}")
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

_Parts = tuple[int, int, int]
_Clock = Mapping[str, str | None]
"""The parts of a time of day by their names in :data:`_STAMP`; empty where there is none."""

_ORDERS: Final[dict[str, tuple[int, int, int]]] = {
    "year-month-day": (0, 1, 2),
    "year-day-month": (0, 2, 1),
    "month/day/year": (2, 0, 1),
    "day/month/year": (2, 1, 0),
}
"""Where year, month and day are among the three numbers of a stamp."""


def read_dates(stamps: pl.Series, *, label: str, reading: Reading = BY_EVIDENCE) -> pl.Series:
    """Return the date of each stamp; null where it has none.

    The order of day and month is decided for the whole column: by a number above 12, else by
    which order gives sessions of the exchange only. An instant stands for its date in New York,
    midnight for the date that it is written with.

    Raises:
        FileRefused: Day and month can be exchanged, or values contradict one another.
    """
    if stamps.dtype == pl.Date:
        return stamps
    if isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone is None:
        return stamps.dt.date()
    if stamps.dtype == pl.Float64:
        stamps = stamps.cast(pl.Int64, strict=False)
    unique = stamps.unique(maintain_order=True).drop_nulls()  # the same message each time
    if isinstance(stamps.dtype, pl.Datetime):
        found = {at: _session_of(at) for at in unique.to_list()}
        table = pl.DataFrame({"stamp": unique, "date": list(found.values())})
    else:
        stamps = stamps.cast(pl.String)
        unique = unique.cast(pl.String)
        dates = _of_texts([text.strip() for text in unique.to_list()], label, reading.date_order)
        table = pl.DataFrame({"stamp": unique, "date": dates})
    table = table.with_columns(pl.col("date").cast(pl.Date))
    if table.is_empty():
        return pl.repeat(None, len(stamps), dtype=pl.Date, eager=True)
    if table.height == 1 and not stamps.null_count():
        return pl.repeat(table["date"][0], len(stamps), dtype=pl.Date, eager=True)
    return stamps.replace_strict(table["stamp"], table["date"], default=None, return_dtype=pl.Date)


def date_order_of(stamps: pl.Series, *, label: str, reading: Reading = BY_EVIDENCE) -> str | None:
    """Decide the order of day and month of a column as :func:`read_dates` does; None if none has.

    Where years stand first in some stamps and last in others, it is that of the latter.

    Raises:
        FileRefused: Day and month can be exchanged, or values contradict one another.
    """
    if stamps.dtype.is_temporal():
        return None
    shapes: dict[str, list[_Parts]] = {}
    for text in stamps.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list():
        if one := _parts(text.strip()):
            shapes.setdefault(one[0], []).append(one[1])
    orders = {_order(shape, parts, label, reading.date_order) for shape, parts in shapes.items()}
    of_year_last = orders.intersection(list(_ORDERS)[2:])
    if len(of_year_last) > 1 or len(orders - of_year_last) > 1:
        raise FileRefused(
            Code.AMBIGUOUS_DATES,
            label,
            f"its dates have several orders: {', '.join(sorted(orders))}",
            "write all of them as 2025-01-31",
        )
    return next(iter(of_year_last or orders), None)


def _of_texts(texts: list[str], label: str, given: str | None) -> list[date | None]:
    shapes: dict[str, list[_Parts]] = {}
    parsed: list[tuple[str, _Parts, _Clock] | date | None] = []
    for text in texts:
        one = _parts(text)
        parsed.append(one if one else _of_digits(text))
        if one:
            shapes.setdefault(one[0], []).append(one[1])
    orders = {shape: _order(shape, parts, label, given) for shape, parts in shapes.items()}
    return [
        _dated(one[1], orders[one[0]], one[2]) if isinstance(one, tuple) else one for one in parsed
    ]


def _parts(text: str) -> tuple[str, _Parts, _Clock] | None:
    """Return the shape of a stamp, its three numbers and its time of day."""
    if _EIGHT.fullmatch(text):
        return "digits", (int(text[:4]), int(text[4:6]), int(text[6:])), {}
    found = _STAMP.fullmatch(text)
    if not found:
        return None
    first, mark, second, third = found.group(1, 2, 3, 4)
    numbers = int(first), int(second), int(third)
    clock = found.groupdict() if found["hour"] else {}
    if len(first) == 4 and len(third) <= 2:
        return f"year first, {mark}", numbers, clock
    if len(first) <= 2 and len(third) == 4:
        return f"year last, {mark}", numbers, clock
    return None


def _order(shape: str, found: list[_Parts], label: str, given: str | None) -> str:
    is_year_last = shape.startswith("year last")
    usual, other = list(_ORDERS)[2:] if is_year_last else list(_ORDERS)[:2]
    if shape == "year last, .":
        usual, other = other, usual
    only_usual = only_other = None
    twofold: list[_Parts] = []
    for parts in found:
        one, two = _date(parts, usual), _date(parts, other)
        only_usual = parts if one and not two else only_usual
        only_other = parts if two and not one else only_other
        if one and two and one != two:
            twofold.append(parts)
    if only_usual and only_other:
        raise FileRefused(
            Code.AMBIGUOUS_DATES,
            label,
            f"its dates have two orders: {_shown(only_usual)} and {_shown(only_other)}",
            "write all of them as 2025-01-31",
        )
    if given in (usual, other):
        against = only_other if given == usual else only_usual
        if against:
            raise FileRefused(
                Code.AMBIGUOUS_DATES,
                label,
                f"{_shown(against)} is no date as {given}, which its source's settings say",
                "correct date_order in the settings of the source",
            )
        return given
    if not twofold or only_usual:
        return other if only_other else usual
    if only_other and shape not in _USUALLY:
        return other
    if shape == _ISO and not only_other:
        return usual
    fits = {order: _all_sessions(twofold, order) for order in (usual, other)}
    if shape not in _USUALLY and fits[usual] != fits[other]:
        return usual if fits[usual] else other
    if shape in _USUALLY and not only_other and (fits[usual] or not fits[other]):
        return usual
    if only_other and fits[other] and not fits[usual]:
        return other
    raise FileRefused(
        Code.AMBIGUOUS_DATES,
        label,
        f"{_shown(twofold[0])} can be {_date(twofold[0], usual)} and"
        f" {_date(twofold[0], other)}, and no other date decides",
        "write the dates as 2025-01-31",
    )


_ISO: Final = "year first, -"
_USUALLY: Final = frozenset({"digits", *(f"year first, {mark}" for mark in "-/."), "year last, ."})
"""Shapes with a usual order: ISO 8601's, and day first where points separate."""


def _shown(parts: _Parts) -> str:
    return "/".join(map(str, parts))


def _all_sessions(found: Iterable[_Parts], order: str) -> bool:
    sessions = _sessions()
    return all(_date(parts, order) in sessions for parts in found)


@cache
def _sessions() -> frozenset[date]:
    calendar = load_calendar()
    return frozenset(calendar.sessions_between(calendar.first, date(2100, 1, 1)))


def _date(parts: _Parts, order: str) -> date | None:
    year, month, day = (parts[place] for place in _ORDERS[order])
    try:
        return date(year, month, day) if 1900 <= year < 2100 else None
    except ValueError:
        return None


def _dated(parts: _Parts, order: str, clock: _Clock) -> date | None:
    day = _date(parts, order)
    if day is None or not clock:
        return day
    hour, minute, second = (int(clock[name] or 0) for name in ("hour", "minute", "second"))
    try:
        at = datetime.combine(day, time(hour, minute, second))
        if ahead := clock["zone_hours"]:
            minutes = int(ahead) * 60 + int(f"{ahead[0]}{clock['zone_minutes'] or 0}")
            return _session_of(at.replace(tzinfo=timezone(timedelta(minutes=minutes))))
    except ValueError:
        return None
    return _session_of(at.replace(tzinfo=UTC)) if clock["utc"] else day


def _of_digits(text: str) -> date | None:
    """Return the date of an epoch; none where its width is no unit's or may be another stamp's."""
    per_second = _PER_SECOND.get(len(text)) if text.isascii() and text.isdigit() else None
    if per_second is None or (len(text) in (10, 12) and text[:2] in ("19", "20")):
        return None
    seconds, rest = divmod(int(text), per_second)
    if text.startswith("0") or seconds >= _MOST_EPOCH_S:
        return None
    at = datetime.fromtimestamp(seconds, UTC)
    return _session_of(at + timedelta(microseconds=rest * 10**6 // per_second))


def _session_of(at: datetime) -> date | None:
    """Return the exchange's date of an instant; midnight stands for the date it is written with."""
    if at.time() == time():
        return at.date()
    if at.astimezone(UTC).time() == time():  # a date only, which became an instant
        return at.astimezone(UTC).date()
    in_new_york = at.astimezone(_NEW_YORK)
    return in_new_york.date() if in_new_york.time() <= _LATEST else None
