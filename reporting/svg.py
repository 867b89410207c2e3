"""Small parts that drawings are made of: numbers, text, scales and ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Final


def px(value: float) -> str:
    """Return a coordinate with at most one decimal, as short as it gets."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def text_at(x: float, y: float, content: str, kind: str, *, anchor: str = "start") -> str:
    """Return a line of text."""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{px(x)}" y="{px(y)}" class="{kind}"{place}>{escape(content)}</text>'


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps the values from ``low`` to ``high`` to the places from ``start`` to ``stop``.

    With ``log``, equal ratios rather than equal steps are equally far apart.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        span = high - low or 1.0
        return self.start + (value - low) / span * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """Return about ``count`` round values within the scale."""
        if self.log and self.high / self.low >= 4:
            return _log_ticks(self.low, self.high, count)
        return _even_ticks(self.low, self.high, count)


def _even_ticks(low: float, high: float, count: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**p for p in powers for m in mantissas if low <= m * 10.0**p <= high]
        if len(ticks) <= count * 1.6:
            return ticks
    return ticks


_LEVELS: Final[tuple[Callable[[date], object], ...]] = (
    lambda day: day.isocalendar()[:2],
    lambda day: (day.year, day.month),
    lambda day: (day.year, (day.month - 1) // 3),
    lambda day: (day.year, (day.month - 1) // 6),
    lambda day: day.year,
    lambda day: day.year // 2,
    lambda day: day.year // 5,
    lambda day: day.year // 10,
)
"""What dates between two labels have in common, from weeks to decades."""


def date_ticks(sessions: Sequence[date], count: int) -> list[tuple[int, str]]:
    """Label years, quarters, months or weeks: the finest that gives at most ``count`` labels.

    Each stands with its position among the ascending sessions. A month that begins a year is
    labelled with the year.
    """
    for level, group in enumerate(_LEVELS):
        groups = [group(session) for session in sessions]
        begins = [n for n in range(1, len(sessions)) if groups[n] != groups[n - 1]]
        ticks = [(n, _date_label(sessions[n], level)) for n in begins]
        if len(ticks) <= count:
            break
    return ticks


def _date_label(day: date, level: int) -> str:
    if level == 0:
        return f"{day.day} {day:%b}"
    return str(day.year) if level >= 4 or day.month == 1 else f"{day:%b}"


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Return the labels of a price axis, all with the decimals that the finest needs."""
    for decimals in range(7):
        texts = [f"{tick:,.{decimals}f}" for tick in ticks]
        if all(
            abs(float(text.replace(",", "")) - tick) <= 1e-9 + abs(tick) * 1e-9
            for text, tick in zip(texts, ticks, strict=True)
        ):
            return texts
    return texts


def padded(low: float, high: float, share: float, *, log: bool = False) -> tuple[float, float]:
    """Return bounds with some room above and below; a flat series gets 1 % of its value."""
    if log:
        ratio = (high / low) ** share if high > low else 1.01
        return low / ratio, high * ratio
    room = (high - low) * share or abs(high) * 0.01 or 1.0
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room
