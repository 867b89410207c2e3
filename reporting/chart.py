"""The chart of one symbol: one interval large, or several as small multiples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from html import escape

import polars as pl

from batch.core.errors import LakeWarning, SettingsError
from batch.core.layout import DAILY_TABLE, Period, bars_table
from batch.core.sessions import EPOCH, Calendar, calendar_from
from batch.lake.arguments import Adjusted, interval_name, read_dates, read_intervals
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

_WIDE, _TALL = 1062.0, 540.0
"""As large as a page shows a single panel."""

_LEAST_WIDE = 900.0
_WIDEST = 6000.0
_PANEL_WIDE, _PANEL_TALL = 470.0, 270.0
_PX_PER_BAR = 3.2

_PERIODS = {Period.WEEK: "weeks", Period.MONTH: "months"}

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
        intervals = [series.interval for series in self.series]
        if len(intervals) == 1:
            return f"{self.symbol}, {_name_bars(intervals[0])}"
        numbers = [str(one) for one in intervals if not isinstance(one, Period)]
        periods = [_PERIODS[one] for one in intervals if isinstance(one, Period)]
        named = [f"{_listed(numbers)} session{'s' * (numbers != ['1'])}"] if numbers else []
        named += [_listed(periods)] if periods else []
        return f"{self.symbol}, bars of {', '.join(named)}"

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
            width, height = max(_WIDE, self._least_width), _TALL
        span = span_of(self.series)
        return [
            draw_candles(
                series, self.splits, span, self.calendar, width=width, height=height, log=self.log
            )
            for series in self.series
        ]

    @property
    def _least_width(self) -> float:
        """The width below which a single panel is unreadable and scrolls, in pixels."""
        return min(max(_LEAST_WIDE, len(self.series[0]) * _PX_PER_BAR), _WIDEST)

    def html(self, theme: str = "auto") -> str:
        """Return a self-contained page; ``theme`` is ``auto``, ``light`` or ``dark``."""
        drawings, span = self.drawings(), span_of(self.series)
        return render(
            "chart.html",
            theme=theme,
            chart=self,
            has_open_bar=any(not bar.complete for series in self.series for bar in series.bars),
            shows_split=any(mark.session_no in span for mark in self.splits),
            least=self._least_width,
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


def _name_bars(interval: int | Period) -> str:
    if isinstance(interval, Period):
        return "weekly" if interval is Period.WEEK else "monthly"
    return "daily" if interval == 1 else f"{interval}-session bars"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


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
        intervals: As in :meth:`batch.lake.Lake.bars`.
        start: Inclusive; None for the newest bars.
        end: Inclusive.
        adjusted: As in :meth:`batch.lake.Lake.bars`.
        log: Whether equal ratios of price are equally high.

    Warns:
        LakeWarning: A dividend could not be adjusted for, or there are none.

    Raises:
        SettingsError: The lake has no such symbol, interval or dates.
    """
    narrowest, *others = read_intervals(intervals)
    begins, ends = read_dates(start, end)

    def read(interval: int | Period, first: date | None) -> pl.DataFrame:
        return lake.bars(interval, symbol, first, ends, adjusted=adjusted, complete=False)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", LakeWarning)
        bars = read(narrowest, begins)
    if bars.is_empty():
        raise SettingsError(str(warned[0].message))
    for one in warned:
        warnings.warn(one.message, one.category, stacklevel=2)
    note = ""
    if begins is None and bars.height > NEWEST_BARS:
        bars = bars.tail(NEWEST_BARS)
        begins = bars["date" if narrowest == 1 else "start"][0]
        note = f"newest {NEWEST_BARS} bars of {interval_name(narrowest)}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LakeWarning)  # a panel may have no whole bar
        frames = {narrowest: bars} | {interval: read(interval, begins) for interval in others}
    frames = {interval: bars for interval, bars in frames.items() if bars.height}
    starts = [bars["date" if interval == 1 else "start"].min() for interval, bars in frames.items()]
    first: date = min(filter(None, starts), default=EPOCH)  # type: ignore[type-var, assignment]
    calendar = calendar_from(first)
    for interval, bars in frames.items():
        table = (
            DAILY_TABLE if isinstance(interval, Period) or interval == 1 else bars_table(interval)
        )
        require_sound(bars, table, calendar, label=lake.store.uri)
    newest = lake.newest_session() or first
    return Chart(
        symbol=symbol,
        series=[series_of(bars, interval, calendar) for interval, bars in frames.items()],
        splits=split_marks(lake.splits().filter(pl.col("symbol") == symbol), calendar),
        calendar=calendar,
        newest=min(newest, ends) if ends else newest,
        adjusted=adjusted,
        log=log,
        note=note,
    )
