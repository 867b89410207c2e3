"""The chart of one symbol: one interval large, or several as small multiples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from importlib import resources

from batch.core.sessions import Calendar
from reporting.candles import HATCHES, Drawing, Series, Span, SplitMark, draw_candles
from reporting.page import page
from reporting.svg import px, text_at
from reporting.theme import DARK, LIGHT, drawing_css

_WIDE, _TALL = 1080.0, 540.0
_WIDEST = 6000.0
_PANEL_WIDE, _PANEL_TALL = 470.0, 270.0
_PX_PER_BAR = 3.2

_CSS = """
header{display:flex;flex-wrap:wrap;gap:4px 18px;align-items:baseline;margin-bottom:18px}
header p{margin:0}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;margin:14px 2px 0;color:var(--muted);
font-size:13px;max-width:none}
.legend i{display:inline-block;width:11px;height:11px;margin-right:6px;vertical-align:-1px;
border:1px solid}
.legend .r{background:var(--rise);border-color:var(--rise)}
.legend .f{background:var(--fall);border-color:var(--fall)}
.legend svg{display:inline-block;width:12px;height:12px;margin-right:6px;vertical-align:-2px}
.legend .s{border:0;border-left:2px dashed var(--accent);width:5px}
figure h2{font-size:15px}
figcaption{font-size:12.5px;line-height:1.4;min-height:2.8em;white-space:pre-wrap;margin:0 0 4px}
.patterns{position:absolute;width:0;height:0}
.scroll{overflow-x:auto}
.many{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:14px}
.panel:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.cross{stroke:var(--muted);stroke-width:1;pointer-events:none;visibility:hidden}
.tint{fill:var(--accent);opacity:.13;pointer-events:none;visibility:hidden}
@media (min-width:641px){.one figcaption{min-height:1.4em}}
.one .panel{min-width:var(--least)}
@media (max-width:760px){.many{grid-template-columns:minmax(0,1fr)}}
@media print{.many{grid-template-columns:1fr 1fr}.scroll{overflow:visible}.one .panel{min-width:0}}
"""


_OPEN_KEY = (
    '<svg viewBox="0 0 12 12"><path class="rise" style="fill:url(#hatch-rise)"'
    ' d="M1 1H11V11H1z"/></svg>'
)


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """The bars of one symbol at one or more intervals over the same sessions.

    It shows itself in a notebook, as :meth:`svg` does.

    Attributes:
        symbol: Whose bars they are.
        series: One per interval, narrowest first, each with at least one bar.
        splits: Splits of the symbol.
        calendar: Must cover every window.
        newest: Newest session that the bars know of.
        adjusted: Whether prices are on one scale, that of the newest session.
        log: Whether equal ratios of price are equally high.
        note: What else a reader should know, such as what was left out.
    """

    symbol: str
    series: Sequence[Series]
    splits: Sequence[SplitMark]
    calendar: Calendar
    newest: date
    adjusted: bool
    log: bool = False
    note: str = ""

    @property
    def title(self) -> str:
        """The symbol and what its bars are."""
        if len(self.series) == 1:
            width = self.series[0].width
            return f"{self.symbol}, daily" if width == 1 else f"{self.symbol}, {width}-session bars"
        return (
            f"{self.symbol}, bars of {_listed([series.width for series in self.series])} sessions"
        )

    @property
    def subtitle(self) -> str:
        """The dates, and what the prices are."""
        first = min(series.start[0] for series in self.series)
        prices = "adjusted for splits" if self.adjusted else "as traded"
        scale = ", logarithmic" if self.log else ""
        note = f" · {self.note}" if self.note else ""
        return f"{first} to {self.newest} · USD, {prices}{scale}{note}"

    def drawings(self) -> list[Drawing]:
        """Draw every interval."""
        span = Span.of(self.series)
        if len(self.series) == 1:
            wide = min(max(_WIDE, len(self.series[0]) * _PX_PER_BAR), _WIDEST)
            return [self._draw(self.series[0], span, wide, _TALL)]
        return [self._draw(series, span, _PANEL_WIDE, _PANEL_TALL) for series in self.series]

    def _draw(self, series: Series, span: Span, width: float, height: float) -> Drawing:
        return draw_candles(
            series,
            self.splits,
            span,
            self.calendar,
            width=width,
            height=height,
            log=self.log,
        )

    def html(self, theme: str = "auto") -> str:
        """Return a self-contained page; ``theme`` is ``auto``, ``light`` or ``dark``."""
        drawings = self.drawings()
        one = len(drawings) == 1
        figures = "".join(
            _figure(series, drawing) for series, drawing in zip(self.series, drawings, strict=True)
        )
        hatches = f'<svg class="patterns"><defs>{HATCHES}</defs></svg>'
        body = (
            f'<header><h1>{escape(self.title)}</h1><p class="muted">{escape(self.subtitle)}</p>'
            f'</header>{hatches}<div class="{"one" if one else "many"}">{figures}</div>'
            f"{self._legend()}"
        )
        places = json.dumps([drawing.places for drawing in drawings], separators=(",", ":"))
        script = _script().replace("PLACES", places.replace("<", "\\u003c"))
        return page(self.title, body, css=_CSS, script=script, theme=theme)

    def _legend(self) -> str:
        entries = ['<span><i class="r"></i>closed higher</span>']
        entries.append('<span><i class="f"></i>closed lower</span>')
        if any(not all(series.complete) for series in self.series):
            entries.append("<span>" + _OPEN_KEY + "open: its window has not closed yet</span>")
        span = Span.of(self.series)
        if any(mark.session_no in span for mark in self.splits):
            entries.append('<span><i class="s"></i>split, shares after : before</span>')
        return f'<p class="legend">{"".join(entries)}</p>'

    def svg(self, theme: str = "light") -> str:
        """Return one SVG image with its title, for a PNG, a document or a notebook."""
        drawings = self.drawings()
        columns = 1 if len(drawings) == 1 else 2
        margin, top, head = 20.0, 66.0, 26.0 if columns == 2 else 0.0
        cell_wide = drawings[0].width + (24 if columns == 2 else 0)
        cell_tall = drawings[0].height + head + (14 if columns == 2 else 0)
        rows = -(-len(drawings) // columns)
        width = margin * 2 + cell_wide * columns - (24 if columns == 2 else 0)
        height = top + cell_tall * rows + margin
        parts = [
            text_at(margin, 34, self.title, "title"),
            text_at(margin, 54, self.subtitle, "subtitle"),
        ]
        for n, (series, drawing) in enumerate(zip(self.series, drawings, strict=True)):
            left = margin + n % columns * cell_wide
            down = top + n // columns * cell_tall
            if head:
                parts.append(text_at(left, down + 16, series.label, "panel-title"))
            place = f"translate({px(left)} {px(down + head)})"
            parts.append(f'<g transform="{place}">{drawing.markup}</g>')
        palette = DARK if theme == "dark" else LIGHT
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {px(width)} {px(height)}"'
            f' width="{px(width)}" height="{px(height)}" role="img"'
            f' aria-label="{escape(self.title)}"><style>{drawing_css(palette)}</style>'
            f'<defs>{HATCHES}</defs><rect class="card" width="{px(width)}" height="{px(height)}"/>'
            f"{''.join(parts)}</svg>"
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        """Show the chart in a notebook."""
        return {"image/svg+xml": self.svg(), "text/plain": f"{self.title}: {self.subtitle}"}


def _listed(widths: list[int]) -> str:
    return ", ".join(map(str, widths[:-1])) + f" and {widths[-1]}"


def _figure(series: Series, drawing: Drawing) -> str:
    last = drawing.places["readouts"][-1]
    name = f"{series.label}: {len(series)} bars, the newest {last}"
    left, top, right, bottom = drawing.places["plot"]
    return (
        f"<figure><h2>{escape(series.label)}</h2><figcaption>{escape(last)}</figcaption>"
        f'<div class="scroll"><svg class="panel" tabindex="0" role="img"'
        f' aria-label="{escape(name)}" style="--least:{px(drawing.width)}px"'
        f' viewBox="0 0 {px(drawing.width)} {px(drawing.height)}">'
        f'<rect class="tint" y="{px(top)}" width="1" height="{px(bottom - top)}"/>'
        f"{drawing.markup}"
        f'<path class="cross" d="M{px(left)} 0H{px(right)}"/></svg></div></figure>'
    )


def _script() -> str:
    return (resources.files("reporting") / "chart.js").read_text(encoding="utf-8")
