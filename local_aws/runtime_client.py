"""A function's runtime, in place of the real one in its image.

``python -m local_aws.runtime_client module.handler`` gets one event from
``AWS_LAMBDA_RUNTIME_API``, calls the handler, and answers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from http.client import HTTPConnection


@dataclass(frozen=True, slots=True)
class Context:
    """The context of a call, with the names that AWS gives its attributes."""

    aws_request_id: str
    deadline_ms: int
    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: int

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return max(0, self.deadline_ms - int(time.time() * 1000))


def main(handler_name: str) -> None:
    """Serve one event."""
    api = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    question = api.getresponse()
    event = json.loads(question.read())
    request_id = question.headers["Lambda-Runtime-Aws-Request-Id"]
    context = Context(
        request_id,
        int(question.headers["Lambda-Runtime-Deadline-Ms"]),
        os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        question.headers["Lambda-Runtime-Invoked-Function-Arn"],
        int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
    )
    try:
        module, name = handler_name.rsplit(".", 1)
        handler = getattr(importlib.import_module(module), name)
        end, body = "response", json.dumps(handler(event, context))
    except Exception as err:  # noqa: BLE001 - whatever a handler raises is the call's error
        error = {
            "errorMessage": str(err),
            "errorType": type(err).__name__,
            "stackTrace": traceback.format_tb(err.__traceback__),
        }
        end, body = "error", json.dumps(error)
    api.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/{end}", body)
    api.getresponse().read()


if __name__ == "__main__":
    main(sys.argv[1])
