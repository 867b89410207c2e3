"""Colours and type of every page and drawing, for light and for dark."""

from __future__ import annotations

from importlib import resources
from typing import Final

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
MONO: Final = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"

_COLOURS: Final = {
    "paper": ("#fbfaf7", "#14171a"),  # background of the page
    "card": ("#ffffff", "#1a1e22"),  # background of a drawing
    "ink": ("#1d2329", "#e8e6e1"),  # text
    "muted": ("#68717b", "#98a1aa"),  # labels and notes
    "line": ("#e4e2dc", "#2c3238"),  # rules and the grid
    # Rise and fall differ in lightness too, for readers who cannot see red and green.
    "rise": ("#1f9d86", "#43c2a6"),  # bars that closed at or above their open
    "fall": ("#b8392a", "#e2634f"),  # bars that closed below
    "accent": ("#3556b5", "#8ea9f5"),  # what the reader should see first
    "warn": ("#a3600a", "#e0a354"),  # what somebody should look at
    "heat-low": ("#f3e3c9", "#3a3124"),  # lowest value of a heat map
    "heat-high": ("#17705f", "#48c5a9"),  # highest value of a heat map
}
"""Each CSS variable in light and in dark."""


def page_colours(theme: str) -> str:
    """Return the colours and fonts of a page as CSS variables; print is always light."""
    fonts = f":root{{--sans:{FONT};--mono:{MONO};}}"
    light = f":root{{color-scheme:light;{_variables(0)}}}"
    dark = f":root{{color-scheme:dark;{_variables(1)}}}"
    if theme == "light":
        return fonts + light
    if theme == "dark":
        return f"{fonts}{dark}@media print{{{light}}}"
    return f"{fonts}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _variables(shade: int) -> str:
    return "".join(f"--{name}:{shades[shade]};" for name, shades in _COLOURS.items())


def drawing_css(theme: str) -> str:
    """Return the rules of drawings with their colours put in, for readers without variables."""
    text = (resources.files("reporting") / "templates" / "drawing.css").read_text("utf-8")
    for name, (light, dark) in _COLOURS.items():
        text = text.replace(f"var(--{name})", dark if theme == "dark" else light)
    return f"text{{font-family:{FONT}}}{text}"
