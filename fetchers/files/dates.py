"""What dates a file's stamps stand for: decided from evidence for all of them, or refused.

Pure. Stamps are text, whole numbers, dates or instants. Evidence is what the file itself shows:

- Numbers that are a date in one order only, such as ``04/18/2025``.
- Sessions: bars are of days on which the exchange was open. An order by which every stamp is a
  session is likelier than one by which some are Sundays or holidays.
- Runs: sessions of a file mostly follow one another. An order by which they do is likelier than
  one by which they lie months apart.
- A date in the file's name.

What the evidence leaves open is refused, and so is what contradicts itself. A number of stamps
is no evidence: nine tenths in one order prove nothing of the rest. One exception is a slip: a
single stamp, among many in the other order that follow one another session by session. It
becomes null, so that its row is refused, but it neither flips the order nor refuses the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from batch.core.sessions import load_calendar
from fetchers.files.names import days_in_name
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused
from fetchers.files.stamps import Stamp, parse_stamp

_NEW_YORK: Final = ZoneInfo("America/New_York")
_EXCHANGE_CLOCKS: Final = frozenset({time(), time(9, 30), time(16)})
"""Midnight, open and close in New York: what vendors stamp a day's bar with."""
_EARLY_CLOSE: Final = time(13)

_ALWAYS_ISO: Final = "year first, -"
"""The shape of ISO 8601; no other standard is written so, and only a month above 12 disputes it."""
_HAVE_NO_USUAL_ORDER: Final = ("year last, /", "year last, -")

_LEAST_RUN: Final = 3
"""How many sessions must follow one another to decide an order by themselves."""
_SLIP_AMONG: Final = 20
"""How many rows must be dates in one order alone, at least, for a single other one to be a slip."""
_NAME_DAYS: Final = timedelta(days=5)
"""How many days after its newest session a file may be dated: a weekend with holidays."""


@dataclass(frozen=True, slots=True)
class Dates:
    """What all stamps of a column stand for.

    Attributes:
        orders: The order of day and month by how stamps are written.
        day_of_instant: The date that an instant in UTC stands for.
        day_of_clock: The same of a date and time without a zone, as if it were in UTC.
    """

    orders: Mapping[str, str]
    day_of_instant: Callable[[datetime], date]
    day_of_clock: Callable[[datetime], date]

    def of(self, stamps: pl.Series) -> pl.Series:
        """Return the date of each stamp; null where it has none."""
        stamps = _comparable(stamps)
        if stamps.dtype == pl.Date:
            return stamps
        unique = stamps.unique().drop_nulls()
        days = pl.Series([self._day(_parsed(one)) for one in unique.to_list()], dtype=pl.Date)
        if len(unique) == 1 and not stamps.null_count():
            return pl.repeat(days[0], len(stamps), dtype=pl.Date, eager=True)
        if unique.is_empty():
            return pl.repeat(None, len(stamps), dtype=pl.Date, eager=True)
        return stamps.replace_strict(unique, days, default=None, return_dtype=pl.Date)

    def _day(self, stamp: Stamp | datetime | None) -> date | None:
        match _moment(stamp, self.orders):
            case _Clock(at):
                return self.day_of_clock(at)
            case _Instant(at):
                return self.day_of_instant(at)
            case day:
                return day


def read_dates(
    stamps: pl.Series,
    *,
    label: str,
    reading: Reading = BY_EVIDENCE,
    lines: pl.Series | None = None,
) -> pl.Series:
    """Return the date of each stamp of a whole column, as :func:`decide_dates` decides it.

    Raises:
        FileRefused: Stamps can be read in two ways, or contradict one another.
    """
    return decide_dates(distinct(stamps, lines), label=label, reading=reading).of(stamps)


def distinct(stamps: pl.Series, lines: pl.Series | None = None) -> pl.DataFrame:
    """Return a stamp of each date and hour: all that the others could show, it shows.

    Beside it are the ``key`` that it shares with them, the first ``line`` and how many ``rows``
    have one of them.
    """
    known = pl.lit(None, pl.Int64) if lines is None else lines.cast(pl.Int64)
    stamp = pl.col("stamp")
    table = (
        _comparable(stamps)
        .alias("stamp")
        .to_frame()
        .with_columns(line=known)
        .group_by("stamp", maintain_order=True)
        .agg(pl.col("line").first(), rows=pl.len().cast(pl.Int64))
        .drop_nulls("stamp")
    )
    if table.schema["stamp"] == pl.String:
        text = stamp.str.strip_chars()
        is_epoch = text.str.contains(r"^\d{9,}$")
        width = text.str.len_chars().cast(pl.Int64)
        thousands_of_s = text.str.head((width - 9) % 3 + 6)  # all units have 9 or 10 of seconds
        epoch = pl.concat_str(width, thousands_of_s, separator=":")
        key = pl.when(is_epoch).then(epoch).otherwise(text.str.replace(r":\d\d.*$", ""))
    else:
        key = stamp.dt.truncate("1h").cast(pl.String)
    return together([table.with_columns(key=key.cast(pl.String))])


def together(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return what :func:`distinct` returns of a column, from what it returned of its parts."""
    return (
        pl.concat(parts)
        .group_by("key", maintain_order=True)
        .agg(pl.col("stamp", "line").first(), pl.col("rows").sum())
    )


def decide_dates(stamps: pl.DataFrame, *, label: str, reading: Reading = BY_EVIDENCE) -> Dates:
    """Decide what all stamps of a column stand for.

    The order of day and month holds for all stamps that are written alike. An instant stands
    for the date on which the exchange has its time of day, or for the date of which it is the
    midnight, east of New York.

    Args:
        stamps: What :func:`distinct` returns, of the whole file.
        label: The file's address; a date in its name is evidence.
        reading: What is known of the source's files.

    Raises:
        FileRefused: Stamps can be read in two ways, or contradict one another.
    """
    if stamps.schema["stamp"] == pl.Date:
        return Dates({}, _as_written, _as_written)
    found = stamps["stamp"].to_list()
    column = _Column(
        label,
        reading.date_order,
        days_in_name(label.rpartition("/")[2]),
        dict(zip(found, stamps["line"].to_list(), strict=True)),
        dict(zip(found, stamps["rows"].to_list(), strict=True)),
    )
    parsed = {stamp: _parsed(stamp) for stamp in found}
    shapes: dict[str, list[Stamp]] = {}
    for one in parsed.values():
        if isinstance(one, Stamp):
            shapes.setdefault(one.shape, []).append(one)
    orders = {shape: _decide_order(column, found) for shape, found in shapes.items()}
    moments = {stamp: _moment(one, orders) for stamp, one in parsed.items()}
    clocks = {stamp: one.at for stamp, one in moments.items() if isinstance(one, _Clock)}
    instants = {stamp: one.at for stamp, one in moments.items() if isinstance(one, _Instant)}
    return Dates(
        orders,
        day_of_instant=_day_of(column, instants, are_local=False),
        day_of_clock=_day_of(column, clocks, are_local=True),
    )


@dataclass(frozen=True, slots=True)
class _Clock:
    """A date and time of no known zone, as if it were in UTC."""

    at: datetime


@dataclass(frozen=True, slots=True)
class _Instant:
    """An instant in UTC."""

    at: datetime


def _comparable(stamps: pl.Series) -> pl.Series:
    """Return stamps as they are told apart: dates and instants as they are, others as text.

    Dates and instants that Python does not have, or that no bar is of, become null.
    """
    if stamps.dtype == pl.Float64:
        stamps = stamps.cast(pl.Int64, strict=False)
    if not isinstance(stamps.dtype, pl.Date | pl.Datetime):
        return stamps.cast(pl.String)
    if isinstance(stamps.dtype, pl.Datetime):
        stamps = stamps.dt.cast_time_unit("us")  # as exact as Python's
    is_of_bars = stamps.dt.year().is_between(1900, 2099)
    return stamps.zip_with(is_of_bars, pl.Series([None], dtype=stamps.dtype))


def _parsed(stamp: str | datetime) -> Stamp | datetime | None:
    return parse_stamp(stamp) if isinstance(stamp, str) else stamp


def _moment(
    stamp: Stamp | datetime | None, orders: Mapping[str, str]
) -> date | _Clock | _Instant | None:
    """Return what a stamp is: a date, or what a date must be found for.

    A midnight stands for the date that it is written with, where it has a zone of its own.
    """
    at = stamp
    if isinstance(stamp, Stamp):
        day = stamp.read(orders[stamp.shape]) if stamp.shape in orders else None
        if day is None or stamp.clock is None:
            return day
        at = datetime.combine(day, stamp.clock, stamp.zone)
    if not isinstance(at, datetime):
        return None
    if at.tzinfo is None:
        return _Clock(at.replace(tzinfo=UTC))
    if at.time() == time() and at.utcoffset():
        return at.date()
    return _Instant(at.astimezone(UTC))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of dates: its file, what is known of it, and where each stamp is, how often."""

    label: str
    given: str | None
    name_days: frozenset[date]
    lines: Mapping[Any, int | None]
    counts: Mapping[Any, int]

    def shown(self, stamp: Any) -> str:
        line = self.lines[stamp]
        return f"{stamp}" if line is None else f"{stamp} on line {line}"

    def refusal(self, sentence: str, remedy: str, at: Any) -> FileRefused:
        line = self.lines[at]
        return FileRefused(Code.AMBIGUOUS_DATES, self.label, sentence, remedy, line=line)


@dataclass(frozen=True, slots=True)
class _Stamps:
    """Stamps that are written alike and may have two orders.

    Attributes:
        only: Those that are a date in one order only, by its name.
        both: Those that are another date in each.
        same: Those that are the same date in each, such as 04/04/2025.
    """

    only: dict[str, list[Stamp]]
    both: list[Stamp]
    same: list[Stamp]

    @classmethod
    def of(cls, stamps: Sequence[Stamp]) -> _Stamps:
        found = cls({order: [] for order in stamps[0].orders}, [], [])
        for stamp in stamps:
            days = {order: day for order in stamp.orders if (day := stamp.read(order))}
            if len(days) == 1:
                found.only[next(iter(days))].append(stamp)
            elif days:
                (found.both if len(set(days.values())) == 2 else found.same).append(stamp)
        return found


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of day and month, and what the stamps that are written alike show of it.

    Attributes:
        name: One of the orders of a stamp.
        only: Stamps that are dates in this order alone.
        days: Of all stamps that are dates in it.
        are_sessions: Those of stamps that are other dates in the other order are all sessions.
        gaps: Sessions that lack between the first and the last of the days; None where some
            are not sessions, or there is one day only.
        is_named: A date in the file's name is one of the days, or shortly after the newest.
    """

    name: str
    only: list[Stamp]
    days: list[date]
    are_sessions: bool
    gaps: int | None
    is_named: bool

    @classmethod
    def of(cls, name: str, stamps: _Stamps, name_days: frozenset[date]) -> _Order:
        numbers = _session_numbers()
        only = stamps.only[name]
        dated = [*only, *stamps.both, *stamps.same]
        days = sorted({day for stamp in dated if (day := stamp.read(name))})
        sessions = [numbers[day] for day in days if day in numbers]
        gaps = None
        if len(sessions) == len(days) > 1:
            gaps = sessions[-1] - sessions[0] + 1 - len(sessions)
        is_near = days and any(timedelta() <= at - days[-1] <= _NAME_DAYS for at in name_days)
        return cls(
            name,
            only,
            days,
            all(stamp.read(name) in numbers for stamp in stamps.both),
            gaps,
            bool(is_near) or not name_days.isdisjoint(days),
        )

    def is_likelier(self, than: _Order, *, least_run: int) -> bool:
        """Tell whether something speaks for this order that does not speak for the other one."""
        is_run = self.gaps == 0 and than.gaps != 0 and len(self.days) >= least_run
        by_sessions = self.are_sessions and not than.are_sessions
        return is_run or by_sessions or (self.is_named and not than.is_named)


def _decide_order(column: _Column, stamps: Sequence[Stamp]) -> str:
    """Return the order of stamps that are written alike.

    Raises:
        FileRefused: It is open, or they have two.
    """
    orders = stamps[0].orders
    if len(orders) == 1:
        return orders[0]
    alike = _Stamps.of(stamps)
    both = alike.both
    usual, other = (_Order.of(name, alike, column.name_days) for name in orders)
    if column.given in orders:
        return _as_given(
            column, *((usual, other) if column.given == usual.name else (other, usual)), both
        )
    if usual.only and other.only:
        for order, against in ((usual, other), (other, usual)):
            if _has_slip(column, order, against, both):
                return order.name
        raise _two_orders(column, usual.only[0].text, other.only[0].text)
    sure = next((order for order in (usual, other) if order.only), None)
    if not both:
        return (sure or usual).name
    shape = stamps[0].shape
    if shape == _ALWAYS_ISO and sure is not other:
        return usual.name
    has_usual = shape not in _HAVE_NO_USUAL_ORDER
    least_run = _LEAST_RUN if sure is None and not has_usual else 2
    for_usual = usual.is_likelier(other, least_run=least_run)
    for_other = other.is_likelier(usual, least_run=least_run)
    if sure is None and not has_usual:
        found = {(True, False): usual, (False, True): other}.get((for_usual, for_other))
    elif sure is other:
        needs_more = has_usual and not for_other  # hardly anybody writes so
        found = None if for_usual or needs_more else other
    else:
        found = None if for_other else usual
    if found is None:
        raise _open(column, both[0], usual, other)
    return found.name


def _as_given(column: _Column, given: _Order, against: _Order, both: list[Stamp]) -> str:
    """Return the order of the source's settings, unless the file contradicts it."""
    is_slip = _has_slip(column, given, against, both)
    if against.only and not is_slip:
        wrong, what = against.only[0].text, "is not a date"
    elif against.is_likelier(given, least_run=_LEAST_RUN) and len(against.days) >= _LEAST_RUN:
        wrong, what = both[0].text, "is not likely"
    else:
        return given.name
    raise column.refusal(
        f"{column.shown(wrong)} {what} in the order {given.name} of its source's settings: the"
        f" dates have the order {against.name}",
        "correct date_order of the source",
        wrong,
    )


def _has_slip(column: _Column, order: _Order, against: _Order, both: list[Stamp]) -> bool:
    """Tell whether the file is in one order, and a single row of it is not a date there.

    Of stamps that are dates in both orders, some could belong to a second such row: then they
    must follow one another in the file's order, but for the session of the slip itself.
    """
    slips = sum(column.counts[stamp.text] for stamp in against.only)
    sure = sum(column.counts[stamp.text] for stamp in order.only)
    is_run = order.gaps is not None and order.gaps <= 1
    return slips == 1 and sure >= _SLIP_AMONG and (not both or is_run)


def _two_orders(column: _Column, one: str, two: str) -> FileRefused:
    first, second = sorted((one, two), key=lambda stamp: column.lines[stamp] or 0)
    return column.refusal(
        f"its dates have two orders: {column.shown(first)} and {column.shown(second)}",
        "write all of them as 2025-01-31",
        second,
    )


def _open(column: _Column, stamp: Stamp, usual: _Order, other: _Order) -> FileRefused:
    one, two = stamp.read(usual.name), stamp.read(other.name)
    return column.refusal(
        f"{column.shown(stamp.text)} can be {one} and {two}, and no other date decides",
        "write the dates as 2025-01-31, or set date_order for its source",
        stamp.text,
    )


@cache
def _session_numbers() -> Mapping[date, int]:
    calendar = load_calendar()
    sessions = calendar.sessions_between(calendar.first, date(2100, 1, 1))
    return {session: number for number, session in enumerate(sessions)}


def _day_of(
    column: _Column, instants: Mapping[Any, datetime], *, are_local: bool
) -> Callable[[datetime], date]:
    """Return which date an instant stands for.

    An instant is written with the date that it has in UTC, or by the clock of whoever wrote it.
    It stands for the next one if it is a midnight east of Greenwich (15:00 UTC in Tokyo), and
    for the one before if it is an evening in New York. Which of these holds for all of a file's
    is shown by what they are in New York (its midnight, the open or the close), else by which
    makes all of them sessions.

    Args:
        column: Where they are.
        instants: In UTC, or by a clock of no known zone as if it were UTC.
        are_local: Whether they are by such a clock.

    Raises:
        FileRefused: Several dates are possible, or the usual one is unlikely.
    """
    of_day = [at.time().replace(microsecond=0) for at in instants.values()]
    are_dates = all(clock == time() for clock in of_day)
    if not of_day or (are_dates and are_local and len(of_day) == 1):
        return _as_written
    readings: list[Callable[[datetime], date]] = [_as_written]
    if _may_be_midnights(of_day):
        readings.append(_day_begun)
    if any(clock < time(5) for clock in of_day):
        readings.append(_in_new_york)
    days = {read: [read(at) for at in instants.values()] for read in readings}
    readings = [one for one in readings if one is _as_written or days[one] != days[_as_written]]
    if len(readings) == 1:
        return _as_written
    numbers = _session_numbers()
    fitting = [one for one in readings if all(day in numbers for day in days[one])]
    is_usual = are_dates or _are_exchange_clocks(
        at.astimezone(_NEW_YORK) for at in instants.values()
    )
    if are_local:  # by a clock in New York, perhaps
        is_usual = is_usual or _are_exchange_clocks(instants.values())
    if len(fitting) == 1 and (fitting[0] is _as_written or not is_usual):
        return fitting[0]
    if is_usual and (_as_written in fitting or not fitting):
        return _as_written
    stamp = next(
        stamp for stamp, at in instants.items() if len({read(at) for read in readings}) > 1
    )
    possible = " and ".join(f"{read(instants[stamp])}" for read in readings)
    raise column.refusal(
        f"{column.shown(stamp)} can stand for {possible}, and no other instant decides",
        "write the dates as 2025-01-31",
        stamp,
    )


def _may_be_midnights(of_day: Sequence[time]) -> bool:
    """Tell whether times of day in UTC may all be midnight in one zone east of New York.

    Zones lie 14 hours ahead at most, by quarters of an hour, and have summer time.
    """
    minutes = [clock.hour * 60 + clock.minute or 24 * 60 for clock in of_day]
    is_on_quarter = not any(clock.second or clock.minute % 15 for clock in of_day)
    return is_on_quarter and min(minutes) >= 10 * 60 and max(minutes) - min(minutes) <= 60


def _day_begun(at: datetime) -> date:
    """Return the day of which an instant in UTC is the midnight, east of Greenwich."""
    return at.date() if at.time() == time() else at.date() + timedelta(days=1)


def _as_written(at: datetime) -> date:
    return at.date()


def _in_new_york(at: datetime) -> date:
    return at.astimezone(_NEW_YORK).date()


def _are_exchange_clocks(instants: Iterable[datetime]) -> bool:
    clocks = {at.time().replace(microsecond=0) for at in instants}
    return len(clocks - {_EARLY_CLOSE}) == 1 and clocks <= _EXCHANGE_CLOCKS | {_EARLY_CLOSE}
