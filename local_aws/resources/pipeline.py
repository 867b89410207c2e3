"""State machines and the schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from local_aws.resources.kinds import (
    Client,
    Kind,
    Made,
    Properties,
    ResourceError,
    Taken,
    by_api,
    lower_first,
)


def _definition(client: Client, take: Taken) -> str:
    where = take("DefinitionS3Location")
    if not isinstance(where, dict):
        raise ResourceError(
            f"DefinitionS3Location {where!r}: the template has to be packaged first"
        )
    text = client("s3").get_object(**where)["Body"].read().decode()
    for name, value in take("DefinitionSubstitutions", {}).items():
        if f"${{{name}}}" not in text:
            raise ResourceError(f"the definition has no place for ${{{name}}}")
        text = text.replace(f"${{{name}}}", json.dumps(value)[1:-1])
    if "${" in text:
        raise ResourceError(f"not filled in: {text[text.index('${') :].split('}')[0]}}}")
    return str(text)


def _state_machine(client: Client, properties: Properties) -> Made:
    take = Taken(properties)
    name = take("StateMachineName")
    arn = client("stepfunctions").create_state_machine(
        name=name,
        type=take("StateMachineType"),
        roleArn=take("RoleArn"),
        definition=_definition(client, take),
        loggingConfiguration=_logging(take),
        tracingConfiguration=lower_first(take("TracingConfiguration")),
    )["stateMachineArn"]
    take.require_none_left()
    return Made(arn, {"Arn": arn, "Name": name})


def _logging(take: Taken) -> Properties:
    configuration: Properties = lower_first(take("LoggingConfiguration"))
    for destination in configuration["destinations"]:
        group = destination["cloudWatchLogsLogGroup"]
        if not group["logGroupArn"].endswith(":*"):
            group["logGroupArn"] += ":*"
    return configuration


def _update_state_machine(client: Client, made: Made, properties: Properties) -> Made:
    take = Taken(properties)
    take("StateMachineName")
    take("StateMachineType")
    client("stepfunctions").update_state_machine(
        stateMachineArn=made.ref,
        roleArn=take("RoleArn"),
        definition=_definition(client, take),
        loggingConfiguration=_logging(take),
        tracingConfiguration=lower_first(take("TracingConfiguration")),
    )
    take.require_none_left()
    return made


def _schedule(client: Client, properties: Properties) -> Made:
    client("scheduler").create_schedule(**_schedule_properties(properties))
    return Made(properties["Name"])


def _update_schedule(client: Client, made: Made, properties: Properties) -> Made:
    client("scheduler").update_schedule(**_schedule_properties(properties))
    return made


def _schedule_properties(properties: Properties) -> Properties:
    target = dict(properties["Target"])
    target["RetryPolicy"] = {name: int(value) for name, value in target["RetryPolicy"].items()}
    return {**properties, "Target": target}


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::StepFunctions::StateMachine": Kind(
        _state_machine,
        by_api("stepfunctions", "delete_state_machine", "stateMachineArn"),
        _update_state_machine,
        frozenset({"StateMachineName", "StateMachineType"}),
    ),
    "AWS::Scheduler::Schedule": Kind(
        _schedule,
        by_api("scheduler", "delete_schedule", "Name"),
        _update_schedule,
        frozenset({"Name"}),
    ),
}
