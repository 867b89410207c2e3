"""Colours and type of every page and drawing, for light and for dark."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import resources
from typing import Final

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
MONO: Final = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they stand for.

    ``rise`` and ``fall`` differ in lightness as well as in hue, so that readers who
    cannot see red and green can distinguish them.

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


def _css_variables(palette: Palette) -> str:
    """Return a palette as CSS custom properties."""
    return "".join(
        f"--{field.name.replace('_', '-')}:{getattr(palette, field.name)};"
        for field in fields(palette)
    )


def page_colours(theme: str) -> str:
    """Return the colours and fonts of a page as CSS variables.

    Args:
        theme: ``light``, ``dark``, or ``auto`` for what the reader's system asks for.
            Print is always light.
    """
    fonts = f":root{{--sans:{FONT};--mono:{MONO};}}"
    light = f":root{{color-scheme:light;{_css_variables(LIGHT)}}}"
    dark = f":root{{color-scheme:dark;{_css_variables(DARK)}}}"
    if theme == "light":
        return fonts + light
    if theme == "dark":
        return f"{fonts}{dark}@media print{{{light}}}"
    return f"{fonts}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def drawing_css(palette: Palette) -> str:
    """Return the rules of drawings with their colours put in, for readers without variables."""
    text = (resources.files("reporting") / "templates" / "drawing.css").read_text("utf-8")
    for field in fields(palette):
        text = text.replace(f"var(--{field.name.replace('_', '-')})", getattr(palette, field.name))
    return f"text{{font-family:{FONT}}}{text}"
