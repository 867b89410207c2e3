"""CloudFormation's query API over :mod:`local_aws.stacks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import uuid4
from xml.sax.saxutils import escape

from local_aws.stacks import ChangeSet, Stack, StackError, Stacks
from local_aws.template import TemplateError, read_template

_NAMESPACE: Final = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


def answer(stacks: Stacks, body: bytes) -> tuple[int, str]:
    """Return status and XML of the answer to a request."""
    form = {
        name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()
    }
    action = form.get("Action", "")
    try:
        if action not in _ACTIONS:
            raise StackError(f"{action} is not known here")
        result = _ACTIONS[action](stacks, form)
    except StackError as err:
        return 400, _error(
            str(err), "ChangeSetNotFound" if "ChangeSet [" in str(err) else "ValidationError"
        )
    inner = f"<{action}Result>{_xml(result)}</{action}Result>"
    meta = f"<ResponseMetadata><RequestId>{uuid4()}</RequestId></ResponseMetadata>"
    return 200, f'<{action}Response xmlns="{_NAMESPACE}">{inner}{meta}</{action}Response>'


def _error(message: str, code: str) -> str:
    inner = f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error>{inner}</Error>'
        f"<RequestId>{uuid4()}</RequestId></ErrorResponse>"
    )


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{key}>{_xml(item)}</{key}>" for key, item in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))


def _parameters(form: Mapping[str, str], stack: Stack | None) -> dict[str, str]:
    given = {}
    number = 1
    while key := form.get(f"Parameters.member.{number}.ParameterKey"):
        start = f"Parameters.member.{number}."
        if form.get(f"{start}UsePreviousValue") == "true":
            if stack is None or key not in stack.given:
                raise StackError(f"parameter {key} has no previous value")
            given[key] = stack.given[key]
        else:
            given[key] = form.get(f"{start}ParameterValue", "")
        number += 1
    return given


def _body(stacks: Stacks, form: Mapping[str, str]) -> str:
    if "TemplateBody" in form:
        return form["TemplateBody"]
    raise StackError(
        f"templates by URL are not known here: {form.get('TemplateURL')} ({stacks.region})"
    )


def _create_change_set(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    name = form["StackName"]
    there = stacks.stacks.get(name)
    begun = there is not None and there.status != "REVIEW_IN_PROGRESS"
    if form.get("ChangeSetType", "UPDATE") == "CREATE" and begun:
        raise StackError(f"Stack [{name}] already exists and cannot be created again")
    if form.get("ChangeSetType", "UPDATE") == "UPDATE" and not begun:
        raise StackError(f"Stack [{name}] does not exist")
    given = _parameters(form, there)
    proposal = stacks.propose(name, form["ChangeSetName"], _body(stacks, form), given)
    return {"Id": proposal.arn, "StackId": stacks.find(name).arn}


def _change_set(stacks: Stacks, form: Mapping[str, str]) -> tuple[Stack, ChangeSet]:
    wanted = form["ChangeSetName"]
    for stack in stacks.stacks.values():
        for proposal in stack.change_sets.values():
            if wanted == proposal.arn or (
                wanted == proposal.name and form.get("StackName") in {stack.name, stack.arn}
            ):
                return stack, proposal
    raise StackError(f"ChangeSet [{wanted}] does not exist")


def _describe_change_set(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    stack, proposal = _change_set(stacks, form)
    changes = []
    for change in proposal.changes:
        told: dict[str, Any] = {
            "Action": change.action,
            "LogicalResourceId": change.name,
            "ResourceType": change.kind,
        }
        if change.action == "Modify":
            told["Replacement"] = "True" if change.replacement else "False"
        changes.append({"Type": "Resource", "ResourceChange": told})
    return {
        "ChangeSetName": proposal.name,
        "ChangeSetId": proposal.arn,
        "StackName": stack.name,
        "StackId": stack.arn,
        "Status": proposal.status,
        "StatusReason": proposal.reason,
        "ExecutionStatus": "AVAILABLE" if proposal.changes else "UNAVAILABLE",
        "Parameters": _given(proposal.given),
        "Changes": changes,
    }


def _given(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


def _execute_change_set(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    stacks.execute(*_change_set(stacks, form))
    return {}


def _delete_change_set(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    stack, proposal = _change_set(stacks, form)
    del stack.change_sets[proposal.name]
    if stack.status == "REVIEW_IN_PROGRESS" and not stack.change_sets:
        del stacks.stacks[stack.name]
    return {}


def _describe_stacks(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    wanted = form.get("StackName")
    found = [stacks.find(wanted)] if wanted else list(stacks.stacks.values())
    return {
        "Stacks": [
            {
                "StackName": stack.name,
                "StackId": stack.arn,
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason,
                "CreationTime": stack.created_at.isoformat(),
                "Parameters": _given(stack.given),
                "Outputs": [
                    {"OutputKey": key, "OutputValue": value, "Description": description}
                    for key, (value, description) in stack.outputs.items()
                ],
            }
            for stack in found
        ]
    }


def _describe_stack_events(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    return {"StackEvents": stacks.find(form["StackName"]).events[::-1]}


def _describe_stack_resources(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    stack = stacks.find(form["StackName"])
    return {
        "StackResources": [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": resource.made.ref,
                "ResourceType": resource.kind,
                "ResourceStatus": "CREATE_COMPLETE",
                "StackName": stack.name,
                "Timestamp": stack.created_at.isoformat(),
            }
            for name, resource in stack.resources.items()
        ]
    }


def _delete_stack(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    wanted = form["StackName"]
    for stack in list(stacks.stacks.values()):
        if wanted in {stack.name, stack.arn}:
            stacks.delete(stack)
    return {}


def _validate_template(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    try:
        sections = read_template(_body(stacks, form))
    except TemplateError as err:
        raise StackError(f"Template format error: {err}") from err
    return {
        "Parameters": [{"ParameterKey": name} for name in sections.get("Parameters", {})],
        "Description": sections.get("Description", ""),
    }


def _template_summary(stacks: Stacks, form: Mapping[str, str]) -> dict[str, Any]:
    body = stacks.find(form["StackName"]).body if "StackName" in form else _body(stacks, form)
    sections = read_template(body)
    return {
        "Parameters": [
            {"ParameterKey": name, "ParameterType": rules["Type"]}
            for name, rules in sections.get("Parameters", {}).items()
        ]
    }


_ACTIONS: Final[Mapping[str, Callable[[Stacks, Mapping[str, str]], dict[str, Any]]]] = {
    "CreateChangeSet": _create_change_set,
    "DescribeChangeSet": _describe_change_set,
    "ExecuteChangeSet": _execute_change_set,
    "DeleteChangeSet": _delete_change_set,
    "DescribeStacks": _describe_stacks,
    "DescribeStackEvents": _describe_stack_events,
    "DescribeStackResources": _describe_stack_resources,
    "DeleteStack": _delete_stack,
    "ValidateTemplate": _validate_template,
    "GetTemplateSummary": _template_summary,
}
