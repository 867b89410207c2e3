"""Counts, prices, ratios, durations and sizes as people read them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from textwrap import fill


def printable(text: str) -> str:
    """Return text of strangers as a terminal may show it: control characters are escaped.

    Names of files can hold control characters, which a terminal would obey, and bytes that are
    no text.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def count_text(count: int, unit: str) -> str:
    """Return a count of a unit given in the plural: ``1 year``, ``1 delivery``, ``1,200 rows``."""
    if count == 1:
        unit = f"{unit[:-3]}y" if unit.endswith("ies") else unit.removesuffix("s")
    return f"{count:,} {unit}"


def compact_text(value: float) -> str:
    """Return a number in three digits: ``950``, ``12.3k``, ``4.56M``, ``7.89B``."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * 0.9995:
            scaled = value / size
            decimals = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{decimals}f}{unit}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def rate_text(per_s: float) -> str:
    """Return a rate in three digits, such as ``1.24M`` or ``12.4k``."""
    if per_s >= 999.5:
        return compact_text(per_s)
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def price_text(value: float) -> str:
    """Return a price with the decimals that matter at its size."""
    if value >= 1000:
        return f"{value:,.0f}" if value >= 10_000 else f"{value:,.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def change_text(share: float | None) -> str:
    """Return a relative change from 0 on as a percentage, from tenfold on as a factor."""
    if share is None:
        return ""
    if 0 < share < 0.00005:
        return "< 0.01%"
    return f"{share:.2%}" if share < 10 else f"×{share + 1:,.0f}"


def split_text(ratio: float) -> str:
    """Return a split, shares after : before: ``7:1``, ``1:10``, ``3:2``, or its factor."""
    for after in range(1, 101):
        before = after / ratio
        if before <= 1000 and abs(before - round(before)) < 2e-5 * before and round(before):
            return f"{after}:{round(before)}"
    return f"x{ratio:.4g}"


def listed_text(items: Sequence[object], most: int) -> str:
    """Return the first ``most`` items and how many more there are."""
    rest = len(items) - most
    return ", ".join(map(str, items[:most])) + (f" and {rest:,} more" if rest > 0 else "")


def duration_text(seconds: float) -> str:
    """Return a duration in words: ``4 s``, ``3 min 20 s``, ``2 h 05 min``."""
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
