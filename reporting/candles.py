"""Candles with volume on an axis of exchange sessions, as SVG.

A bar is as wide as the sessions of its window, so panels of several intervals over the
same sessions line up, and a halt is seen as a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from batch.core.sessions import Calendar, day_of
from batch.kernel.columns import Floats
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


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The bars of one symbol at one interval.

    Attributes:
        width: Sessions per bar.
        start_no: Session number of the first session of each window.
        end_no: Session number of its last session, inclusive.
        start: The same as dates.
        end: The same as dates.
        open: Prices, one per bar; so are ``high``, ``low`` and ``close``.
        volume: Shares.
        sessions: Daily bars in each.
        complete: Whether its window has closed.
    """

    width: int
    start_no: list[int]
    end_no: list[int]
    start: list[date]
    end: list[date]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    sessions: list[int]
    complete: list[bool]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def label(self) -> str:
        """What the bars are called."""
        return "1 session" if self.width == 1 else f"{self.width} sessions"


def series_of(bars: pl.DataFrame, width: int, calendar: Calendar) -> Series:
    """Read the bars of one symbol, daily (``date``) or resampled (``start``, ``end``).

    Args:
        bars: Sorted by date or start, prices above zero.
        width: Sessions per bar.
        calendar: Must cover the windows.
    """
    if "start" not in bars.columns:
        bars = bars.with_columns(
            start=pl.col("date"),
            end=pl.col("date"),
            sessions=pl.lit(1),
            complete=pl.lit(value=True),
        )

    def numbers(name: str) -> list[int]:
        days = np.array([day_of(day) for day in bars[name]], dtype=np.int32)
        return [int(number) for number in calendar.session_nos(days)]

    return Series(
        width=width,
        start_no=numbers("start"),
        end_no=numbers("end"),
        start=bars["start"].to_list(),
        end=bars["end"].to_list(),
        open=bars["open"].to_numpy(),
        high=bars["high"].to_numpy(),
        low=bars["low"].to_numpy(),
        close=bars["close"].to_numpy(),
        volume=bars["volume"].to_numpy(),
        sessions=bars["sessions"].to_list(),
        complete=bars["complete"].to_list(),
    )


@dataclass(frozen=True, slots=True)
class SplitMark:
    """A split on the axis.

    Attributes:
        session_no: First session on the split's scale.
        text: Such as ``7:1``.
    """

    session_no: int
    text: str


def split_marks(splits: pl.DataFrame, calendar: Calendar) -> list[SplitMark]:
    """Return where splits take effect: on their date, or on the next session.

    Args:
        splits: Of one symbol, with ``date`` and ``ratio`` (shares after one before).
        calendar: Must cover the dates.
    """
    marks = []
    for day, ratio in splits.select("date", "ratio").iter_rows():
        at = int(np.searchsorted(calendar.days, day_of(day)))
        marks.append(SplitMark(at + calendar.first_no, split_text(ratio)))
    return marks


@dataclass(frozen=True, slots=True)
class Drawing:
    """A panel as drawn.

    Attributes:
        markup: SVG elements, without the element around them.
        width: In pixels at its natural size.
        height: In pixels at its natural size.
        places: What a script needs to follow the pointer.
    """

    markup: str
    width: float
    height: float
    places: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Sessions on the horizontal axis, both inclusive."""

    first_no: int
    last_no: int

    @classmethod
    def of(cls, all_series: Sequence[Series]) -> Span:
        """Return the sessions that hold every bar."""
        return cls(
            min(series.start_no[0] for series in all_series),
            max(series.end_no[-1] for series in all_series),
        )

    def __len__(self) -> int:
        return self.last_no - self.first_no + 1

    def __contains__(self, session_no: int) -> bool:
        return self.first_no <= session_no <= self.last_no


def draw_candles(
    series: Series,
    marks: Sequence[SplitMark],
    span: Span,
    calendar: Calendar,
    *,
    width: float,
    height: float,
    log: bool = False,
) -> Drawing:
    """Draw one panel: prices above, volume below, the open bar hatched and labelled.

    Args:
        series: At least one bar.
        marks: Splits; those outside the span are left out.
        span: Sessions of the horizontal axis.
        calendar: Must cover the span.
        width: Of the panel, in pixels.
        height: Of the panel, in pixels.
        log: Whether equal ratios of price are equally high.
    """
    right, bottom = width - _AXIS_WIDTH, height - _DATES_HEIGHT
    marks = [mark for mark in marks if mark.session_no in span]
    top = _TOP + (_FLAGS_HEIGHT if marks else 0)
    volume_top = bottom - (bottom - top) * _VOLUME_SHARE
    x = Scale(span.first_no, span.last_no + 1, 0, right)
    low, high = padded(float(series.low.min()), float(series.high.max()), 0.05, log=log)
    y = Scale(low, high, volume_top - _GAP, top, log)
    tallest = float(series.volume.max()) or 1.0
    v = Scale(0, tallest, bottom, volume_top)
    parts = [
        *_price_axis(y, right, hidden_near=y(float(series.close[-1]))),
        *_volume_axis(v, tallest, right),
        *_date_axis(span, calendar, x, top, bottom),
        *_volumes(series, x, v),
        *_bars(series, x, y),
        *_splits(marks, x, top, bottom),
        *_open_notes(series, x, y, right),
        _newest_close(series, y, right, width),
    ]
    places = {
        "plot": [0, top, right, bottom],
        "span": [span.first_no, span.last_no + 1],
        "starts": series.start_no,
        "ends": series.end_no,
        "readouts": readouts(series),
    }
    return Drawing("".join(parts), width, height, places)


def readouts(series: Series) -> list[str]:
    """Return what is said of each bar: its dates, prices, volume and sessions."""
    lines = []
    for n in range(len(series)):
        start, end = series.start[n], series.end[n]
        dates = f"{start}" if start == end else f"{start} to {end}"
        prices = "  ".join(
            f"{name}\N{NO-BREAK SPACE}{price_text(float(values[n]))}"
            for name, values in (
                ("O", series.open),
                ("H", series.high),
                ("L", series.low),
                ("C", series.close),
            )
        )
        volume = f"V\N{NO-BREAK SPACE}{compact_text(float(series.volume[n]))}"
        lines.append(f"{dates}  {prices}  {volume}{_state(series, n)}")
    return lines


def _state(series: Series, n: int) -> str:
    if not series.complete[n]:
        return _kept_together(f"open, {series.sessions[n]} of {series.width}")
    if series.sessions[n] < series.width:
        return _kept_together(f"{series.sessions[n]} of {series.width} traded")
    return ""


def _kept_together(words: str) -> str:
    return "  " + words.replace(" ", "\N{NO-BREAK SPACE}")


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


def _date_axis(span: Span, calendar: Calendar, x: Scale, top: float, bottom: float) -> list[str]:
    sessions = calendar.sessions_between(
        calendar.session_at(span.first_no), calendar.session_at(span.last_no)
    )
    parts, free_from = [], 0.0
    for tick in date_ticks(sessions, max(int(x.stop / 52), 2)):
        at = x(span.first_no + tick.at)
        parts.append(f'<path class="grid" d="M{px(at)} {px(top)}V{px(bottom + 4)}"/>')
        if at >= free_from and at + 34 < x.stop + _AXIS_WIDTH:
            parts.append(text_at(at + 3, bottom + 16, tick.label, "tick"))
            free_from = at + 42
    return parts


def _sides(series: Series, n: int, x: Scale) -> tuple[float, float]:
    """Left and right edge of a bar's body, with a gap to its neighbours."""
    left, right = x(series.start_no[n]), x(series.end_no[n] + 1)
    gap = min(max((right - left) * 0.18, 0.4), 7.0)
    return left + gap / 2, right - gap / 2


def _kind(series: Series, n: int) -> str:
    return "rise" if series.close[n] >= series.open[n] else "fall"


def _bars(series: Series, x: Scale, y: Scale) -> list[str]:
    parts = []
    for n in range(len(series)):
        left, right = _sides(series, n, x)
        middle = (left + right) / 2
        top = y(max(float(series.open[n]), float(series.close[n])))
        bottom = y(min(float(series.open[n]), float(series.close[n])))
        high, low = y(float(series.high[n])), y(float(series.low[n]))
        bottom = max(bottom, top + 0.8)
        shape = (
            f"M{px(middle)} {px(high)}V{px(top)}M{px(middle)} {px(bottom)}V{px(low)}"
            f"M{px(left)} {px(top)}H{px(right)}V{px(bottom)}H{px(left)}z"
        )
        kind = _kind(series, n)
        if series.complete[n]:
            parts.append(f'<path class="bar {kind}" d="{shape}"/>')
        else:
            fill = f"fill:url(#hatch-{kind})"
            parts.append(f'<path class="bar {kind} open" style="{fill}" d="{shape}"/>')
    return parts


def _volumes(series: Series, x: Scale, v: Scale) -> list[str]:
    shapes: dict[str, list[str]] = {"rise": [], "fall": []}
    for n in range(len(series)):
        if series.volume[n] <= 0:
            continue
        left, right = _sides(series, n, x)
        top = px(min(v(float(series.volume[n])), v.start - 0.5))
        shapes[_kind(series, n)].append(
            f"M{px(left)} {px(v.start)}V{top}H{px(right)}V{px(v.start)}z"
        )
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
    parts = []
    for n in range(len(series)):
        if series.complete[n]:
            continue
        label = f"open: {series.sessions[n]} of {series.width}"
        left, own_right = _sides(series, n, x)
        edge = min(max(own_right, _LETTER * len(label)), right)
        beneath = [
            y(float(series.high[m]))
            for m in range(len(series))
            if x(series.end_no[m] + 1) > edge - _LETTER * len(label)
        ]
        at = max(min(beneath) - 7, y.stop + 10)
        middle, high = (left + own_right) / 2, y(float(series.high[n]))
        if high - at > 12:
            parts.append(f'<path class="leader" d="M{px(middle)} {px(at + 4)}V{px(high - 3)}"/>')
        parts.append(text_at(edge, at, label, "open-note", anchor="end"))
    return parts


def _newest_close(series: Series, y: Scale, right: float, width: float) -> str:
    close = float(series.close[-1])
    at, kind = y(close), _kind(series, len(series) - 1)
    return (
        f'<path class="{kind}" d="M{px(right)} {px(at)}l5 -8H{px(width)}v16H{px(right + 5)}z"/>'
        + text_at(right + 7, at + 3.5, price_text(close), "flag-text")
    )


HATCHES = "".join(
    f'<pattern id="hatch-{kind}" width="5" height="5" patternUnits="userSpaceOnUse"'
    f' patternTransform="rotate(45)"><path class="hatch-{kind}" d="M0 0V5"/></pattern>'
    for kind in ("rise", "fall")
)
"""Patterns that open bars are filled with; once per document."""
