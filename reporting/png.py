"""SVG to PNG without a browser."""

from __future__ import annotations

import re
from importlib.resources import as_file, files

from batch.core.errors import SettingsError

_FAMILY = "Source Sans Pro"
_FACES = ("Regular", "Semibold", "Bold")
_WIDEST_PX = 12_000


def to_png(svg: str, *, zoom: float = 2.0) -> bytes:
    """Return an SVG image as PNG: the same bytes whatever fonts the system has.

    ``zoom`` is pixels for one, lowered for an image that would become too wide.

    Raises:
        SettingsError: The libraries are not installed.
    """
    try:
        import resvg_py  # noqa: PLC0415 - an extra

        fonts = files("font_source_sans_pro") / "files"
    except ImportError as err:
        raise SettingsError(
            "PNG needs the extra `charts`: pip install '.[charts]' in the checkout; HTML and SVG"
            " need nothing"
        ) from err
    width = float(re.search(r' width="([\d.]+)"', svg)[1])  # type: ignore[index]
    with as_file(fonts) as folder:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                # A zoom above 1 must be whole: the library rounds it.
                zoom=min(zoom, _WIDEST_PX / width),
                skip_system_fonts=True,
                font_files=[str(folder / f"SourceSansPro-{face}.ttf") for face in _FACES],
                font_family=_FAMILY,
                sans_serif_family=_FAMILY,
                monospace_family=_FAMILY,
            )
        )
