"""CloudFormation's API over :mod:`local_aws.stacks`, spoken by moto's parser and serializer.

moto 5.2 has an engine of its own, which cannot carry the deployment of the template. Its change
sets compare the text of templates alone, so neither a new parameter inside ``Fn::Sub`` nor a
condition that became true is a change, and after one update the same deployment never counts as
unchanged again. A resource that fails is an error of ExecuteChangeSet: nothing is rolled back, no
event is written, no ``ROLLBACK_COMPLETE`` follows, and what was created before it stays. Stacks
that change sets made have no outputs. ``AllowedValues``, ``AllowedPattern``, ``Rules`` and
``RetainExceptOnCreate`` are ignored, and ``!Condition`` inside ``!And`` is always false. Of the
template's 29 types seven are missing and nine are never deleted, and an unknown type or property
is left out with a warning, so that a deployment would look applied which was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from moto.core.parse import QueryParser
from moto.core.serialize import QuerySerializer, SerializationContext, XFormedAttributePicker
from moto.core.utils import get_service_model

from local_aws.stacks import (
    MAX_BODY_BYTES,
    Change,
    ChangeSet,
    ChangeSetMissing,
    Stack,
    StackError,
    Stacks,
)
from local_aws.template import TemplateError, read_template

_NO_CHANGES = "The submitted information didn't contain changes."

Request = Mapping[str, Any]
Result = Mapping[str, Any]


def answer(stacks: Stacks, body: bytes) -> tuple[int, str]:
    """Return status and XML of the answer to a request."""
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    operation = get_service_model("cloudformation").operation_model(form["Action"])
    parser: Any = QueryParser(operation)  # declares parts of a request that it does not read
    request = parser.parse({"values": form})
    result: Result | StackError
    try:
        if operation.name not in _ACTIONS:
            raise StackError(f"{operation.name} is not known here")
        result = _ACTIONS[operation.name](stacks, request)
    except StackError as err:
        result = err
    serializer = QuerySerializer(
        operation,
        SerializationContext(str(uuid4())),
        value_picker=XFormedAttributePicker(),
    )
    response = serializer.serialize(result)
    return response["status_code"], str(response["body"])


def _given_parameters(request: Request, stack: Stack | None) -> dict[str, str]:
    given = {}
    for item in request.get("Parameters", []):
        key = item["ParameterKey"]
        if not item.get("UsePreviousValue"):
            given[key] = item.get("ParameterValue", "")
        elif stack and key in stack.parameters:
            given[key] = stack.parameters[key]
        else:
            raise StackError(f"parameter {key} has no previous value")
    return given


def _body(stacks: Stacks, request: Request) -> str:
    if "TemplateBody" in request:
        body = str(request["TemplateBody"])
        if len(body.encode()) > MAX_BODY_BYTES:
            raise StackError(f"templateBody: at most {MAX_BODY_BYTES} bytes, pass it through S3")
        return body
    bucket, _, key = urlsplit(request["TemplateURL"]).path.lstrip("/").partition("/")
    answer = stacks.client("s3").get_object(Bucket=bucket, Key=key)
    return str(answer["Body"].read().decode())


def _create_change_set(stacks: Stacks, request: Request) -> Result:
    name = request["StackName"]
    stack = stacks.stacks.get(name)
    exists = stack is not None and stack.status != "REVIEW_IN_PROGRESS"
    creates = request.get("ChangeSetType", "UPDATE") == "CREATE"
    if creates and exists:
        raise StackError(f"Stack [{name}] already exists and cannot be created again")
    if not creates and not exists:
        raise StackError(f"Stack [{name}] does not exist")
    parameters = _given_parameters(request, stack)
    made = stacks.create_change_set(
        name, request["ChangeSetName"], _body(stacks, request), parameters
    )
    return {"Id": made.arn, "StackId": stacks.find(name).arn}


def _update_stack(stacks: Stacks, request: Request) -> Result:
    stack = stacks.find(request["StackName"])
    body = stack.body if request.get("UsePreviousTemplate") else _body(stacks, request)
    parameters = _given_parameters(request, stack)
    change_set = stacks.create_change_set(stack.name, f"update-{uuid4()}", body, parameters)
    if not change_set.changes:
        del stack.change_sets[change_set.name]
        raise StackError("No updates are to be performed.")
    stacks.execute(stack, change_set)
    return {"StackId": stack.arn}


def _protect(stacks: Stacks, request: Request) -> Result:
    stack = stacks.find(request["StackName"])
    stack.is_protected = request["EnableTerminationProtection"]
    return {"StackId": stack.arn}


def _find_change_set(stacks: Stacks, request: Request) -> tuple[Stack, ChangeSet]:
    wanted = request["ChangeSetName"]
    for stack in stacks.stacks.values():
        for found in stack.change_sets.values():
            if wanted == found.arn or (
                wanted == found.name and request.get("StackName") in {stack.name, stack.arn}
            ):
                return stack, found
    raise ChangeSetMissing(f"ChangeSet [{wanted}] does not exist")


def _describe_change_set(stacks: Stacks, request: Request) -> Result:
    stack, found = _find_change_set(stacks, request)
    return {
        "ChangeSetName": found.name,
        "ChangeSetId": found.arn,
        "StackName": stack.name,
        "StackId": stack.arn,
        "Status": "CREATE_COMPLETE" if found.changes else "FAILED",
        "StatusReason": "" if found.changes else _NO_CHANGES,
        "ExecutionStatus": "AVAILABLE" if found.changes else "UNAVAILABLE",
        "Parameters": _parameters(found.parameters),
        "Changes": [
            {"Type": "Resource", "ResourceChange": _change(change)} for change in found.changes
        ],
    }


def _change(change: Change) -> Result:
    replacement = {"Replacement": str(change.replacement)} if change.action == "Modify" else {}
    return {
        "Action": change.action,
        "LogicalResourceId": change.name,
        "ResourceType": change.kind,
        **replacement,
    }


def _parameters(parameters: Mapping[str, str]) -> list[Result]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


def _execute_change_set(stacks: Stacks, request: Request) -> Result:
    stacks.execute(*_find_change_set(stacks, request))
    return {}


def _delete_change_set(stacks: Stacks, request: Request) -> Result:
    stack, found = _find_change_set(stacks, request)
    del stack.change_sets[found.name]
    if stack.status == "REVIEW_IN_PROGRESS" and not stack.change_sets:
        del stacks.stacks[stack.name]
    return {}


def _describe_stacks(stacks: Stacks, request: Request) -> Result:
    wanted = request.get("StackName")
    found = [stacks.find(wanted)] if wanted else stacks.stacks.values()
    return {
        "Stacks": [
            {
                "StackName": stack.name,
                "StackId": stack.arn,
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason,
                "CreationTime": stack.created_at,
                "Parameters": _parameters(stack.parameters),
                "Outputs": [
                    {
                        "OutputKey": key,
                        "OutputValue": output.value,
                        "Description": output.description,
                    }
                    for key, output in stack.outputs.items()
                ],
            }
            for stack in found
        ]
    }


def _describe_stack_events(stacks: Stacks, request: Request) -> Result:
    return {"StackEvents": stacks.find(request["StackName"]).events[::-1]}


def _describe_stack_resources(stacks: Stacks, request: Request) -> Result:
    stack = stacks.find(request["StackName"])
    return {
        "StackResources": [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": resource.made.ref,
                "ResourceType": resource.kind,
                "ResourceStatus": "CREATE_COMPLETE",
                "StackName": stack.name,
                "Timestamp": stack.created_at,
            }
            for name, resource in stack.resources.items()
        ]
    }


def _delete_stack(stacks: Stacks, request: Request) -> Result:
    wanted = request["StackName"]
    for stack in list(stacks.stacks.values()):
        if wanted in {stack.name, stack.arn}:
            if stack.is_protected:
                raise StackError(
                    f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
                )
            stacks.delete(stack)
    return {}


def _template_summary(stacks: Stacks, request: Request) -> Result:
    body = (
        stacks.find(request["StackName"]).body if "StackName" in request else _body(stacks, request)
    )
    try:
        sections = read_template(body)
    except TemplateError as err:
        raise StackError(f"Template format error: {err}") from err
    parameters = [
        {"ParameterKey": name, "ParameterType": rules["Type"]}
        for name, rules in sections.get("Parameters", {}).items()
    ]
    return {"Parameters": parameters, "Description": sections.get("Description", "")}


_ACTIONS: Final[Mapping[str, Callable[[Stacks, Request], Result]]] = {
    "CreateChangeSet": _create_change_set,
    "DescribeChangeSet": _describe_change_set,
    "ExecuteChangeSet": _execute_change_set,
    "DeleteChangeSet": _delete_change_set,
    "DescribeStacks": _describe_stacks,
    "DescribeStackEvents": _describe_stack_events,
    "DescribeStackResources": _describe_stack_resources,
    "UpdateStack": _update_stack,
    "UpdateTerminationProtection": _protect,
    "DeleteStack": _delete_stack,
    "ValidateTemplate": _template_summary,
    "GetTemplateSummary": _template_summary,
}
