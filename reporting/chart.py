"""Charts of one or several symbols: one interval large, or several as small multiples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from html import escape

import polars as pl

from batch.core.errors import LakeWarning, SettingsError
from batch.core.layout import DAILY_TABLE, WIDEST, Period, bars_table
from batch.core.sessions import EPOCH, Calendar, calendar_from
from batch.lake.arguments import (
    Adjusted,
    interval_name,
    read_dates,
    read_intervals,
    read_texts,
)
from batch.lake.read import Lake
from batch.lake.soundness import require_sound
from batch.runtime.formats import listed_text
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
"""As large as a page shows a single panel, in pixels."""

_STACKED_TALL = 300.0
"""How high each of several panels below one another is."""

_LEAST_WIDE = 900.0
_WIDEST = 6000.0
_PANEL_WIDE, _PANEL_TALL = 470.0, 270.0
_PX_PER_BAR = 3.2

_PERIODS = {Period.WEEK: "weeks", Period.MONTH: "months"}

_NAMED = 5

NEWEST_BARS = 150
"""How many bars of the narrowest interval are drawn where no start is given."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The bars of one symbol at one interval, at least one, and the symbol's splits."""

    symbol: str
    series: Series
    splits: Sequence[SplitMark]


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """The bars of some symbols at one or more intervals over the same sessions.

    It shows itself in a notebook, as :meth:`svg` does.

    Attributes:
        panels: Symbol after symbol, each with its narrowest interval first.
        calendar: Must cover every window.
        newest: Newest session that the bars know of.
        adjusted: What prices were brought to the scale of the newest session for.
        log: Whether equal ratios of price are equally high.
        note: What else a reader should know, such as what was left out.
    """

    panels: Sequence[Panel]
    calendar: Calendar
    newest: date
    adjusted: Adjusted
    log: bool = False
    note: str = ""

    @property
    def symbols(self) -> list[str]:
        """The symbols, in the order of their panels."""
        return [*dict.fromkeys(panel.symbol for panel in self.panels)]

    @property
    def series(self) -> list[Series]:
        """The bars of every panel."""
        return [panel.series for panel in self.panels]

    @property
    def intervals(self) -> list[int | Period]:
        """The intervals, narrowest first."""
        return [*dict.fromkeys(series.interval for series in self.series)]

    @property
    def columns(self) -> int:
        """How many panels stand side by side: bars of one interval below one another."""
        return 1 if len(self.intervals) == 1 else 2

    @property
    def title(self) -> str:
        """The symbols and what their bars are."""
        symbols, intervals = _listed(self.symbols, most=_NAMED), self.intervals
        if len(intervals) == 1:
            return f"{symbols}, {_name_bars(intervals[0])}"
        numbers = [str(one) for one in intervals if not isinstance(one, Period)]
        periods = [_PERIODS[one] for one in intervals if isinstance(one, Period)]
        named = [f"{_listed(numbers)} session{'s' * (numbers != ['1'])}"] if numbers else []
        named += [_listed(periods)] if periods else []
        return f"{symbols}, bars of {', '.join(named)}"

    def label(self, panel: Panel) -> str:
        """Return what tells a panel from the others: its symbol, its interval, or both."""
        if len(self.symbols) == 1:
            return panel.series.label
        return panel.symbol if self.columns == 1 else f"{panel.symbol}, {panel.series.label}"

    def begins_row(self, place: int) -> bool:
        """Return whether the panel at a place is the first one of its symbol."""
        return place == 0 or self.panels[place].symbol != self.panels[place - 1].symbol

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
        """Draw every panel."""
        width, height = _PANEL_WIDE, _PANEL_TALL
        if self.columns == 1:
            width = max(_WIDE, self._least_width)
            height = _TALL if len(self.panels) == 1 else _STACKED_TALL
        span = span_of(self.series)
        return [
            draw_candles(
                panel.series,
                panel.splits,
                span,
                self.calendar,
                width=width,
                height=height,
                log=self.log,
            )
            for panel in self.panels
        ]

    @property
    def _least_width(self) -> float:
        """The width below which a panel across the page is unreadable and scrolls, in pixels."""
        return min(max(_LEAST_WIDE, max(map(len, self.series)) * _PX_PER_BAR), _WIDEST)

    def html(self, theme: str = "auto") -> str:
        """Return a self-contained page; ``theme`` is ``auto``, ``light`` or ``dark``."""
        drawings, span = self.drawings(), span_of(self.series)
        return render(
            "chart.html",
            theme=theme,
            chart=self,
            has_open_bar=any(not bar.complete for series in self.series for bar in series.bars),
            shows_split=any(
                mark.session_no in span for panel in self.panels for mark in panel.splits
            ),
            least=self._least_width,
            panels=list(zip(self.panels, drawings, strict=True)),
            places=[asdict(drawing.places) for drawing in drawings],
            hatches=HATCHES,
        )

    def svg(self, theme: str = "light") -> str:
        """Return one SVG image with its title, for a PNG, a document or a notebook."""
        drawings = self.drawings()
        gap, below, head = (24, 14, 26) if len(drawings) > 1 else (0, 0, 0)
        margin, top = 20.0, 66.0
        across, down = drawings[0].width + gap, drawings[0].height + head + below
        places = self._places()
        width = margin * 2 + across * (1 + max(column for _, column in places)) - gap
        height = top + down * (places[-1][0] + 1) + margin
        parts = [
            text_at(margin, 34, self.title, "title"),
            text_at(margin, 54, self.subtitle, "subtitle"),
        ]
        for panel, drawing, (row, column) in zip(self.panels, drawings, places, strict=True):
            x, y = margin + column * across, top + row * down
            if head:
                parts.append(text_at(x, y + 16, self.label(panel), "panel-title"))
            place = f"translate({px(x)} {px(y + head)})"
            parts.append(f'<g transform="{place}">{drawing.markup}</g>')
        size = f'width="{px(width)}" height="{px(height)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {px(width)} {px(height)}"'
            f' {size} role="img" aria-label="{escape(self.title)}">'
            f"<style>{drawing_css(theme)}</style><defs>{HATCHES}</defs>"
            f'<rect class="card" {size}/>{"".join(parts)}</svg>'
        )

    def _places(self) -> list[tuple[int, int]]:
        """Return the row and the column of every panel; a symbol begins a row."""
        places: list[tuple[int, int]] = []
        for n in range(len(self.panels)):
            row, column = places[-1] if places else (0, -1)
            full = column + 1 == self.columns or (n > 0 and self.begins_row(n))
            places.append((row + 1, 0) if full else (row, column + 1))
        return places

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show the chart in a notebook."""
        return {"image/svg+xml": self.svg(), "text/plain": f"{self.title}: {self.subtitle}"}


def _name_bars(interval: int | Period) -> str:
    if isinstance(interval, Period):
        return "weekly" if interval is Period.WEEK else "monthly"
    return "daily" if interval == 1 else f"{interval}-session bars"


def _listed(names: Sequence[str], most: int = WIDEST) -> str:
    if len(names) > most:
        return listed_text(names, most)
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def load_chart(
    lake: Lake,
    symbols: Sequence[str] | str,
    intervals: Sequence[int | str],
    *,
    start: date | str | None = None,
    end: date | str | None = None,
    adjusted: Adjusted = True,
    log: bool = False,
) -> Chart:
    """Read the bars and splits of some symbols and lay them out as a chart.

    Args:
        lake: Where they are.
        symbols: One or several, exact and case-sensitive; at least one.
        intervals: As in :meth:`batch.lake.Lake.bars`.
        start: Inclusive; None for the newest bars, of several symbols from the session on at which
            those of any of them begin.
        end: Inclusive.
        adjusted: As in :meth:`batch.lake.Lake.bars`.
        log: Whether equal ratios of price are equally high.

    Warns:
        LakeWarning: A dividend could not be adjusted for, or there are none.

    Raises:
        SettingsError: The lake has no such symbol, interval or dates.
    """
    chosen = [*dict.fromkeys(read_texts(symbols, "symbols", "AAPL", "MSFT") or ())]
    if not chosen:
        raise SettingsError("symbols: expected at least one to draw, such as 'AAPL'")
    narrowest, *others = read_intervals(intervals)
    begins, ends = read_dates(start, end)

    def read(symbol: str, interval: int | Period, first: date | None) -> pl.DataFrame:
        return lake.bars(interval, symbol, first, ends, adjusted=adjusted, complete=False)

    found: dict[str, pl.DataFrame] = {}
    for symbol in chosen:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", LakeWarning)
            found[symbol] = read(symbol, narrowest, begins)
        if found[symbol].is_empty():
            raise SettingsError(str(warned[0].message))
        for one in warned:
            warnings.warn(one.message, one.category, stacklevel=2)
    note = ""
    if begins is None and any(bars.height > NEWEST_BARS for bars in found.values()):
        key = "date" if narrowest == 1 else "start"
        begins = min(bars.tail(NEWEST_BARS)[key][0] for bars in found.values())
        found = {symbol: bars.filter(pl.col(key) >= begins) for symbol, bars in found.items()}
        note = f"newest {NEWEST_BARS} bars of {interval_name(narrowest)}"
    frames: list[tuple[str, int | Period, pl.DataFrame]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LakeWarning)  # a panel may have no whole bar
        for symbol, bars in found.items():
            frames.append((symbol, narrowest, bars))
            frames += [(symbol, interval, read(symbol, interval, begins)) for interval in others]
    frames = [frame for frame in frames if frame[2].height]
    starts = [bars["date" if interval == 1 else "start"].min() for _, interval, bars in frames]
    first: date = min(filter(None, starts), default=EPOCH)  # type: ignore[type-var, assignment]
    calendar = calendar_from(first)
    for _, interval, bars in frames:
        table = (
            DAILY_TABLE if isinstance(interval, Period) or interval == 1 else bars_table(interval)
        )
        require_sound(bars, table, calendar, label=lake.store.uri)
    splits = lake.splits()
    marks = {
        symbol: split_marks(splits.filter(pl.col("symbol") == symbol), calendar)
        for symbol in chosen
    }
    newest = lake.newest_session() or first
    return Chart(
        panels=[
            Panel(symbol, series_of(bars, interval, calendar), marks[symbol])
            for symbol, interval, bars in frames
        ],
        calendar=calendar,
        newest=min(newest, ends) if ends else newest,
        adjusted=adjusted,
        log=log,
        note=note,
    )
