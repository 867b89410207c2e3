"""Colours and type of every page and drawing, for light and for dark."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
MONO: Final = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they stand for.

    ``rise`` and ``fall`` differ in lightness as well as in hue, so that readers who do
    not tell green from red tell them apart.

    Attributes:
        paper: Background of the page.
        card: Background of a drawing.
        ink: Text.
        muted: Labels and notes.
        line: Rules and the grid.
        rise: Bars that closed at or above their open.
        fall: Bars that closed below.
        accent: What the reader should see first: splits, the newest close.
        warn: What somebody should look at.
        heat_low: Lowest value of a heat map.
        heat_high: Highest value of a heat map.
    """

    paper: str
    card: str
    ink: str
    muted: str
    line: str
    rise: str
    fall: str
    accent: str
    warn: str
    heat_low: str
    heat_high: str


LIGHT: Final = Palette(
    paper="#fbfaf7",
    card="#ffffff",
    ink="#1d2329",
    muted="#68717b",
    line="#e4e2dc",
    rise="#1f9d86",
    fall="#b8392a",
    accent="#3556b5",
    warn="#a3600a",
    heat_low="#f3e3c9",
    heat_high="#17705f",
)

DARK: Final = Palette(
    paper="#14171a",
    card="#1a1e22",
    ink="#e8e6e1",
    muted="#98a1aa",
    line="#2c3238",
    rise="#43c2a6",
    fall="#e2634f",
    accent="#8ea9f5",
    warn="#e0a354",
    heat_low="#3a3124",
    heat_high="#48c5a9",
)


def css_variables(palette: Palette) -> str:
    """Return a palette as CSS custom properties."""
    return "".join(
        f"--{field.name.replace('_', '-')}:{getattr(palette, field.name)};"
        for field in fields(palette)
    )


def page_colours(theme: str) -> str:
    """Return the colours of a page as CSS.

    Args:
        theme: ``light``, ``dark``, or ``auto`` for what the reader's system asks for.
            Print is always light.
    """
    light = f":root{{color-scheme:light;{css_variables(LIGHT)}}}"
    dark = f":root{{color-scheme:dark;{css_variables(DARK)}}}"
    if theme == "light":
        return light
    if theme == "dark":
        return f"{dark}@media print{{{light}}}"
    return f"{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


DRAWING_CSS: Final = """\
.card{fill:var(--card)}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.tick{fill:var(--muted);font-size:11px}
.rise{fill:var(--rise);stroke:var(--rise)}
.fall{fill:var(--fall);stroke:var(--fall)}
.bar{stroke-width:1;stroke-linejoin:miter}
.volume{stroke:none;opacity:.42}
.hatch-rise{stroke:var(--rise);stroke-width:1.6}
.hatch-fall{stroke:var(--fall);stroke-width:1.6}
.open-note{fill:var(--ink);font-size:11px;font-weight:600;paint-order:stroke;
stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.leader{stroke:var(--muted);stroke-width:1;stroke-dasharray:1 3;fill:none}
.split{stroke:var(--accent);stroke-width:1;stroke-dasharray:4 3;fill:none}
.split-flag{fill:var(--accent)}
.flag-text{fill:var(--card);font-size:10px;font-weight:600}
.title{fill:var(--ink);font-size:20px;font-weight:700}
.subtitle{fill:var(--muted);font-size:12px}
.panel-title{fill:var(--ink);font-size:14px;font-weight:700}
.readout{fill:var(--muted);font-size:11.5px}
"""
"""Rules for the classes that drawings use; the colours are those of the page."""


def drawing_css(palette: Palette) -> str:
    """Return the rules with their colours put in, for readers that know no variables."""
    text = DRAWING_CSS
    for field in fields(palette):
        text = text.replace(f"var(--{field.name.replace('_', '-')})", getattr(palette, field.name))
    return f"text{{font-family:{FONT}}}{text}"
