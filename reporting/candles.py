"""Candles with volume on an axis of exchange sessions, as SVG.

A bar is as wide as the sessions of its window, so panels of several intervals over the
same sessions line up, and a halt is seen as a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date

import numpy as np
import polars as pl

from batch.core.layout import Period
from batch.core.sessions import Calendar
from batch.runtime.formats import compact_text, price_text, split_text
from reporting.svg import Scale, date_ticks, padded, px, text_at, tick_texts

_AXIS_WIDTH = 54
_DATES_HEIGHT = 22
_TOP = 8
_FLAGS_HEIGHT = 16
_BETWEEN_FLAGS = 2.0
_VOLUME_SHARE = 0.2
_GAP = 10
_LETTER = 6.6
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: the first and last session of its window, by number and by date, and its values.

    ``sessions`` counts the daily bars in it; it is ``complete`` once its window has closed.
    """

    start_no: int
    end_no: int
    start: date
    end: date
    open: float
    high: float
    low: float
    close: float
    volume: float
    sessions: int
    complete: bool

    @property
    def width(self) -> int:
        """How many sessions its window has."""
        return self.end_no - self.start_no + 1

    @property
    def kind(self) -> str:
        """Its CSS class by its direction."""
        return "rise" if self.close >= self.open else "fall"


@dataclass(frozen=True, slots=True)
class Series:
    """The bars of one symbol at one interval, in their order.

    ``interval`` is a number of sessions, a week or a month.
    """

    interval: int | Period
    bars: Sequence[Bar]

    def __len__(self) -> int:
        return len(self.bars)

    @property
    def label(self) -> str:
        """What a bar holds, in words."""
        if isinstance(self.interval, Period):
            return _PERIODS[self.interval]
        return "1 session" if self.interval == 1 else f"{self.interval} sessions"


_PERIODS = {Period.WEEK: "1 week", Period.MONTH: "1 month"}


def series_of(bars: pl.DataFrame, interval: int | Period, calendar: Calendar) -> Series:
    """Read the bars of one symbol, daily (``date``) or folded (``start``, ``end``).

    They are sorted by date or start, prices above zero, in windows that the calendar covers.
    """
    if "start" not in bars.columns:
        bars = bars.with_columns(
            start=pl.col("date"), end=pl.col("date"), sessions=1, complete=pl.lit(value=True)
        )
    numbers = {
        f"{edge}_no": pl.Series(calendar.session_nos(bars[edge].cast(pl.Int32).to_numpy()))
        for edge in ("start", "end")
    }
    rows = bars.with_columns(**numbers).select(field.name for field in fields(Bar))
    return Series(interval, [Bar(*row) for row in rows.iter_rows()])


@dataclass(frozen=True, slots=True)
class SplitMark:
    """A split on the axis.

    ``session_no`` is the first session on its scale; ``text`` is such as ``7:1``.
    """

    session_no: int
    text: str


def split_marks(splits: pl.DataFrame, calendar: Calendar) -> list[SplitMark]:
    """Return where the splits of one symbol take effect: on their date, or the next session.

    Columns ``date``, which the calendar covers, and ``ratio``, shares after one before.
    """
    places = np.searchsorted(calendar.days, splits["date"].cast(pl.Int32).to_numpy())
    numbers = (places + calendar.first_no).tolist()
    return [
        SplitMark(no, split_text(ratio)) for no, ratio in zip(numbers, splits["ratio"], strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a script finds the bars of a panel.

    Attributes:
        plot: Left, top, right and bottom of the plot in pixels.
        prices: Lowest and highest price of the scale, and their heights in pixels.
        log: Whether equal ratios of price are equally high.
        span: First session number on the axis and the one after the last.
        starts: Session number at which each bar starts.
        ends: Session number at which each bar ends, inclusive.
        readouts: The caption of each bar.
    """

    plot: tuple[float, float, float, float]
    prices: tuple[float, float, float, float]
    log: bool
    span: tuple[int, int]
    starts: list[int]
    ends: list[int]
    readouts: list[str]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A panel as drawn.

    ``markup`` has the SVG elements without the one around them; ``width`` and ``height`` are
    in pixels at its natural size.
    """

    markup: str
    width: float
    height: float
    places: Places


def span_of(all_series: Sequence[Series]) -> range:
    """Return the numbers of the sessions that hold every bar."""
    first = min(series.bars[0].start_no for series in all_series)
    return range(first, max(series.bars[-1].end_no for series in all_series) + 1)


def draw_candles(
    series: Series,
    marks: Sequence[SplitMark],
    span: range,
    calendar: Calendar,
    *,
    width: float,
    height: float,
    log: bool = False,
) -> Drawing:
    """Draw one panel: prices above, volume below, the open bar hatched and labelled.

    The series has at least one bar. ``span`` are the session numbers of the horizontal axis;
    marks outside it are left out. Sizes are in pixels; with ``log``, equal ratios of price are
    equally high.
    """
    bars, newest = series.bars, series.bars[-1]
    right, bottom = width - _AXIS_WIDTH, height - _DATES_HEIGHT
    marks = [mark for mark in marks if mark.session_no in span]
    top = _TOP + (_FLAGS_HEIGHT if marks else 0)
    volume_top = bottom - (bottom - top) * _VOLUME_SHARE
    x = Scale(span.start, span.stop, 0, right)
    low, high = padded(min(bar.low for bar in bars), max(bar.high for bar in bars), 0.05, log=log)
    y = Scale(low, high, volume_top - _GAP, top, log)
    tallest = max(bar.volume for bar in bars) or 1.0
    v = Scale(0, tallest, bottom, volume_top)
    parts = [
        *_price_axis(y, right, hidden_near=y(newest.close)),
        *_volume_axis(v, tallest, right),
        *_date_axis(span, calendar, x, top, bottom),
        *_volumes(bars, x, v),
        *(_candle(bar, x, y) for bar in bars),
        *_splits(marks, x, top, bottom),
        *_open_notes(series, x, y, right),
        _newest_close(newest, y, right, width),
    ]
    places = Places(
        plot=(0, top, right, bottom),
        prices=(y.low, y.high, y.start, y.stop),
        log=log,
        span=(span.start, span.stop),
        starts=[bar.start_no for bar in bars],
        ends=[bar.end_no for bar in bars],
        readouts=[_readout(bar) for bar in bars],
    )
    return Drawing("".join(parts), width, height, places)


def _readout(bar: Bar) -> str:
    """Write the caption of a bar; what belongs together stays on one line."""
    dates = f"{bar.start}" if bar.start == bar.end else f"{bar.start} to {bar.end}"
    prices = zip("OHLC", (bar.open, bar.high, bar.low, bar.close), strict=True)
    values = [f"{name} {price_text(price)}" for name, price in prices]
    values.append(f"V {compact_text(bar.volume)}")
    if not bar.complete:
        values.append(f"open, {bar.sessions} of {bar.width}")
    elif bar.sessions < bar.width:
        values.append(f"{bar.sessions} of {bar.width} traded")
    return "  ".join([dates, *(value.replace(" ", _SPACE) for value in values)])


def _price_axis(y: Scale, right: float, *, hidden_near: float) -> list[str]:
    parts = []
    ticks = y.ticks(max(int((y.start - y.stop) / 36), 3))
    for tick, label in zip(ticks, tick_texts(ticks), strict=True):
        at = y(tick)
        parts.append(f'<path class="grid" d="M0 {px(at)}H{px(right)}"/>')
        if abs(at - hidden_near) > 15:
            parts.append(text_at(right + 7, at + 4, label, "tick"))
    return parts


def _volume_axis(v: Scale, tallest: float, right: float) -> list[str]:
    top = v.stop
    return [
        f'<path class="grid" d="M0 {px(top)}H{px(right)}M0 {px(v.start)}H{px(right)}"/>',
        text_at(right + 7, top + 11, compact_text(tallest), "tick"),
    ]


def _date_axis(span: range, calendar: Calendar, x: Scale, top: float, bottom: float) -> list[str]:
    sessions = [calendar.session_at(number) for number in span]
    parts, free_from = [], 0.0
    for place, label in date_ticks(sessions, max(int(x.stop / 52), 2)):
        at = x(span[place])
        parts.append(f'<path class="grid" d="M{px(at)} {px(top)}V{px(bottom + 4)}"/>')
        if at >= free_from and at + 34 < x.stop + _AXIS_WIDTH:
            parts.append(text_at(at + 3, bottom + 16, label, "tick"))
            free_from = at + 42
    return parts


def _sides(bar: Bar, x: Scale) -> tuple[float, float]:
    """Left and right edge of a bar's body, with a gap to its neighbours."""
    left, right = x(bar.start_no), x(bar.end_no + 1)
    gap = min(max((right - left) * 0.18, 0.4), 7.0)
    return left + gap / 2, right - gap / 2


def _candle(bar: Bar, x: Scale, y: Scale) -> str:
    left, right = _sides(bar, x)
    middle = (left + right) / 2
    top = y(max(bar.open, bar.close))
    bottom = max(y(min(bar.open, bar.close)), top + 0.8)
    shape = (
        f"M{px(middle)} {px(y(bar.high))}V{px(top)}M{px(middle)} {px(bottom)}V{px(y(bar.low))}"
        f"M{px(left)} {px(top)}H{px(right)}V{px(bottom)}H{px(left)}z"
    )
    if bar.complete:
        return f'<path class="bar {bar.kind}" d="{shape}"/>'
    return f'<path class="bar {bar.kind} open" style="fill:url(#hatch-{bar.kind})" d="{shape}"/>'


def _volumes(bars: Sequence[Bar], x: Scale, v: Scale) -> list[str]:
    shapes: dict[str, list[str]] = {"rise": [], "fall": []}
    for bar in bars:
        if bar.volume > 0:
            left, right = _sides(bar, x)
            top = px(min(v(bar.volume), v.start - 0.5))
            shapes[bar.kind].append(f"M{px(left)} {px(v.start)}V{top}H{px(right)}V{px(v.start)}z")
    return [
        f'<path class="volume {kind}" d="{"".join(drawn)}"/>'
        for kind, drawn in shapes.items()
        if drawn
    ]


def _splits(marks: Sequence[SplitMark], x: Scale, top: float, bottom: float) -> list[str]:
    parts: list[str] = []
    free_to = x.stop
    for mark in reversed(marks):  # a flag that the next one would cover moves to its left
        at, flag = x(mark.session_no), 12 + 6.2 * len(mark.text)
        left = max(min(at, free_to - flag), 0.0)
        free_to = left - _BETWEEN_FLAGS
        parts += [
            f'<g class="split-mark"><path class="split" d="M{px(at)} {px(top)}V{px(bottom)}"/>',
            f'<rect class="split-flag" x="{px(left)}" y="3" width="{px(flag)}" height="16"/>',
            text_at(left + flag / 2, 15, mark.text, "flag-text", anchor="middle"),
            "</g>",
        ]
    return parts


def _open_notes(series: Series, x: Scale, y: Scale, right: float) -> list[str]:
    """Label the open bars above whatever lies below the label."""
    parts = []
    for bar in series.bars:
        if bar.complete:
            continue
        label = f"open: {bar.sessions} of {bar.width}"
        left, own_right = _sides(bar, x)
        edge = min(max(own_right, _LETTER * len(label)), right)
        beneath = [
            y(other.high)
            for other in series.bars
            if x(other.end_no + 1) > edge - _LETTER * len(label)
        ]
        at = max(min(beneath) - 7, y.stop + 10)
        middle, high = (left + own_right) / 2, y(bar.high)
        if high - at > 12:
            parts.append(f'<path class="leader" d="M{px(middle)} {px(at + 4)}V{px(high - 3)}"/>')
        parts.append(text_at(edge, at, label, "open-note", anchor="end"))
    return parts


def _newest_close(bar: Bar, y: Scale, right: float, width: float) -> str:
    at = y(bar.close)
    return (
        f'<path class="{bar.kind}" d="M{px(right)} {px(at)}l5 -8H{px(width)}v16H{px(right + 5)}z"/>'
        + text_at(right + 7, at + 3.5, price_text(bar.close), "flag-text")
    )


HATCHES = "".join(
    f'<pattern id="hatch-{kind}" width="5" height="5" patternUnits="userSpaceOnUse"'
    f' patternTransform="rotate(45)"><path class="hatch-{kind}" d="M0 0V5"/></pattern>'
    for kind in ("rise", "fall")
)
"""Patterns that open bars are filled with; once per document."""
