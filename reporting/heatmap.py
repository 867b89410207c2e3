"""A year of sessions as a heat map: one column per week, one cell per session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape

from reporting.facts import SessionCoverage
from reporting.svg import px, text_at

CLASSES = (
    (0.0, "no bars"),
    (0.9, "below 90 %"),
    (0.98, "90 to 98 %"),
    (0.995, "98 to 99.5 %"),
    (1.01, "99.5 % and more"),
)
"""Upper bound of each class of the share of symbols, exclusive but for the first, and its name."""

_STEP = 13.0
_CELL = 11.0
_LEFT = 30.0
_TOP = 16.0
_DAYS = ("Mon", "", "Wed", "", "Fri")


def class_of(found: SessionCoverage) -> int:
    """Return the class of a session by the share of symbols that it has."""
    if not found.present:
        return 0
    return next(n for n, (bound, _) in enumerate(CLASSES) if n and found.share < bound)


def draw_year(year: int, sessions: Sequence[SessionCoverage]) -> str:
    """Draw the sessions of a year; days without a session stay blank.

    Args:
        year: Which.
        sessions: Its sessions, or some of them.
    """
    first_monday = date(year, 1, 1).toordinal() - date(year, 1, 1).weekday()
    parts = [
        text_at(0, _TOP + n * _STEP + 9, label, "tick") for n, label in enumerate(_DAYS) if label
    ]
    for month in range(1, 13):
        begins = date(year, month, 1).toordinal()
        week = (begins - first_monday + 6) // 7
        parts.append(text_at(_LEFT + week * _STEP, 10, f"{date(year, month, 1):%b}", "tick"))
    for found in sessions:
        week = (found.session.toordinal() - first_monday) // 7
        x, y = _LEFT + week * _STEP, _TOP + found.session.weekday() * _STEP
        told = (
            f"{found.session:%a %Y-%m-%d}: {found.present:,} of {found.expected:,} symbols,"
            f" {found.share:.1%}"
        )
        parts.append(
            f'<rect class="cell{class_of(found)}" x="{px(x)}" y="{px(y)}" width="{px(_CELL)}"'
            f' height="{px(_CELL)}" rx="1.5"><title>{escape(told)}</title></rect>'
        )
    width, height = _LEFT + 53 * _STEP + 2, _TOP + 5 * _STEP
    return (
        f'<svg class="year" viewBox="0 0 {px(width)} {px(height)}" role="img"'
        f' aria-label="Coverage of the {len(sessions)} sessions of {year}">{"".join(parts)}</svg>'
    )
