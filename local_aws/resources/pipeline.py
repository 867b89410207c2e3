"""Step Functions and EventBridge Scheduler."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from local_aws.resources import api
from local_aws.resources.api import Client, Kind, Made, Properties


def _state_machine(client: Client, properties: Properties) -> Made:
    names = {"StateMachineName": "name", "StateMachineType": "type"}
    request = api.renamed(_with_definition(client, properties), **names)
    arn = api.send(client, "stepfunctions", "CreateStateMachine", request)["stateMachineArn"]
    return Made(arn, {"Arn": arn, "Name": properties["StateMachineName"]})


def _update_state_machine(client: Client, made: Made, properties: Properties) -> Made:
    wanted = api.without(properties, "StateMachineName", "StateMachineType")
    request = {"StateMachineArn": made.ref, **_with_definition(client, wanted)}
    api.send(client, "stepfunctions", "UpdateStateMachine", request)
    return made


def _with_definition(client: Client, properties: Properties) -> dict[str, Any]:
    """Fetch the definition and fill it in, as CloudFormation does for the service."""
    where = properties["DefinitionS3Location"]
    if not isinstance(where, dict):
        raise api.ResourceError(
            f"DefinitionS3Location {where!r}: the template has to be packaged first"
        )
    text = client("s3").get_object(**where)["Body"].read().decode()
    for name, value in properties.get("DefinitionSubstitutions", {}).items():
        if f"${{{name}}}" not in text:
            raise api.ResourceError(f"the definition has no place for ${{{name}}}")
        text = text.replace(f"${{{name}}}", json.dumps(value)[1:-1])
    if "${" in text:
        raise api.ResourceError(f"not filled in: {text[text.index('${') :].split('}')[0]}}}")
    return {
        **api.without(properties, "DefinitionS3Location", "DefinitionSubstitutions"),
        "Definition": text,
        "LoggingConfiguration": _logging(properties["LoggingConfiguration"]),
    }


def _logging(configuration: Properties) -> dict[str, Any]:
    """Name all streams of each log group, which the service asks for and a group's ARN lacks."""
    groups = [found["CloudWatchLogsLogGroup"] for found in configuration["Destinations"]]
    destinations = [
        {"CloudWatchLogsLogGroup": {"LogGroupArn": group["LogGroupArn"].removesuffix(":*") + ":*"}}
        for group in groups
    ]
    return {**configuration, "Destinations": destinations}


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::StepFunctions::StateMachine": Kind(
        _state_machine,
        api.deleted_by("stepfunctions", "DeleteStateMachine", stateMachineArn="Ref"),
        _update_state_machine,
        frozenset({"StateMachineName", "StateMachineType"}),
    ),
    "AWS::Scheduler::Schedule": Kind(
        api.created_by("scheduler", "CreateSchedule", "Name"),
        api.deleted_by("scheduler", "DeleteSchedule", Name="Ref"),
        api.updated_by("scheduler", "UpdateSchedule"),
        frozenset({"Name"}),
    ),
}
