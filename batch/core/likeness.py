"""What was probably meant by a symbol that does not exist. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def near_symbols(symbol: str, turnovers_usd: Mapping[str, float], *, most: int = 3) -> list[str]:
    """Return the known symbols that a person most likely meant, the likeliest first.

    Capitals and punctuation do not count: ``brk-b`` is ``BRK.B`` and nothing else. Of symbols
    that are as many slips away (a letter too few, too many, another one, or two exchanged)
    those of the same letters come first, and of these the most traded: APPL is AAPL rather than
    APLP or APP.

    Args:
        symbol: What was typed.
        turnovers_usd: Every known symbol, with what was traded of it lately.
        most: How many to return at most.
    """
    typed = _letters(symbol)
    allowed = 1 if len(typed) < 5 else 2
    ranked = []
    for name, turnover_usd in turnovers_usd.items():
        known = _letters(name)
        if abs(len(known) - len(typed)) > allowed:
            continue
        slips = _slips(typed, known)
        if slips <= min(allowed, len(typed) - 1):
            ranked.append((slips, set(known) != set(typed), -turnover_usd, name))
    same = any(slips == 0 for slips, *_ in ranked)
    return [name for slips, *_, name in sorted(ranked)[:most] if not same or slips == 0]


def _letters(symbol: str) -> str:
    return "".join(filter(str.isalnum, symbol.upper()))


def _slips(one: str, other: str) -> int:
    """Count the letters to insert, remove or replace and the neighbours to exchange.

    This is the optimal string alignment distance: difflib does not know exchanged letters and
    takes APPL for APP.
    """
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, theirs in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != theirs))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == theirs:
                least = min(least, earlier[j - 2] + 1)
            row.append(least)
    return row[-1]
