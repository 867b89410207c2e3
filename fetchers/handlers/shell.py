"""What the Lambda functions share: events, logs, the deadline, the run and its errors.

Settings come from ``OHLCV_*`` variables, the API key from Secrets Manager or the SSM parameter
store. A handler returns small JSON and raises on failure: an answer that reports a failure
counts as success where it is called from.
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from batch.core.errors import Interrupted, SettingsError
from batch.runtime.aws_logs import JsonLines
from fetchers.request import FetchRequest

LOGGER = logging.getLogger("ohlcv")

_LONGEST_STEP_S = 90.0
"""One request, its last pause and one write fit into this."""

_SHARE_TO_STOP = 0.2

_EXPECTED: Final = {
    "bool": "true or false",
    "date": "a date such as 2025-01-17",
    "greater": "a whole number of at least 0",
    "int": "a whole number of at least 0",
    "model": "an object such as {}",
}
"""What a field must be, by the kind of pydantic's error."""


class LambdaContext(Protocol):
    """The part of the Lambda context that is used."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda ends the process."""


class DeadlineNear(Interrupted):
    """The function's time was about to end; what was done is kept, the rest is named."""


class FunctionEvent(BaseModel):
    """The event of a function: its fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FetchEvent(FunctionEvent):
    """An event that asks for one part of a fetch; a field named like a setting overrides it."""

    @property
    @abstractmethod
    def request(self) -> FetchRequest:
        """The part of a fetch that the event asks for."""


Event = TypeVar("Event", bound=FunctionEvent)
Fetch = TypeVar("Fetch", bound=FetchEvent)


def run_function(
    function: str,
    kind: type[Fetch],
    event: Any,
    context: LambdaContext,
    answer: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """Run one invocation of a function; it has its name in logs and run reports.

    ``answer`` is called with the result of the part that the event asks for.

    Raises:
        SettingsError: The event is not usable.
        DeadlineNear: Names what is left.
        OhlcvError: Something could not be done.
    """
    set_up_logs(function, context)
    asked = read_event(kind, event)

    # Lambda counts the import of a handler as its start: what takes long is imported here.
    from batch.runtime.environment import environment  # noqa: PLC0415
    from batch.runtime.output import Output  # noqa: PLC0415
    from batch.runtime.run import job_run  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.fetch import fetch_in_run  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(**asked.model_dump(include=set(FetchSettings.model_fields)))
    store = open_store(settings.lake)
    with job_run(function, store, settings, Output(as_json=True)) as run:
        stop = near_deadline(context)
        fetched = fetch_in_run(run, store, settings, environment(), asked.request, out_of_time=stop)
        (part,) = fetched.parts
        if not isinstance(part.error, Interrupted):
            fetched.require_success(strict=settings.strict)
            run.require_no_problems()
        elif part.unfinished:
            message = f"the function was about to time out with {part.unfinished}"
            raise DeadlineNear(message) from part.error
        run.progress.note(part.summary)
        return answer(part)


def read_event(kind: type[Event], event: Any) -> Event:
    """Return an event, validated.

    Raises:
        SettingsError: Says of every field that is wrong what was expected and found.
    """
    try:
        return kind.model_validate(event or {})
    except ValidationError as err:
        problems = "; ".join(_explain(problem, kind) for problem in err.errors(include_url=False))
        raise SettingsError(f"the event is invalid: {problems}") from err


def _explain(problem: ErrorDetails, kind: type[FunctionEvent]) -> str:
    place = ".".join(map(str, problem["loc"])) or "event"
    names = [field.alias or name for name, field in kind.model_fields.items()]
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(place, names, n=1)
        meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
        return f"{place}: there is no such field; {meant}"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    what = problem["type"].split("_")[0]
    expected = _EXPECTED.get(what, problem["msg"].removeprefix("Input should be "))
    return f"{place}: expected {expected}, found {problem['input']!r}"


def set_up_logs(function: str, context: LambdaContext) -> None:
    """Send log lines to stdout as JSON, each with the id of the request."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines({"function": function, "request_id": context.aws_request_id}))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def near_deadline(context: LambdaContext) -> Callable[[], bool]:
    """Return a function: whether a further step could outlast the time that is left."""
    at_start_s = context.get_remaining_time_in_millis() / 1000
    reserve_s = min(_LONGEST_STEP_S, _SHARE_TO_STOP * at_start_s)
    return lambda: context.get_remaining_time_in_millis() / 1000 < reserve_s
