"""The Lambda function that fetches daily bars.

Event: :class:`fetchers.handlers.runtime.SessionEvent`. Settings come from ``OHLCV_*``
variables, the API key from Secrets Manager or the SSM parameter store.
"""

from __future__ import annotations

from typing import Any

from fetchers.handlers.runtime import (
    DeadlineNear,
    LambdaContext,
    SessionEvent,
    near_deadline,
    read_event,
    set_up_logs,
)

_MOST_KEYS = 100


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Bring the missing and the trailing sessions into bronze.

    Returns:
        ``sessions`` asked for; ``new_sessions``, those with rows that the lake did not
        have, corrected ones included; ``corrected_sessions``; ``unchanged_sessions``, a
        count; ``rows`` and ``refused_rows`` kept; ``keys`` written, the first hundred, and
        ``keys_written``; ``incomplete``, in words; ``newest_due``.

    Raises:
        DeadlineNear: Names the sessions that are left; the same event continues.
        OhlcvError: Something could not be done.
    """
    set_up_logs("fetch-daily-bars", context)
    asked = read_event(SessionEvent, event)
    return _fetch(asked, context)


def _fetch(event: SessionEvent, context: LambdaContext) -> dict[str, Any]:
    from batch.core.errors import Interrupted  # noqa: PLC0415
    from batch.runtime.command import job_run  # noqa: PLC0415 - the import budget of a cold start
    from batch.runtime.environment import environment  # noqa: PLC0415
    from batch.runtime.output import Output  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.plan import SessionRange, gaps_in_words  # noqa: PLC0415
    from fetchers.recorded import fetch_recorded  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(strict=event.strict)
    asked = None
    if event.session is not None:
        asked = SessionRange(event.session, event.session, again=True)
    elif event.first is not None and event.last is not None:
        asked = SessionRange(event.first, event.last, again=event.again)
    store = open_store(settings.lake)
    with job_run("fetch-daily-bars", store, settings, Output(as_json=True)) as run:
        fetched = fetch_recorded(
            run,
            store,
            settings,
            environment(),
            asked=asked,
            reference=False,
            out_of_time=near_deadline(context),
        )
        bars = fetched.bars
        assert bars is not None  # noqa: S101 - it was asked for
        if bars.left and any(isinstance(err, Interrupted) for err in fetched.errors):
            raise DeadlineNear(
                f"the function's time was about to end with {gaps_in_words(bars.left)} left;"
                f" {len(bars.new_sessions)} came and are kept; the same event continues"
            ) from fetched.errors[0]
        fetched.require_success(strict=settings.strict)
        run.require_no_problems()
        run.progress.note(bars.summary)
    return {
        "sessions": [str(session) for session in bars.asked],
        "new_sessions": [
            str(session) for session in sorted({*bars.new_sessions, *bars.changed_sessions})
        ],
        "corrected_sessions": [str(session) for session in bars.changed_sessions],
        "unchanged_sessions": bars.unchanged_sessions,
        "rows": bars.rows,
        "refused_rows": bars.refused_rows,
        "keys": bars.keys[:_MOST_KEYS],
        "keys_written": len(bars.keys),
        "incomplete": [note.told for note in bars.incomplete][:_MOST_KEYS],
        "newest_due": str(bars.newest_due),
    }
