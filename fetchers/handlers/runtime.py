"""What the Lambda functions share: events, logs, the deadline.

A handler returns small JSON and raises on failure: an answer that tells of a failure
counts as success where it is called from.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from batch.core.errors import Interrupted, SettingsError

LOGGER = logging.getLogger("ohlcv")

_LONGEST_STEP_S = 90.0
"""One request, its last pause and one write fit into this."""

_SHARE_TO_STOP = 0.2

Event = TypeVar("Event", bound=BaseModel)


class LambdaContext(Protocol):
    """The part of the Lambda context that is used."""

    @property
    def aws_request_id(self) -> str:
        """Identifies the invocation in the logs."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda ends the process."""


class DeadlineNear(Interrupted):
    """The function's time was about to end; what was done is kept, the rest is named."""


class SessionEvent(BaseModel):
    """The event that both functions take; ``{}`` is the daily run.

    Attributes:
        session: One session to fetch, whether or not it is in the lake.
        first: First session of a range; with ``last``. In JSON: ``from``.
        last: Last session of a range. In JSON: ``to``.
        again: Whether sessions of the range that are in the lake are asked for as well.
        strict: Whether an incomplete session fails the function; the setting's value
            where not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

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


def read_event(kind: type[Event], event: Any) -> Event:
    """Read an event.

    Raises:
        SettingsError: Names every field that is wrong.
    """
    try:
        return kind.model_validate(event or {})
    except ValidationError as err:
        told = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'event'}: {problem['msg']}"
            for problem in err.errors(include_url=False)
        )
        raise SettingsError(f"the event is not usable: {told}") from err


class _JsonLines(logging.Formatter):
    """One JSON object a line, as log queries read them."""

    def __init__(self, function: str, request_id: str) -> None:
        super().__init__()
        self._fixed = {"function": function, "request_id": request_id}

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        instant = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{instant}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": record.getMessage(),
            **self._fixed,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs(function: str, context: LambdaContext) -> None:
    """Send log lines to stdout as JSON, each with the id of the request."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(_JsonLines(function, context.aws_request_id))
    LOGGER.handlers[:] = [lines]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def near_deadline(context: LambdaContext) -> Callable[[], bool]:
    """Return what tells that no further step would end before Lambda ends the process."""
    at_start_s = context.get_remaining_time_in_millis() / 1000
    reserve_s = min(_LONGEST_STEP_S, _SHARE_TO_STOP * at_start_s)
    return lambda: context.get_remaining_time_in_millis() / 1000 < reserve_s
