"""The chart of one symbol: one interval large, or several as small multiples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from html import escape

import polars as pl

from batch.core.errors import LakeWarning, SettingsError
from batch.core.layout import DAILY_TABLE, bars_table, require_interval
from batch.core.sessions import EPOCH, Calendar, calendar_from
from batch.lake.arguments import Adjusted, read_dates
from batch.lake.read import Lake
from batch.lake.soundness import require_sound
from reporting.candles import (
    HATCHES,
    Drawing,
    Series,
    SplitMark,
    draw_candles,
    series_of,
    span_of,
    split_marks,
)
from reporting.page import drawing_css, render
from reporting.svg import px, text_at

_WIDE, _TALL = 1080.0, 540.0
_WIDEST = 6000.0
_PANEL_WIDE, _PANEL_TALL = 470.0, 270.0
_PX_PER_BAR = 3.2

NEWEST_BARS = 150
"""How many bars of the narrowest interval are drawn where no start is given."""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """The bars of one symbol at one or more intervals over the same sessions.

    It shows itself in a notebook, as :meth:`svg` does.

    Attributes:
        series: One per interval, narrowest first, each with at least one bar.
        calendar: Must cover every window.
        newest: Newest session that the bars know of.
        adjusted: What prices were brought to the scale of the newest session for.
        log: Whether equal ratios of price are equally high.
        note: What else a reader should know, such as what was left out.
    """

    symbol: str
    series: Sequence[Series]
    splits: Sequence[SplitMark]
    calendar: Calendar
    newest: date
    adjusted: Adjusted
    log: bool = False
    note: str = ""

    @property
    def title(self) -> str:
        """The symbol and what its bars are."""
        if len(self.series) == 1:
            width = self.series[0].width
            return f"{self.symbol}, daily" if width == 1 else f"{self.symbol}, {width}-session bars"
        *others, widest = (str(series.width) for series in self.series)
        return f"{self.symbol}, bars of {', '.join(others)} and {widest} sessions"

    @property
    def subtitle(self) -> str:
        """The dates, and what the prices are."""
        first = min(series.bars[0].start for series in self.series)
        prices = "adjusted for splits" if self.adjusted else "as traded"
        prices += " and dividends" if self.adjusted == "dividends" else ""
        scale = ", logarithmic" if self.log else ""
        note = f" · {self.note}" if self.note else ""
        return f"{first} to {self.newest} · USD, {prices}{scale}{note}"

    def drawings(self) -> list[Drawing]:
        """Draw every interval."""
        width, height = _PANEL_WIDE, _PANEL_TALL
        if len(self.series) == 1:
            width, height = min(max(_WIDE, len(self.series[0]) * _PX_PER_BAR), _WIDEST), _TALL
        span = span_of(self.series)
        return [
            draw_candles(
                series, self.splits, span, self.calendar, width=width, height=height, log=self.log
            )
            for series in self.series
        ]

    def html(self, theme: str = "auto") -> str:
        """Return a self-contained page; ``theme`` is ``auto``, ``light`` or ``dark``."""
        drawings, span = self.drawings(), span_of(self.series)
        return render(
            "chart.html",
            theme=theme,
            chart=self,
            has_open_bar=any(not bar.complete for series in self.series for bar in series.bars),
            shows_split=any(mark.session_no in span for mark in self.splits),
            panels=list(zip(self.series, drawings, strict=True)),
            places=[asdict(drawing.places) for drawing in drawings],
            hatches=HATCHES,
        )

    def svg(self, theme: str = "light") -> str:
        """Return one SVG image with its title, for a PNG, a document or a notebook."""
        drawings = self.drawings()
        columns = min(len(drawings), 2)
        gap, below, head = (24, 14, 26) if columns == 2 else (0, 0, 0)
        margin, top = 20.0, 66.0
        across, down = drawings[0].width + gap, drawings[0].height + head + below
        width = margin * 2 + across * columns - gap
        height = top + down * -(-len(drawings) // columns) + margin
        parts = [
            text_at(margin, 34, self.title, "title"),
            text_at(margin, 54, self.subtitle, "subtitle"),
        ]
        for n, (series, drawing) in enumerate(zip(self.series, drawings, strict=True)):
            x, y = margin + n % columns * across, top + n // columns * down
            if head:
                parts.append(text_at(x, y + 16, series.label, "panel-title"))
            place = f"translate({px(x)} {px(y + head)})"
            parts.append(f'<g transform="{place}">{drawing.markup}</g>')
        size = f'width="{px(width)}" height="{px(height)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {px(width)} {px(height)}"'
            f' {size} role="img" aria-label="{escape(self.title)}">'
            f"<style>{drawing_css(theme)}</style><defs>{HATCHES}</defs>"
            f'<rect class="card" {size}/>{"".join(parts)}</svg>'
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show the chart in a notebook."""
        return {"image/svg+xml": self.svg(), "text/plain": f"{self.title}: {self.subtitle}"}


def load_chart(
    lake: Lake,
    symbol: str,
    intervals: Sequence[int | str],
    *,
    start: date | str | None = None,
    end: date | str | None = None,
    adjusted: Adjusted = True,
    log: bool = False,
) -> Chart:
    """Read the bars and splits of one symbol and lay them out as a chart.

    Args:
        lake: Where they are.
        symbol: Exact and case-sensitive.
        intervals: Sessions per bar, such as ``5`` or ``"5d"``; ``1`` for daily bars.
        start: Inclusive; None for the newest bars.
        end: Inclusive.
        adjusted: As in :meth:`batch.lake.Lake.bars`.
        log: Whether equal ratios of price are equally high.

    Raises:
        SettingsError: The lake has no such symbol, interval or dates.
    """
    widths = sorted({require_interval(interval) for interval in intervals})
    begins, ends = read_dates(start, end)

    def read(width: int, first: date | None) -> pl.DataFrame:
        return lake.bars(f"{width}d", symbol, first, ends, adjusted=adjusted, complete=False)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", LakeWarning)
            narrowest = read(widths[0], begins)
    except LakeWarning as nothing:
        raise SettingsError(str(nothing)) from nothing
    note = ""
    if begins is None and narrowest.height > NEWEST_BARS:
        narrowest = narrowest.tail(NEWEST_BARS)
        begins = narrowest["date" if widths[0] == 1 else "start"][0]
        note = f"newest {NEWEST_BARS} bars of {widths[0]}d"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LakeWarning)  # a panel may have no whole bar
        frames = {widths[0]: narrowest} | {width: read(width, begins) for width in widths[1:]}
    frames = {width: bars for width, bars in frames.items() if bars.height}
    starts = [bars["date" if width == 1 else "start"].min() for width, bars in frames.items()]
    first: date = min(filter(None, starts), default=EPOCH)  # type: ignore[type-var, assignment]
    calendar = calendar_from(first)
    for width, bars in frames.items():
        table = DAILY_TABLE if width == 1 else bars_table(width)
        require_sound(bars, table, calendar, label=lake.store.uri)
    newest = lake.newest_session() or first
    return Chart(
        symbol=symbol,
        series=[series_of(bars, width, calendar) for width, bars in frames.items()],
        splits=split_marks(lake.splits().filter(pl.col("symbol") == symbol), calendar),
        calendar=calendar,
        newest=min(newest, ends) if ends else newest,
        adjusted=adjusted,
        log=log,
        note=note,
    )
