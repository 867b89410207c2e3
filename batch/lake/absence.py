"""Why bars are missing or not what was asked for, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from datetime import date

import polars as pl

from batch.core.likeness import near_symbols

_NAMED = 5


def explain_unknown(uri: str, unknown: Sequence[str], turnovers_usd: Mapping[str, float]) -> str:
    """Say that a lake has no such symbols, and which of its own were probably meant.

    Args:
        uri: The lake's root.
        unknown: Symbols without a daily bar, at least one.
        turnovers_usd: Every symbol of the lake, with what was traded of it lately.
    """
    known = f"{len(turnovers_usd):,} symbol{'' if len(turnovers_usd) == 1 else 's'}"
    named = ", ".join(map(repr, unknown[:_NAMED]))
    lines = [f"no bars of {named}{_more(unknown)} in {uri}, which has {known}"]
    for symbol in unknown[:_NAMED]:
        parts = [part for part in re.split(r"[\s,;]+", symbol) if part in turnovers_usd]
        near = near_symbols(symbol, turnovers_usd)
        if len(parts) > 1:
            lines.append(f"{symbol!r} is one symbol: give them one by one, as {parts!r}")
        elif near:
            of = f" for {symbol!r}" if len(unknown) > 1 else ""
            lines.append(f"did you mean {_either(near)}{of}?")
    return "; ".join(lines)


def explain_dates(
    uri: str,
    bars: str,
    symbols: Sequence[str] | None,
    first: date | None,
    last: date | None,
    spans: pl.DataFrame,
) -> str:
    """Say that a lake has no bars of some dates, and which dates it has.

    Args:
        uri: The lake's root.
        bars: What was asked for, such as ``whole 5d bars``.
        symbols: Those asked for; None for all.
        first: First date asked for, inclusive; None where open.
        last: Last date asked for, inclusive; None where open.
        spans: ``symbol``, ``first`` and ``last`` of the daily bars there are, at least one row.
    """
    has_first, has_last = spans.select(pl.col("first").min(), pl.col("last").max()).row(0)
    if first and last:
        dates = f" from {first} to {last}"
    else:
        dates = f" from {first} on" if first else f" up to {last}" if last else ""
    of = f" of {', '.join(symbols[:_NAMED])}{_more(symbols)}" if symbols else ""
    return f"no {bars}{of}{dates} in {uri}: its daily bars{of} run from {has_first} to {has_last}"


def explain_left_out(left_out: pl.DataFrame) -> str | None:
    """Name the dividends that prices are not adjusted for; None where there are none.

    Columns are those of :attr:`batch.lake.adjust.DividendEvents.left_out`.
    """
    if left_out.is_empty():
        return None
    named = []
    for symbol, day, amount, currency, before_usd in left_out.head(_NAMED).rows():
        why = f"not below the close before, {before_usd:g}" if currency == "USD" else "not in USD"
        named.append(f"{symbol} {day} {amount:g} {currency} ({why})")
    listed = f"{', '.join(named)}{_more(left_out)}"
    count = left_out.height
    return f"prices are not adjusted for {count:,} dividend{'' if count == 1 else 's'}: {listed}"


def _more(named: Sized) -> str:
    return f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""


def _either(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
