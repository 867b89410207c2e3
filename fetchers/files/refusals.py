"""Why a file is not taken: a code for programs, a sentence and a remedy for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from batch.core.errors import DeliveryUnreadable


class Code(StrEnum):
    """What is wrong with a file, or with its rows as a whole."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    BOMB = "bomb"
    TRUNCATED = "truncated"
    NOT_A_TABLE = "not_a_table"
    NO_COLUMNS = "no_columns"
    HTML = "html"
    EXCEL = "excel"
    ENCRYPTED = "encrypted"
    UNKNOWN_ENCODING = "unknown_encoding"
    NO_SESSIONS = "no_sessions"
    AMBIGUOUS_DATES = "ambiguous_dates"
    AMBIGUOUS_DECIMALS = "ambiguous_decimals"
    ADJUSTED_PRICES = "adjusted_prices"
    ALL_ROWS_REFUSED = "all_rows_refused"
    TOO_MANY_REFUSED = "too_many_refused"
    LAYOUT_CHANGED = "layout_changed"
    RESTATES_TOO_MUCH = "restates_too_much"
    PARSER_CRASHED = "parser_crashed"
    TIMED_OUT = "timed_out"


DOWNLOAD_AGAIN: Final = "download it again"


class FileRefused(DeliveryUnreadable):
    """A file cannot be taken as it is; nothing of it is.

    Attributes:
        code: What is wrong.
        label: The file's address.
        sentence: The same in words, with what was expected and found.
        remedy: What to do about it.
        line: Where in a text, counted from 1; None where no one line is to blame.
    """

    def __init__(
        self, code: Code, label: str, sentence: str, remedy: str, *, line: int | None = None
    ) -> None:
        place = label if line is None else f"{label}, line {line}"
        super().__init__(f"{place}: {sentence}; {remedy}")
        self.code = code
        self.label = label
        self.sentence = sentence
        self.remedy = remedy
        self.line = line
