"""Answers of the vendor, odd ones too."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fetchers.errors import VendorRefused
from fetchers.polygon.parsing import day_in, holidays, session_answer

FRIDAY = date(2025, 1, 17)


def grouped(*results: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "status": "OK",
        "adjusted": False,
        "resultsCount": len(results),
        "results": list(results),
        **values,
    }


def test_the_session_is_the_one_requested_whatever_the_timestamps() -> None:
    bar = {"T": "NAN", "o": 1, "h": 2.5, "l": 1, "c": 2, "v": 10.5, "vw": 1.7, "n": 3, "t": 0}

    answer = session_answer(grouped(bar), FRIDAY)

    assert answer.doubts == ()
    assert answer.rows.rows() == [("NAN", FRIDAY, 1.0, 2.5, 1.0, 2.0, 10.5, 1.7, 3)]


def test_what_is_missing_or_no_number_becomes_null() -> None:
    bars = [{"T": "A", "o": 1.0, "h": 1.0, "l": 1.0, "c": "n/a", "v": 1}, {"v": 1e6}]

    answer = session_answer(grouped(*bars), FRIDAY)

    assert answer.rows["close"].to_list() == [None, None]
    assert answer.rows["symbol"].to_list() == ["A", None]
    assert answer.rows["trades"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected an object, found list"),
        (grouped(status="ERROR"), "status 'ERROR'"),
        (grouped(adjusted=True), "adjusted prices"),
        (grouped(results={"T": "A"}), "expected a list of results"),
    ],
)
def test_an_unusable_answer_is_refused(document: Any, message: str) -> None:
    with pytest.raises(VendorRefused, match=message):
        session_answer(document, FRIDAY)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2025-01-17", FRIDAY),
        ("2025-01-17T05:00:00Z", FRIDAY),
        ("", None),
        (None, None),
        ("soon", None),
    ],
)
def test_a_date_is_read_from_a_date_or_a_timestamp(text: str | None, day: date | None) -> None:
    assert day_in(text) == day


def test_holidays_that_are_no_list_are_refused() -> None:
    with pytest.raises(VendorRefused, match="expected a list"):
        holidays({"status": "OK"})
