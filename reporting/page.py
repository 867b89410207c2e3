"""HTML pages from templates, one file each that needs no network, and the colours of drawings."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from batch.runtime.formats import (
    change_text,
    compact_text,
    count_text,
    listed_text,
    price_text,
    size_text,
)
from reporting.svg import px

_ENVIRONMENT = Environment(
    loader=PackageLoader("reporting"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
_ENVIRONMENT.filters |= {
    "change": change_text,
    "compact": compact_text,
    "counted": count_text,
    "listed": listed_text,
    "price": price_text,
    "px": px,
    "size": size_text,
}


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


def render(template: str, *, theme: str = "auto", **values: Any) -> str:
    """Return a page from a template that extends ``base.html``; the values' text is escaped.

    ``theme`` is ``light``, ``dark``, or ``auto`` for what the reader's system asks for.
    Print is always light.
    """
    return _ENVIRONMENT.get_template(template).render(colours=_page_colours(theme), **values)


def _page_colours(theme: str) -> str:
    """Return the colours and fonts of a page as CSS variables."""
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
