"""The Lambda function that fetches reference data.

Event: :class:`fetchers.handlers.reference.ReferenceEvent`. Settings come from ``OHLCV_*``
variables, the API key from Secrets Manager or the SSM parameter store.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fetchers.handlers.runtime import (
    DeadlineNear,
    LambdaContext,
    near_deadline,
    read_event,
    set_up_logs,
)

_MOST_TOLD = 50


class ReferenceEvent(BaseModel):
    """The event; ``{}`` is the daily run.

    Attributes:
        session: Taken and not used: reference data is what is known now.
        details: Tickers whose details are asked for; the setting's value where not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: date | None = None
    details: int | None = Field(None, ge=0)


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Bring tickers, splits and dividends up to date.

    Returns:
        ``rows``, those of all that is known or new: tickers, splits new or changed,
        dividends; each of these by name; ``details``, tickers asked for, fewer than the
        budget where the function's time was about to end; ``warnings``, the first fifty.

    Raises:
        DeadlineNear: Names the parts that are left; the next run continues.
        OhlcvError: Something could not be done.
    """
    set_up_logs("fetch-reference", context)
    asked = read_event(ReferenceEvent, event)
    return _fetch(asked, context)


def _fetch(event: ReferenceEvent, context: LambdaContext) -> dict[str, Any]:
    from batch.core.errors import Interrupted  # noqa: PLC0415
    from batch.runtime.command import job_run  # noqa: PLC0415 - the import budget of a cold start
    from batch.runtime.environment import environment  # noqa: PLC0415
    from batch.runtime.output import Output  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.recorded import fetch_recorded  # noqa: PLC0415
    from fetchers.reference import PARTS  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(details_per_run=event.details)
    store = open_store(settings.lake)
    with job_run("fetch-reference", store, settings, Output(as_json=True)) as run:
        fetched = fetch_recorded(
            run, store, settings, environment(), bars=False, out_of_time=near_deadline(context)
        )
        found = fetched.reference
        assert found is not None  # noqa: S101 - it was asked for
        left = [name for name in PARTS if name not in found.done]
        out_of_time = any(isinstance(err, Interrupted) for err in fetched.errors)
        if out_of_time and left == ["details"]:
            fetched.errors.clear()
        if out_of_time and fetched.errors:
            raise DeadlineNear(
                f"the function's time was about to end with {', '.join(left)} left;"
                " what came is kept, the next run continues"
            ) from fetched.errors[0]
        fetched.require_success(strict=False)
        run.progress.note(found.summary)
    return {
        "rows": found.tickers + found.splits + found.dividends,
        "tickers": found.tickers,
        "tickers_changed": found.tickers_changed,
        "splits": found.splits,
        "dividends": found.dividends,
        "details": found.details,
        "warnings": found.warnings[:_MOST_TOLD],
    }
