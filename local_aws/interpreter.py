"""What moto's interpreter of Amazon States Language lacks to run the real definitions.

Checked with moto 5.2. Each function names the behaviour that it corrects.
"""

from __future__ import annotations

import importlib
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import botocore.session
from botocore.config import Config

from local_aws.endpoint import ADMINISTRATOR, connect, key_of_role

_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
"""https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html"""


_SDK_SERVICES = {"sfn": "states"}
"""Services that tasks may call by the SDK's name for them as well."""


def patch(owner: Any, **replacements: Any) -> None:
    """Replace members of a class or module of moto."""
    for name, replacement in replacements.items():
        setattr(owner, name, replacement)


@dataclass(slots=True)
class StateClock:
    """The time that state machines see, faster than time is.

    Attributes:
        pace: Share of the time that a definition waits that is really waited.
    """

    pace: float = 1.0
    _seen: datetime = field(default_factory=lambda: datetime.now(UTC))
    _read_at: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """Return the instant to which the clock has come."""
        now = time.monotonic()
        return self._seen + timedelta(seconds=(now - self._read_at) / self.pace)

    def set_pace(self, pace: float) -> None:
        """Go on from the same instant at another pace."""
        self._seen, self._read_at = self.now(), time.monotonic()
        self.pace = pace

    def begin_minute(self) -> None:
        """Go on from the beginning of the next minute."""
        minute = self.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        self._seen, self._read_at = minute, time.monotonic()

    def text(self) -> str:
        """Return the instant as the context object has it."""
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def install(
    *,
    endpoint: str,
    clock: StateClock,
    on_wait: Callable[[float], None],
    on_end: Callable[[Any], None],
) -> None:
    """Switch the interpreter on and correct it.

    Args:
        endpoint: Where the services answer.
        clock: The time of the state machines.
        on_wait: Called with the seconds that a definition waits before a retry.
        on_end: Called with every execution that ended.
    """
    from moto.core.config import default_user_config
    from moto.stepfunctions import models
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends

    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    patch(models, stepfunctions_backends=stepfunctions_parser_backends)
    _convert_requests()
    _pass_reserved_errors()
    _await_jobs_of_retries()
    _write_start_times_as_text()
    _name_unnamed_executions()
    _call_as_the_role(endpoint)
    _pace_retries(clock, on_wait)
    _pace_waits(clock)
    _write_entry_times(clock)
    _report_ends(on_end)
    _page_histories()


def _convert_requests() -> None:
    """Parameters of Batch and Step Functions tasks reach the API in its own spelling."""
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
        state_task_service as tasks,
    )
    from moto.stepfunctions.parser.utils import camel_to_snake_case

    session = botocore.session.get_session()
    models = {
        "batch": session.get_service_model("batch"),
        "states": session.get_service_model("stepfunctions"),
    }

    def operation(task: Any, action: str | None) -> Any:
        service = task.resource.service_name
        model = models.get(_SDK_SERVICES.get(task.resource.api_name, service))
        if model is None:
            return None
        wanted = action or task._get_boto_service_action()
        names = {camel_to_snake_case(name): name for name in model.operation_names}
        return model.operation_model(names[wanted])

    def request(
        self: Any,
        parameters: Any,
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        if found := operation(self, service_action_name):
            self._to_boto_request(parameters, found.input_shape)

    def response(
        self: Any,
        response: Any,
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        if found := operation(self, service_action_name):
            self._from_boto_response(response, found.output_shape)

    patch(tasks.StateTaskService, _normalise_parameters=request, _normalise_response=response)


def _pass_reserved_errors() -> None:
    """``States.TaskFailed`` inside a Map stays what it is and does not become States.Runtime."""
    from moto.stepfunctions.parser.asl.component.common.error_name import custom_error_name

    patch(custom_error_name, ILLEGAL_CUSTOM_ERROR_PREFIX="\0")


def _await_jobs_of_retries() -> None:
    """A retried ``.sync`` task waits for its own job, not for the end of the first one."""
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
        state_task_service_callback as callback,
    )

    waits: Any = callback.StateTaskServiceCallback._eval_integration_pattern

    def eval_integration_pattern(self: Any, env: Any, **arguments: Any) -> Any:
        token = env.states.context_object.context_object_data.get("Task", {}).get("Token")
        endpoint = env.callback_pool_manager.get(token) if token else None
        if endpoint:
            endpoint._notify_event.clear()
        return waits(self, env=env, **arguments)

    patch(callback.StateTaskServiceCallback, _eval_integration_pattern=eval_integration_pattern)


def _write_start_times_as_text() -> None:
    """``$$.Execution.StartTime`` is a text."""
    from moto.stepfunctions.parser.backend.execution import Execution

    details_of: Any = Execution.get_start_execution_details

    def details(self: Any) -> Any:
        found = details_of(self)
        start = found.start_time
        found.start_time = f"{start:%Y-%m-%dT%H:%M:%S}.{start.microsecond // 1000:03d}Z"
        return found

    patch(Execution, get_start_execution_details=details)


def _name_unnamed_executions() -> None:
    """Executions without a name get different ones; one that AWS does not take is refused.

    Two starts at once with one name are one after the other, so that the second finds the first.
    """
    from moto.stepfunctions.exceptions import InvalidName
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

    starts = StepFunctionsParserBackend.start_execution
    one_at_a_time = threading.Lock()

    def start(
        self: Any, state_machine_arn: str, name: str | None = None, *rest: Any, **more: Any
    ) -> Any:
        if name and not _NAME.fullmatch(name):
            raise InvalidName(f"Invalid Name: '{name}'")
        with one_at_a_time:
            return starts(self, state_machine_arn, name or str(uuid4()), *rest, **more)

    patch(StepFunctionsParserBackend, start_execution=start)


def _call_as_the_role(endpoint: str) -> None:
    """Tasks call the services as the state machine's role, so its policies count."""
    config = Config(
        parameter_validation=False,
        retries={"max_attempts": 0},
        connect_timeout=60,
        read_timeout=900,
    )

    def client_for(region: str, service: str, state_credentials: Any = None) -> Any:
        key = key_of_role(state_credentials.role_arn) if state_credentials else ADMINISTRATOR
        return connect(endpoint, service, key, config=config)

    states = "moto.stepfunctions.parser.asl.component.state.exec.state_task"
    for part in ("service.state_task_service_factory", "state_task_lambda"):
        importlib.import_module(f"{states}.{part}")
    for name, module in list(sys.modules.items()):
        if name.startswith("moto.stepfunctions.parser") and hasattr(module, "boto_client_for"):
            patch(module, boto_client_for=client_for)


def _pace_retries(clock: StateClock, on_wait: Callable[[float], None]) -> None:
    """Waits between retries are reported, and shortened."""
    from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl

    def sleep(seconds: float) -> None:
        on_wait(seconds)
        time.sleep(seconds * clock.pace)

    patch(retrier_decl, time=SimpleNamespace(sleep=sleep))


def _pace_waits(clock: StateClock) -> None:
    """The waits of Wait states are shortened; moto counts whole seconds only."""
    from moto.stepfunctions.parser.asl.component.state.wait.wait_function import wait_function

    def wait(_function: Any, env: Any, wait_seconds: float) -> None:
        end = clock.now() + timedelta(seconds=wait_seconds)
        while env.is_running() and (left := (end - clock.now()).total_seconds()) > 0:
            env.program_state_event.wait(left * clock.pace)

    patch(wait_function.WaitFunction, _wait_interval=wait)


def _write_entry_times(clock: StateClock) -> None:
    """``$$.State.EnteredTime`` has milliseconds and a Z, and is the machines' time."""
    from moto.stepfunctions.parser.asl.component.state import state

    def now(*, tz: Any) -> Any:
        return SimpleNamespace(isoformat=clock.text)

    own = SimpleNamespace(datetime=SimpleNamespace(now=now), timezone=timezone)
    patch(state, datetime=own)


def _report_ends(on_end: Callable[[Any], None]) -> None:
    """The end of an execution is an event, as on EventBridge."""
    from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication

    ends = BaseExecutionWorkerCommunication.terminated

    def terminated(self: Any) -> None:
        ends(self)
        on_end(self.execution)

    patch(BaseExecutionWorkerCommunication, terminated=terminated)


def _page_histories() -> None:
    """A history comes in pages of 100 events, or as many as asked for up to 1,000."""
    from moto.core.responses import ActionResult
    from moto.stepfunctions.responses import StepFunctionResponse

    def page(self: Any) -> Any:
        arn, size = self._get_param("executionArn"), self._get_int_param("maxResults", 100)
        events = self.stepfunction_backend.get_execution_history(arn)["events"]
        if self._get_param("reverseOrder"):
            events = events[::-1]
        first = int(self._get_param("nextToken") or 0)
        last = first + min(size or 100, 1000)
        more = {"nextToken": str(last)} if last < len(events) else {}
        return ActionResult({"events": events[first:last], **more})

    patch(StepFunctionResponse, get_execution_history=page)
