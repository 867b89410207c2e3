"""The small drawings of a report: bars in tables, columns by month, a line with one point."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reporting.svg import Scale, count_text, px, text_at

MARKS_CSS = """\
.meter{display:inline-block;vertical-align:middle;height:8px;min-width:1px;border-radius:2px;
background:var(--accent);opacity:.8}
.meter.warn{background:var(--warn)}
.spark{width:132px;height:30px}
.spark polyline{fill:none;stroke:var(--muted);stroke-width:1.2;vector-effect:non-scaling-stroke}
.spark circle{fill:var(--fall)}
.prices{fill:var(--accent)}
.others{fill:var(--accent);opacity:.38}
.cell0{fill:var(--fall)}
.cell1{fill:var(--warn)}
.cell2{fill:color-mix(in oklab,var(--heat-high) 30%,var(--heat-low))}
.cell3{fill:color-mix(in oklab,var(--heat-high) 58%,var(--heat-low))}
.cell4{fill:var(--heat-high)}
"""


def meter(value: float, most: float, *, kind: str = "") -> str:
    """Return a bar for a table's cell, as long as its share of the longest."""
    share = value / most if most else 0.0
    return f'<span class="meter {kind}" style="width:{share * 100:.1f}%"></span>'


def sparkline(values: Sequence[float], at: int, label: str) -> str:
    """Return a small line with a point on it.

    Args:
        values: At least one.
        at: Which value the point stands on.
        label: What it shows, for those who do not see it.
    """
    x = Scale(0, max(len(values) - 1, 1), 3, 129)
    y = Scale(min(values), max(values), 27, 3)
    points = " ".join(f"{px(x(n))},{px(y(value))}" for n, value in enumerate(values))
    return (
        f'<svg class="spark" viewBox="0 0 132 30" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{points}"/>'
        f'<circle cx="{px(x(at))}" cy="{px(y(values[at]))}" r="2.6"/></svg>'
    )


def month_columns(months: Sequence[tuple[str, int, int]]) -> str:
    """Return stacked columns by month: values of prices below, of other fields above.

    Args:
        months: Month as ``2016-03``, prices changed, other values changed; ascending.
    """
    width, height, foot, head = 460.0, 150.0, 128.0, 16.0
    most = max(prices + others for _, prices, others in months)
    y = Scale(0, most, foot, head)
    step = min((width - 4) / len(months), 46.0)
    gap = min(step * 0.24, 6.0)
    parts = [
        f'<path class="grid" d="M0 {px(head)}H{px(width)}M0 {px(foot)}H{px(width)}"/>',
        text_at(width, head - 5, count_text(most), "tick", anchor="end"),
    ]
    every = max(int(34 / step) + 1, 1)
    for n, (month, prices, others) in enumerate(months):
        left, wide = n * step + gap / 2, step - gap
        middle, top = y(prices), y(prices + others)
        parts.append(f"<g><title>{month}: {prices:,} prices, {others:,} other values</title>")
        parts.append(_column("prices", left, middle, wide, foot))
        parts.append(_column("others", left, top, wide, middle) + "</g>")
        if n % every == 0 and left + 30 < width:
            parts.append(text_at(left, foot + 15, month[2:], "tick"))
    return (
        f'<svg viewBox="0 0 {px(width)} {px(height)}" role="img"'
        f' aria-label="Values changed by month of receipt">{"".join(parts)}</svg>'
    )


def _column(kind: str, left: float, top: float, wide: float, foot: float) -> str:
    return (
        f'<rect class="{kind}" x="{px(left)}" y="{px(top)}" width="{px(wide)}"'
        f' height="{px(max(foot - top, 0))}"/>'
    )
