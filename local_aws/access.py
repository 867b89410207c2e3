"""Requests named as IAM actions, and judged by the policies of the role that calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.etree.ElementTree import fromstring

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_LAMBDA_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One use of one action.

    Attributes:
        role: Name of the role that called, empty for an administrator.
        action: Such as ``s3:GetObject``.
        resource: ARN of the resource, ``*`` where the action has none.
        prefix: ``s3:prefix`` of a listing.
    """

    role: str
    action: str
    resource: str
    prefix: str | None = None


def caller(authorization: str) -> tuple[str, str, str]:
    """Return access key, region and service of a request; empty texts if it is not signed."""
    found = _CREDENTIAL.search(authorization)
    return (found[1], found[2], found[3]) if found else ("", "", "")


def name_calls(
    environ: Mapping[str, Any], body: bytes, *, account: str, region: str, service: str, role: str
) -> list[Call]:
    """Return the actions that a request needs, with the resource of each."""
    if service == "s3":
        return [Call(role, *rest) for rest in _s3_calls(environ, body)]
    if service == "lambda":
        invoked = _LAMBDA_INVOKE.fullmatch(unquote(str(environ["PATH_INFO"])))
        if not invoked:
            return [Call(role, f"lambda:{environ['REQUEST_METHOD']}", "*")]
        name = invoked[1].rsplit(":", 1)[-1]  # or the ARN
        arn = f"arn:aws:lambda:{region}:{account}:function:{name}"
        return [Call(role, "lambda:InvokeFunction", arn)]
    if service == "batch":
        return _batch_calls(environ, body, role)
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        action = str(target).split(".")[-1]
        return [Call(role, f"{service}:{action}", _json_resource(body, account, region, service))]
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    return [Call(role, f"{service}:{form.get('Action', 'Unknown')}", form.get("TopicArn", "*"))]


def _batch_calls(environ: Mapping[str, Any], body: bytes, role: str) -> list[Call]:
    names = {
        "submitjob": "SubmitJob",
        "describejobs": "DescribeJobs",
        "terminatejob": "TerminateJob",
    }
    action = names.get(str(environ["PATH_INFO"]).rsplit("/", 1)[-1], "Unknown")
    if action != "SubmitJob":
        return [Call(role, f"batch:{action}", "*")]
    request = json.loads(body)
    return [Call(role, "batch:SubmitJob", request[key]) for key in ("jobQueue", "jobDefinition")]


def _json_resource(body: bytes, account: str, region: str, service: str) -> str:
    request = json.loads(body or b"{}")
    for key in ("stateMachineArn", "executionArn", "SecretId", "TopicArn", "Name"):
        if value := request.get(key):
            text = str(value)
            if text.startswith("arn:"):
                return text
            if service == "secretsmanager":
                return f"arn:aws:secretsmanager:{region}:{account}:secret:{text}-??????"
    return "*"


def _s3_calls(environ: Mapping[str, Any], body: bytes) -> list[tuple[str, str, str | None]]:
    bucket, _, key = unquote(str(environ["PATH_INFO"])).lstrip("/").partition("/")
    query = parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
    method, arn = environ["REQUEST_METHOD"], f"arn:aws:s3:::{bucket}"
    version = "Version" if "versionId" in query else ""
    if not key:
        if method == "POST" and "delete" in query:
            return [("s3:DeleteObject", f"{arn}/{name}", None) for name in _deleted(body)]
        if method == "GET" and "versioning" in query:
            return [("s3:GetBucketVersioning", arn, None)]
        if method in {"GET", "HEAD"}:
            listing = "s3:ListBucketVersions" if "versions" in query else "s3:ListBucket"
            return [(listing, arn, query.get("prefix", [None])[0])]
        return [(f"s3:{method}Bucket", arn, None)]
    read = f"GetObject{version}"
    actions = {"GET": read, "HEAD": read, "PUT": "PutObject", "POST": "PutObject"}
    actions["DELETE"] = f"DeleteObject{version}"
    if "uploadId" in query and method == "DELETE":
        actions["DELETE"] = "AbortMultipartUpload"
    calls: list[tuple[str, str, str | None]] = [(f"s3:{actions[method]}", f"{arn}/{key}", None)]
    if source := str(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")):
        place, _, copied_version = source.lstrip("/").partition("?versionId=")
        copied = "s3:GetObjectVersion" if copied_version else "s3:GetObject"
        calls.append((copied, f"arn:aws:s3:::{unquote(place)}", None))
    return calls


def _deleted(body: bytes) -> list[str]:
    # The document was written by the SDK of one of our own processes.
    return [str(node.text) for node in fromstring(body).iter() if node.tag.endswith("Key")]  # noqa: S314


def allows(statements: Iterable[Mapping[str, Any]], call: Call) -> bool:
    """Return whether some statement allows a call and none denies it."""
    effects = {str(item["Effect"]) for item in statements if statement_covers(item, call)}
    return "Allow" in effects and "Deny" not in effects


def statement_covers(statement: Mapping[str, Any], call: Call) -> bool:
    """Return whether a statement applies to a call.

    Raises:
        ValueError: It has an element or a condition that is not known here.
    """
    unknown = statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
    if unknown:
        raise ValueError(f"policy elements not known here: {', '.join(sorted(unknown))}")
    return (
        _matches(statement["Action"], call.action)
        and _matches(statement["Resource"], call.resource)
        and _conditions_hold(statement.get("Condition", {}), call)
    )


def _matches(patterns: str | list[str], text: str) -> bool:
    wanted = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(text, pattern) for pattern in wanted)


def _conditions_hold(conditions: Mapping[str, Any], call: Call) -> bool:
    for operator, tests in conditions.items():
        if operator not in {"StringLike", "StringLikeIfExists"} or set(tests) != {"s3:prefix"}:
            raise ValueError(f"condition {operator} on {', '.join(tests)} is not known here")
        if call.prefix is None:
            if operator == "StringLike":
                return False
        elif not _matches(tests["s3:prefix"], call.prefix):
            return False
    return True
