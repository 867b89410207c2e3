"""HTML pages from templates: one file each that needs no network."""

from __future__ import annotations

from typing import Any

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
from reporting.theme import page_colours

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


def render(template: str, *, theme: str = "auto", **values: Any) -> str:
    """Return a page from a template that extends ``base.html``; the values' text is escaped.

    ``theme`` is ``light``, ``dark``, or ``auto`` for what the reader's system asks for.
    """
    return _ENVIRONMENT.get_template(template).render(colours=page_colours(theme), **values)
