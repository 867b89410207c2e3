"""The report of a lake as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import polars as pl

from batch.audit.status import StoredTable
from batch.core.layout import table_order
from batch.runtime.formats import count_text, size_text
from batch.runtime.run_report import RunReport
from reporting.lake_facts import LakeFacts, SessionCoverage
from reporting.marks import Column, Day, sparkline, stacked_columns, year_of_days
from reporting.moves import BIG_MOVE
from reporting.page import render

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
        sparkline=sparkline,
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
    return ", ".join(f"{count:,} {name}" for count, name in shown) or "nothing to do"


def _largest_file(tables: Sequence[StoredTable]) -> str:
    sizes = (
        (item.size_bytes, f"{one.partitions.table} of {year}, has {size_text(item.size_bytes)}")
        for one in tables
        for year, item in one.partitions.objects.items()
    )
    return max(sizes, default=(0, ""))[1]


def _draw_year(year: int, sessions: Sequence[SessionCoverage]) -> str:
    days = [
        Day(
            found.session,
            level_of(found),
            f"{found.session:%a %Y-%m-%d}: {found.present:,} of {found.expected:,} symbols,"
            f" {found.share:.1%}",
        )
        for found in sessions
    ]
    return year_of_days(year, days, f"Coverage of the {len(sessions)} sessions of {year}")


def _draw_months(months: pl.DataFrame) -> str:
    columns = [
        Column(month[2:], prices, others, f"{month}: {prices:,} prices, {others:,} other values")
        for month, prices, others in months.iter_rows()
    ]
    return stacked_columns(columns, "Values changed by month of receipt")
