"""The Lambda function that fetches daily bars."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from fetchers.handlers.shell import FetchEvent, LambdaContext, run_function
from fetchers.request import FetchRequest, SessionRange

if TYPE_CHECKING:
    from fetchers.results import BarsFetched

_MOST_KEYS = 100


class SessionEvent(FetchEvent):
    """The event; ``{}`` is the daily run.

    ``session`` is fetched whether or not it is in the lake, those of a range also where
    ``again`` is set. ``strict`` is the setting's value where not given.
    """

    session: date | None = None
    first: date | None = Field(None, alias="from")
    last: date | None = Field(None, alias="to")
    again: bool = False
    strict: bool | None = None

    @model_validator(mode="after")
    def _require_one_way(self) -> SessionEvent:
        if (self.first is None) != (self.last is None):
            raise ValueError("'from' and 'to' go together")
        if self.session is not None and self.first is not None:
            raise ValueError("give 'session', or 'from' and 'to', not both")
        return self

    @property
    def request(self) -> FetchRequest:
        """Bars of the session, of the range, or of the daily run."""
        sessions = None
        if self.session is not None:
            sessions = SessionRange(self.session, self.session, again=True)
        elif self.first is not None and self.last is not None:
            sessions = SessionRange(self.first, self.last, again=self.again)
        return FetchRequest(sessions, reference=False)


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Bring the missing and the trailing sessions into bronze.

    In the answer, ``new_sessions`` are those with rows that the lake did not have, corrected
    ones included; ``keys`` and ``incomplete`` are the first hundred.

    Raises:
        DeadlineNear: Names the sessions that are left; the same event continues.
        OhlcvError: Something could not be done.
    """
    return run_function("fetch-daily-bars", SessionEvent, event, context, _answer)


def _answer(bars: BarsFetched) -> dict[str, Any]:
    new = sorted({*bars.new_sessions, *bars.changed_sessions})
    return {
        "sessions": [str(session) for session in bars.planned],
        "new_sessions": [str(session) for session in new],
        "corrected_sessions": [str(session) for session in bars.changed_sessions],
        "unchanged_sessions": bars.unchanged_sessions,
        "rows": bars.rows,
        "refused_rows": bars.refused_rows,
        "keys": bars.keys[:_MOST_KEYS],
        "keys_written": len(bars.keys),
        "incomplete": [note.summary for note in bars.incomplete][:_MOST_KEYS],
        "newest_due": str(bars.newest_due),
    }
