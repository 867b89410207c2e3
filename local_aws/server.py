"""The local AWS: one HTTP endpoint that answers as every service the pipeline uses."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any, Final
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from local_aws import access, cloudformation, endpoint, events, interpreter, object_events
from local_aws.access import Call
from local_aws.endpoint import ACCOUNT, ADMINISTRATOR, REGION
from local_aws.events import Bus
from local_aws.interpreter import StateClock, patch
from local_aws.stacks import Stacks
from local_aws.workers import Launcher, Processes, Workers

LOGGER: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalAws:
    """A running local AWS.

    Attributes:
        endpoint: For ``AWS_ENDPOINT_URL``.
        stacks: CloudFormation's stacks.
        clock: The time of the state machines.
        bus: Delivers events; its ``fate`` says how.
        calls: The calls of roles, in order.
        denied: Those of them that were refused.
        waits: Seconds that definitions set between an attempt and its retry.
        watchers: Called with every call of a role, before it is answered.
    """

    endpoint: str
    stacks: Stacks
    clock: StateClock
    bus: Bus
    calls: list[Call] = field(default_factory=list)
    denied: list[Call] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    watchers: list[Callable[[Call], None]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """Return an administrator's client of a service."""
        return self.stacks.client(service)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a process takes this for AWS, as an administrator."""
        return endpoint.environment(self.endpoint, ADMINISTRATOR)

    def policies(self, role: str) -> list[Mapping[str, Any]]:
        """Return every statement of a role's policies."""
        from moto.iam.models import iam_backends

        found = iam_backends[ACCOUNT]["aws"]
        documents = found.get_role(role).policies.values()
        return [
            statement for document in documents for statement in json.loads(document)["Statement"]
        ]

    def report_end(self, execution: Any) -> None:
        """Send the event of an execution's end to the rules that match it."""
        event = events.execution_event(execution)
        if event["detail"]["status"] != "SUCCEEDED":
            self.bus.deliver(event)


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks every call of a role before moto answers it, and answers for CloudFormation.

    Attributes:
        services: moto's application.
        aws: The local AWS.
    """

    services: WSGIApplication
    aws: LocalAws

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        object_events.SOURCE_ADDRESS.set(str(environ.get("REMOTE_ADDR", "")))
        key, region, service = access.caller(environ.get("HTTP_AUTHORIZATION", ""))
        if service == "cloudformation":
            status, text = cloudformation.answer(self.aws.stacks, _take_body(environ))
            return Response(text, status, mimetype="text/xml")(environ, start_response)
        role = endpoint.role_of_key(key)
        if role and (denied := self._denied_call(environ, role, region, service)):
            return _refusal(service, denied)(environ, start_response)
        return self.services(environ, start_response)

    def _denied_call(
        self, environ: WSGIEnvironment, role: str, region: str, service: str
    ) -> Call | None:
        is_content = service == "s3" and environ["REQUEST_METHOD"] != "POST"
        body = b"" if is_content else _take_body(environ)
        calls = access.name_calls(
            environ, body, account=ACCOUNT, region=region, service=service, role=role
        )
        statements = self.aws.policies(role)
        for call in calls:
            self.aws.calls.append(call)
            for watcher in self.aws.watchers:
                watcher(call)
            if not access.allows(statements, call):
                self.aws.denied.append(call)
                LOGGER.warning("%s may not %s on %s", role, call.action, call.resource)
                return call
        return None


def _take_body(environ: WSGIEnvironment) -> bytes:
    """Read a request's body and leave it there for the next reader."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return body


def _refusal(service: str, call: Call) -> Response:
    message = f"{call.role} is not authorized to perform {call.action} on {call.resource}"
    if service in {"s3", "sns"}:
        request = str(uuid4())
        error = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        if service == "sns":
            error = f"<ErrorResponse>{error}<RequestId>{request}</RequestId></ErrorResponse>"
        return Response(error, 403, {"x-amz-request-id": request}, mimetype="text/xml")
    body = json.dumps({"__type": "AccessDeniedException", "message": message})
    headers = {"x-amzn-ErrorType": "AccessDeniedException"}
    return Response(body, 403, headers, mimetype="application/json")


def _treat_calls_as_encrypted() -> None:
    """Let a bucket's policy ask for TLS, which this endpoint does not have.

    moto applies a bucket's policy without its conditions, so it would refuse every call.
    """
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    tls_only = {"Bool": {"aws:SecureTransport": "false"}}

    def permission(bucket: Any, action: str, resource: str) -> Any:
        statements = json.loads(bucket.policy)["Statement"] if bucket.policy else []
        for statement in statements:
            if statement["Effect"] != "Deny" or statement["Condition"] != tls_only:
                raise ValueError(f"bucket policies like {statement} are not known here")
        return PermissionResult.NEUTRAL

    patch(FakeBucket, get_permission=permission)


@contextmanager
def local_aws(
    *, port: int = 0, launcher: Launcher | None = None, pace: float = 1.0
) -> Iterator[LocalAws]:
    """Run a local AWS for as long as the context lasts; one at a time in a process.

    Args:
        port: Where to listen on 127.0.0.1; any free port if 0.
        launcher: Starts jobs and functions; as processes of this checkout if not given.
        pace: Share of the time that is really waited where a state machine or a rule waits.
    """
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    services = DomainDispatcherApplication(create_backend_app)
    made = make_server(
        "127.0.0.1", port, services, threaded=True, request_handler=MotoRequestHandler
    )
    address = f"http://127.0.0.1:{made.server_port}"
    os.environ["MOTO_PORT"] = str(made.server_port)
    stacks = Stacks(partial(endpoint.connect, address, key=ADMINISTRATOR), ACCOUNT, REGION)
    clock = StateClock(pace)
    aws = LocalAws(address, stacks, clock, Bus(address, stacks.client, clock))
    made.app = Gate(services, aws)
    interpreter.install(
        endpoint=address,
        clock=clock,
        on_wait=aws.waits.append,
        on_end=aws.report_end,
    )
    events.install()
    object_events.install(aws.bus.send)
    _treat_calls_as_encrypted()
    Workers(address, launcher or Processes()).install()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        made.shutdown()
        thread.join()
