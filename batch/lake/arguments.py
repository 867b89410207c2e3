"""The arguments of the read API as callers write them: checked, and named when they are wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from batch.core.errors import SettingsError
from batch.core.instants import parse_date, parse_instant
from batch.core.layout import (
    DAILY_TABLE,
    Anchor,
    Period,
    bars_table,
    parse_interval,
    require_interval,
)

Adjusted = bool | Literal["dividends"]
"""What prices are adjusted for: splits (True), nothing (False), or splits and dividends."""


@dataclass(frozen=True, slots=True)
class BarsRequest:
    """Which bars were asked for; :meth:`batch.lake.Lake.bars` explains each field.

    Attributes:
        interval: Sessions per bar, 1 for daily bars; or a week or month.
        symbols: None for all.
        first: Inclusive; None where open.
        last: Inclusive; None where open.
        as_of: Aware; None for the present.
    """

    interval: int | Period
    symbols: list[str] | None
    first: date | None
    last: date | None
    adjusted: Adjusted
    complete: bool
    anchor: Anchor
    as_of: datetime | None

    @classmethod
    def read(
        cls,
        interval: int | str,
        symbols: Sequence[str] | str | None,
        start: date | str | None,
        end: date | str | None,
        adjusted: Adjusted,
        complete: bool | None,
        anchor: Anchor | str,
        as_of: datetime | str | None,
    ) -> BarsRequest:
        """Check the arguments of a caller.

        Raises:
            SettingsError: One is wrong.
        """
        bars_of = read_interval(interval)
        counted_from = read_anchor(anchor)
        if isinstance(bars_of, Period) and counted_from is not Anchor.CALENDAR:
            raise SettingsError(
                f"anchor {anchor!r}: {bars_of} bars begin with their week or month; leave it out"
            )
        first, last = read_dates(start, end)
        return cls(
            interval=bars_of,
            symbols=read_texts(symbols, "symbols", "AAPL", "MSFT"),
            first=first,
            last=last,
            adjusted=read_adjusted(adjusted),
            complete=complete is not None and read_switch(complete, "complete"),
            anchor=counted_from,
            as_of=None if as_of is None else read_instant(as_of),
        )

    @property
    def daily(self) -> bool:
        """Whether the bars are daily ones."""
        return self.interval == 1

    @property
    def for_dividends(self) -> bool:
        """Whether prices are adjusted for dividends too."""
        return self.adjusted == "dividends"

    @property
    def made_on_read(self) -> bool:
        """Whether the bars are made from daily ones, as no table has them."""
        if self.as_of is not None or isinstance(self.interval, Period):
            return True
        return self.for_dividends and not self.daily

    @property
    def table(self) -> str:
        """Name of the silver table that has the bars, or would have them."""
        if isinstance(self.interval, Period):
            return self.interval
        return DAILY_TABLE if self.daily else bars_table(self.interval, self.anchor)

    @property
    def key(self) -> str:
        """The column with the first date of a bar."""
        return "date" if self.daily else "start"

    def __str__(self) -> str:
        closed = "" if self.daily else "closed " if self.complete else "whole "
        known = f" known at {self.as_of}" if self.as_of else ""
        return f"{closed}{interval_name(self.interval)} bars{known}"


def read_interval(value: int | str, label: str = "interval") -> int | Period:
    """Return an interval: a number of sessions, a week or a month.

    Raises:
        SettingsError: It is none of these, or not from 1 to :data:`batch.core.layout.WIDEST`.
    """
    for period in Period:
        if value == period:
            return period
    try:
        width = parse_interval(value)
    except ValueError as err:
        raise SettingsError(f"{label} {err}; 1w is a week and 1mo a month") from err
    return require_interval(width, label)


def read_intervals(values: Iterable[int | str], label: str = "interval") -> list[int | Period]:
    """Return intervals as :func:`read_interval` does, each once and the narrowest first."""
    return sorted({read_interval(value, label) for value in values}, key=_usual_sessions)


def _usual_sessions(interval: int | Period) -> tuple[int, bool]:
    """Return what sorts intervals: sessions before a week or a month of as many."""
    if isinstance(interval, Period):
        return (5 if interval is Period.WEEK else 21), True
    return interval, False


def interval_name(interval: int | Period) -> str:
    """Return an interval as users write it: ``5d``, ``1w``."""
    return interval if isinstance(interval, Period) else f"{interval}d"


def read_texts(values: Sequence[str] | str | None, label: str, *examples: str) -> list[str] | None:
    """Return one or several texts as a list; None, for all of them, stays.

    Raises:
        SettingsError: One of them is not text.
    """
    if values is None:
        return None
    try:
        chosen = [values] if isinstance(values, str) else [*values]
    except TypeError as err:
        raise SettingsError(
            f"{label} {values!r}: expected text such as {examples[0]!r}, or a list of such"
        ) from err
    for value in chosen:
        if not isinstance(value, str):
            raise SettingsError(f"{label}: {value!r} is not text; expected {[*examples]}")
    return chosen


def read_dates(start: date | str | None, end: date | str | None) -> tuple[date | None, date | None]:
    """Return the first and the last date, both inclusive; None where not given.

    Raises:
        SettingsError: One is not a date, or the first is after the last.
    """
    first, last = _date(start, "start"), _date(end, "end")
    if first and last and first > last:
        raise SettingsError(f"start {first} is after end {last}: swap the two")
    return first, last


def read_instant(value: datetime | str) -> datetime:
    """Return an aware instant; a date as text stands for its end in UTC.

    Raises:
        SettingsError: It is something else, or has no time zone.
    """
    if isinstance(value, str):
        return parse_instant(value)
    if not isinstance(value, datetime):
        raise SettingsError(f"as_of {value!r}: expected '2025-01-10T09:00Z' or an aware datetime")
    if value.tzinfo is None:
        raise SettingsError(f"as_of {value!r} has no time zone: give an aware datetime")
    return value


def read_anchor(anchor: Anchor | str) -> Anchor:
    """Return what windows are counted from.

    Raises:
        SettingsError: It is neither of the two.
    """
    try:
        return Anchor(anchor)
    except ValueError as err:
        raise SettingsError(f"anchor {anchor!r}: expected calendar or listing") from err


def read_adjusted(value: object) -> Adjusted:
    """Return what prices are to be adjusted for.

    Raises:
        SettingsError: It is none of the three.
    """
    if isinstance(value, bool):
        return value
    if value == "dividends":
        return "dividends"
    raise SettingsError(
        f"adjusted {value!r}: expected True (for splits), False (as traded)"
        " or 'dividends' (for splits and dividends)"
    )


def read_switch(value: object, label: str) -> bool:
    """Return True or False; any other value counts as one of them to Python, ``'no'`` as True.

    Raises:
        SettingsError: It is neither.
    """
    if isinstance(value, bool):
        return value
    raise SettingsError(f"{label} {value!r}: expected True or False")


def _date(value: object, label: str) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    if isinstance(value, str):
        return parse_date(value, label=label)
    raise SettingsError(f"{label} {value!r}: expected a date such as '2025-01-31'{_meant(value)}")


def _meant(value: object) -> str:
    try:
        return f"; did you mean '{date.fromisoformat(str(value))}'?"
    except ValueError:
        return ""
