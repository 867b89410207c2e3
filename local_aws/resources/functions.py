"""Functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from local_aws.resources.kinds import (
    Client,
    Kind,
    Made,
    Properties,
    Taken,
    by_api,
)


def _function(client: Client, properties: Properties) -> Made:
    wanted = {**properties, "MemorySize": int(properties["MemorySize"])}
    wanted["Timeout"] = int(properties["Timeout"])
    wanted["Environment"] = _environment(properties)
    found = client("lambda").create_function(**wanted)
    return Made(found["FunctionName"], {"Arn": found["FunctionArn"]})


def _environment(properties: Properties) -> Properties:
    variables = properties["Environment"]["Variables"]
    return {"Variables": {name: str(value) for name, value in variables.items()}}


def _update_function(client: Client, made: Made, properties: Properties) -> Made:
    take, functions = Taken(properties), client("lambda")
    name = take("FunctionName")
    functions.update_function_code(FunctionName=name, ImageUri=take("Code")["ImageUri"])
    functions.update_function_configuration(
        FunctionName=name,
        Role=take("Role"),
        ImageConfig=take("ImageConfig"),
        MemorySize=int(take("MemorySize")),
        Timeout=int(take("Timeout")),
        TracingConfig=take("TracingConfig"),
        LoggingConfig=take("LoggingConfig"),
        Environment=_environment({"Environment": take("Environment")}),
    )
    take("PackageType")
    take.require_none_left()
    return made


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::Lambda::Function": Kind(
        _function,
        by_api("lambda", "delete_function", "FunctionName"),
        _update_function,
        frozenset({"FunctionName", "PackageType"}),
    ),
}
