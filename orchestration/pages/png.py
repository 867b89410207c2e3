"""SVG to PNG without a browser."""

from __future__ import annotations

import re
from functools import lru_cache

from batch.core.errors import SettingsError

_WIDEST_PX = 12_000


def to_png(svg: str, *, zoom: float = 2.0) -> bytes:
    """Return an SVG image as PNG.

    Args:
        svg: The image, with its ``width`` in pixels.
        zoom: Pixels for one; lowered for an image that would become too wide.

    Raises:
        SettingsError: The library is not installed, or the system has no fonts.
    """
    try:
        import resvg_py  # noqa: PLC0415 - an extra
    except ImportError as err:
        raise SettingsError(
            "PNG needs the extra `charts`: pip install '.[charts]' in the checkout; HTML and SVG"
            " need nothing"
        ) from err
    if not _draws_text():
        raise SettingsError(
            "PNG needs a font and this system has none: install one, such as the package"
            " fonts-dejavu-core, or write HTML or SVG"
        )
    width = float(re.search(r' width="([\d.]+)"', svg)[1])  # type: ignore[index]
    # A zoom above 1 must be whole: the library rounds it.
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=min(zoom, _WIDEST_PX / width)))


@lru_cache(maxsize=1)
def _draws_text() -> bool:
    import resvg_py  # noqa: PLC0415 - an extra

    frame = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{}</svg>'
    text = '<text x="2" y="30" font-family="sans-serif" font-size="20">W</text>'
    blank = resvg_py.svg_to_bytes(svg_string=frame.format(""))
    return bytes(resvg_py.svg_to_bytes(svg_string=frame.format(text))) != bytes(blank)
