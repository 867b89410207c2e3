"""The Lambda function that fetches reference data."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fetchers.handlers.shell import FetchEvent, LambdaContext, run_function
from fetchers.request import FetchRequest

if TYPE_CHECKING:
    from fetchers.results import ReferenceFetched

_MOST_WARNINGS = 50


class ReferenceEvent(FetchEvent):
    """The event; ``{}`` is the daily run.

    ``session`` is accepted and not used: reference data is what is known now. ``details`` are
    the tickers whose details are requested, the setting's value where not given.
    """

    session: date | None = None
    details_per_run: int | None = Field(None, ge=0, alias="details")

    @property
    def request(self) -> FetchRequest:
        """Reference data alone."""
        return FetchRequest(bars=False)


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Bring tickers, splits and dividends up to date.

    In the answer, ``splits`` are those new or changed; ``details``, the tickers requested, are
    fewer than the budget where the function's time was about to end; ``warnings`` are the first
    fifty.

    Raises:
        DeadlineNear: Names the parts that are left; the next run continues.
        OhlcvError: Something could not be done.
    """
    return run_function("fetch-reference", ReferenceEvent, event, context, _answer)


def _answer(found: ReferenceFetched) -> dict[str, Any]:
    return {
        "rows": found.tickers + found.splits_changed + found.dividends,
        "tickers": found.tickers,
        "tickers_changed": found.tickers_changed,
        "splits": found.splits_changed,
        "dividends": found.dividends,
        "details": found.details_asked,
        "warnings": list(found.warnings[:_MOST_WARNINGS]),
    }
