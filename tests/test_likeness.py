"""Which symbol was probably meant."""

from __future__ import annotations

import pytest

from batch.core.likeness import near_symbols

TURNOVERS_USD = {
    **dict.fromkeys(["APP", "APL", "PPL", "APPS", "APLP", "AP", "A", "GOOD", "BRK.A", "MSF"], 1e6),
    "AAPL": 9e9,
    "MSFT": 8e9,
    "GOOGL": 7e9,
    "GOOG": 6e9,
    "BRK.B": 3e9,
    "F": 2e9,
    "FT": 2e6,
}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("APPL", "AAPL"),
        ("aapl", "AAPL"),
        ("MFST", "MSFT"),
        ("MSTF", "MSFT"),
        ("MSFTT", "MSFT"),
        ("GOOGLE", "GOOGL"),
        ("GOGL", "GOOGL"),
        ("brk-b", "BRK.B"),
        ("BRK/B", "BRK.B"),
        ("f", "F"),
    ],
)
def test_the_symbol_that_a_person_means_comes_first(typed: str, meant: str) -> None:
    assert near_symbols(typed, TURNOVERS_USD)[0] == meant


@pytest.mark.parametrize("typed", ["NVDA", "Z", "", "?", "AAPLMSFT"])
def test_nothing_is_suggested_where_nothing_is_alike(typed: str) -> None:
    assert near_symbols(typed, TURNOVERS_USD) == []


def test_a_symbol_in_other_capitals_is_the_only_one_meant() -> None:
    assert near_symbols("aapl", TURNOVERS_USD) == ["AAPL"]


def test_at_most_three_are_suggested() -> None:
    assert len(near_symbols("APPL", TURNOVERS_USD)) == 3
