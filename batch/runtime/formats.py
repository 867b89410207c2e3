"""Counts, rates, durations and sizes as people read them."""

from __future__ import annotations

import shutil
from textwrap import fill


def count_text(count: int, unit: str) -> str:
    """Return a count of a unit given in the plural: ``1 year``, ``1,200 sessions``."""
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def rate_text(per_s: float) -> str:
    """Return a rate in three digits, such as ``1.24M`` or ``12.4k``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if per_s >= size:
            scaled = per_s / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: ``4 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size_text(size_bytes: float) -> str:
    """Return a size in the unit that suits it, such as ``12.8 MB``."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def wrapped(text: str, hanging: int) -> str:
    """Break lines between words to the terminal's width; paths stay whole."""
    return "\n".join(
        fill(
            line,
            max(shutil.get_terminal_size().columns - 1, hanging + 20),
            subsequent_indent=" " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )
