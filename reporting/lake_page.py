"""The report of a lake as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from itertools import groupby

import polars as pl

from batch.audit.objects import StoredTable
from batch.core.layout import table_order
from batch.runtime.formats import compact_text, count_text, size_text
from batch.runtime.run_report import RunReport
from reporting.lake_facts import LakeFacts, SessionCoverage
from reporting.moves import BIG_MOVE
from reporting.page import render
from reporting.svg import Scale, px, text_at

LEVELS = (
    (0.0, "no bars"),
    (0.9, "below 90 %"),
    (0.98, "90 to 98 %"),
    (0.995, "98 to 99.5 %"),
    (1.01, "99.5 % and more"),
)
"""Upper bound of each level of the share of symbols, exclusive but for the first, and its name."""

_PUBLISHERS = frozenset({"consolidate", "resample", "run", "demo"})
_COUNTS_SHOWN = 3


def report_page(facts: LakeFacts, *, theme: str = "auto") -> str:
    """Return the report; ``theme`` is ``auto``, ``light`` or ``dark``."""
    sessions = facts.coverage.sessions
    levels = [level_of(found) for found in sessions]
    return render(
        "lake.html",
        theme=theme,
        facts=facts,
        years=[
            (year, _draw_year(year, list(found)))
            for year, found in groupby(sessions, key=lambda found: found.session.year)
        ],
        levels=[(n, name, levels.count(n)) for n, (_, name) in enumerate(LEVELS)][::-1],
        largest=_largest_file(facts.tables),
        months=_draw_months(facts.months) if facts.restated_values else "",
        big_move=BIG_MOVE,
        sparkline=_sparkline,
        outcome=outcome_text,
    )


def level_of(found: SessionCoverage) -> int:
    """Return the level of a session by the share of symbols that it has."""
    if not found.present:
        return 0
    return next(n for n, (bound, _) in enumerate(LEVELS) if n and found.share < bound)


def outcome_text(run: RunReport) -> str:
    """Return what a run did or what ended it, in a few words."""
    if run.error:
        return run.error
    if run.partitions:
        tables = sorted({partition.table for partition in run.partitions}, key=table_order)
        rows = sum(partition.rows for partition in run.partitions)
        return (
            f"{count_text(len(run.partitions), 'partitions')} of {', '.join(tables)}; {rows:,} rows"
        )
    counts = [
        (len(value) if isinstance(value, list) else value, name.replace("_", " "))
        for name, value in run.counts.items()
        if isinstance(value, int | list) and run.job not in _PUBLISHERS
    ]
    shown = ([(count, name) for count, name in counts if count] or counts)[:_COUNTS_SHOWN]
    return ", ".join(count_text(count, name) for count, name in shown) or "nothing to do"


def _largest_file(tables: Sequence[StoredTable]) -> str:
    sizes = (
        (item.size_bytes, f"{one.partitions.table} of {year}, has {size_text(item.size_bytes)}")
        for one in tables
        for year, item in one.partitions.objects.items()
    )
    return max(sizes, default=(0, ""))[1]


def _sparkline(values: Sequence[float], at: int, label: str) -> str:
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


def _draw_year(year: int, sessions: Sequence[SessionCoverage]) -> str:
    """Draw a year as a heat map, a column per week; weekdays without a session stay blank."""
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
    for found in sessions:
        day = found.session
        x = left + (day.toordinal() - first_monday) // 7 * step
        y = top + day.weekday() * step
        parts.append(
            f'<rect class="cell{level_of(found)}" x="{px(x)}" y="{px(y)}" width="{px(cell)}"'
            f' height="{px(cell)}" rx="1.5"><title>{day:%a %Y-%m-%d}: {found.present:,} of'
            f" {count_text(found.expected, 'symbols')}, {found.share:.1%}</title></rect>"
        )
    return (
        f'<svg class="year" viewBox="0 0 {px(left + 53 * step + 2)} {px(top + 5 * step)}"'
        f' role="img" aria-label="Coverage of {count_text(len(sessions), "sessions")} of {year}">'
        f"{''.join(parts)}</svg>"
    )


def _draw_months(months: pl.DataFrame) -> str:
    """Draw at least one month as stacked columns: prices below, other values above."""
    width, height, foot, head = 460.0, 150.0, 128.0, 16.0
    tallest = max(prices + others for _, prices, others in months.iter_rows())
    y = Scale(0, tallest, foot, head)
    step = min((width - 4) / months.height, 46.0)
    gap = min(step * 0.24, 6.0)
    parts = [
        f'<path class="grid" d="M0 {px(head)}H{px(width)}M0 {px(foot)}H{px(width)}"/>',
        text_at(width, head - 5, compact_text(tallest), "tick", anchor="end"),
    ]
    every = max(int(34 / step) + 1, 1)
    for n, (month, prices, others) in enumerate(months.iter_rows()):
        left = n * step + gap / 2
        middle, top = y(prices), y(prices + others)
        parts.append(
            f"<g><title>{month}: {count_text(prices, 'prices')},"
            f" {count_text(others, 'other values')}</title>"
        )
        for kind, above, below in (("lower", middle, foot), ("upper", top, middle)):
            parts.append(
                f'<rect class="{kind}" x="{px(left)}" y="{px(above)}" width="{px(step - gap)}"'
                f' height="{px(max(below - above, 0))}"/>'
            )
        parts.append("</g>")
        if n % every == 0 and left + 30 < width:
            parts.append(text_at(left, foot + 15, month[2:], "tick"))
    return (
        f'<svg viewBox="0 0 {px(width)} {px(height)}" role="img"'
        f' aria-label="Values changed by month of receipt">{"".join(parts)}</svg>'
    )
