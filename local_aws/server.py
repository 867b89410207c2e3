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

from local_aws import access, cloudformation, events, interpreter
from local_aws.access import ACCOUNT, REGION, Call
from local_aws.interpreter import patch
from local_aws.stacks import Stacks
from local_aws.workers import Launcher, Processes, Workers

LOGGER: Final = logging.getLogger(__name__)

_ADMINISTRATOR = "administrator"

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(slots=True)
class LocalAws:
    """A running local AWS.

    Attributes:
        endpoint: For ``AWS_ENDPOINT_URL``.
        stacks: CloudFormation's stacks.
        calls: The calls of roles, in order.
        denied: Those of them that were refused.
        waits: Seconds that definitions waited before a retry, as they asked for.
        ended: The event of every execution that ended.
        watchers: Called with every call of a role, before it is answered.
    """

    endpoint: str
    stacks: Stacks
    calls: list[Call] = field(default_factory=list)
    denied: list[Call] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ended: list[Mapping[str, Any]] = field(default_factory=list)
    watchers: list[Callable[[Call], None]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """Return an administrator's client of a service."""
        return self.stacks.client(service)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which a process takes this for AWS, as an administrator."""
        return {**access.environment(self.endpoint, _ADMINISTRATOR), "AWS_PAGER": ""}

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
        self.ended.append(event)
        if event["detail"]["status"] != "SUCCEEDED":
            events.deliver(event, self.client)


class Gate:
    """Stands before moto: checks every call of a role, and answers for CloudFormation."""

    def __init__(self, services: Any, aws: LocalAws) -> None:
        self._services = services
        self._aws = aws

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        key, region, service = access.caller(environ.get("HTTP_AUTHORIZATION", ""))
        if service == "cloudformation":
            status, text = cloudformation.answer(self._aws.stacks, _take_body(environ))
            return _respond(start_response, status, text, "text/xml")
        if key.startswith(access.ROLE_KEY):
            role = key.removeprefix(access.ROLE_KEY)
            refused = self._judge(environ, role, region, service)
            if refused:
                return _refuse(start_response, service, refused)
        found: Iterable[bytes] = self._services(environ, start_response)
        return found

    def _judge(self, environ: Environ, role: str, region: str, service: str) -> Call | None:
        is_content = service == "s3" and environ["REQUEST_METHOD"] != "POST"
        body = b"" if is_content else _take_body(environ)
        calls = access.name_calls(
            environ, body, account=ACCOUNT, region=region, service=service, role=role
        )
        statements = self._aws.policies(role)
        for call in calls:
            self._aws.calls.append(call)
            for watcher in self._aws.watchers:
                watcher(call)
            if not access.allows(statements, call):
                self._aws.denied.append(call)
                LOGGER.warning("%s may not %s on %s", role, call.action, call.resource)
                return call
        return None


def _take_body(environ: Environ) -> bytes:
    """Read a request's body and leave it there for the next reader."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return body


def _refuse(start_response: StartResponse, service: str, call: Call) -> Iterable[bytes]:
    message = f"{call.role} is not authorized to perform {call.action} on {call.resource}"
    request = str(uuid4())
    if service in {"s3", "sns"}:
        error = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
        if service == "sns":
            error = f"<ErrorResponse>{error}<RequestId>{request}</RequestId></ErrorResponse>"
        return _respond(start_response, 403, error, "text/xml", ("x-amz-request-id", request))
    body = json.dumps({"__type": "AccessDeniedException", "message": message})
    return _respond(
        start_response, 403, body, "application/json", ("x-amzn-ErrorType", "AccessDeniedException")
    )


def _respond(
    start_response: StartResponse, status: int, text: str, kind: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    names = {200: "OK", 400: "Bad Request", 403: "Forbidden"}
    body = text.encode()
    shape = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start_response(f"{status} {names[status]}", [*shape, *headers])
    return [body]


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
    *, port: int = 0, launcher: Launcher | None = None, retry_pace: float = 1.0
) -> Iterator[LocalAws]:
    """Run a local AWS for as long as the context lasts; one at a time in a process.

    Args:
        port: Where to listen on 127.0.0.1; any free port if 0.
        launcher: Starts jobs and functions; as processes of this checkout if not given.
        retry_pace: Share of the waits between retries that is really waited.
    """
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    services = DomainDispatcherApplication(create_backend_app)
    made = make_server(
        "127.0.0.1", port, services, threaded=True, request_handler=MotoRequestHandler
    )
    endpoint = f"http://127.0.0.1:{made.server_port}"
    os.environ["MOTO_PORT"] = str(made.server_port)
    stacks = Stacks(partial(access.connect, endpoint, key=_ADMINISTRATOR), ACCOUNT, REGION)
    aws = LocalAws(endpoint, stacks)
    made.app = Gate(services, aws)
    interpreter.install(
        endpoint=endpoint,
        retry_pace=retry_pace,
        on_wait=aws.waits.append,
        on_end=aws.report_end,
    )
    _treat_calls_as_encrypted()
    Workers(endpoint, launcher or Processes()).install()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield aws
    finally:
        made.shutdown()
        thread.join()
