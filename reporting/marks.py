"""Small drawings of pages: a line with one point, stacked columns, a year of days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from batch.runtime.formats import compact_text
from reporting.svg import Scale, px, text_at


def sparkline(values: Sequence[float], at: int, label: str) -> str:
    """Return a small line through at least one value, with a point on the value ``at``.

    The label is for screen readers.
    """
    x = Scale(0, max(len(values) - 1, 1), 3, 129)
    y = Scale(min(values), max(values), 27, 3)
    points = " ".join(f"{px(x(n))},{px(y(value))}" for n, value in enumerate(values))
    return (
        f'<svg class="spark" viewBox="0 0 132 30" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{points}"/>'
        f'<circle cx="{px(x(at))}" cy="{px(y(values[at]))}" r="2.6"/></svg>'
    )


@dataclass(frozen=True, slots=True)
class Column:
    """Two amounts, the lower one dark, the upper one light; the pointer reads the title."""

    label: str
    lower: float
    upper: float
    title: str


def stacked_columns(columns: Sequence[Column], label: str) -> str:
    """Return at least one column, from left to right; the label is for screen readers."""
    width, height, foot, head = 460.0, 150.0, 128.0, 16.0
    tallest = max(column.lower + column.upper for column in columns)
    y = Scale(0, tallest, foot, head)
    step = min((width - 4) / len(columns), 46.0)
    gap = min(step * 0.24, 6.0)
    parts = [
        f'<path class="grid" d="M0 {px(head)}H{px(width)}M0 {px(foot)}H{px(width)}"/>',
        text_at(width, head - 5, compact_text(tallest), "tick", anchor="end"),
    ]
    every = max(int(34 / step) + 1, 1)
    for n, column in enumerate(columns):
        left = n * step + gap / 2
        middle, top = y(column.lower), y(column.lower + column.upper)
        parts.append(f"<g><title>{escape(column.title)}</title>")
        for kind, above, below in (("lower", middle, foot), ("upper", top, middle)):
            parts.append(
                f'<rect class="{kind}" x="{px(left)}" y="{px(above)}" width="{px(step - gap)}"'
                f' height="{px(max(below - above, 0))}"/>'
            )
        parts.append("</g>")
        if n % every == 0 and left + 30 < width:
            parts.append(text_at(left, foot + 15, column.label, "tick"))
    return (
        f'<svg viewBox="0 0 {px(width)} {px(height)}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class Day:
    """A weekday of a year, its level from 0 (alarming) to 4 (best); the pointer reads the title."""

    date: date
    level: int
    title: str


def year_of_days(year: int, days: Sequence[Day], label: str) -> str:
    """Return a year as a heat map, a column per week; weekdays that are not given stay blank.

    The label is for screen readers.
    """
    step, cell, left, top = 13.0, 11.0, 30.0, 16.0
    first_monday = date(year, 1, 1).toordinal() - date(year, 1, 1).weekday()
    parts = [
        text_at(0, top + n * step + 9, name, "tick")
        for n, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    ]
    for month in range(1, 13):
        first = date(year, month, 1)
        week = (first.toordinal() - first_monday + 6) // 7
        parts.append(text_at(left + week * step, 10, f"{first:%b}", "tick"))
    for day in days:
        x = left + (day.date.toordinal() - first_monday) // 7 * step
        y = top + day.date.weekday() * step
        parts.append(
            f'<rect class="cell{day.level}" x="{px(x)}" y="{px(y)}" width="{px(cell)}"'
            f' height="{px(cell)}" rx="1.5"><title>{escape(day.title)}</title></rect>'
        )
    return (
        f'<svg class="year" viewBox="0 0 {px(left + 53 * step + 2)} {px(top + 5 * step)}"'
        f' role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
