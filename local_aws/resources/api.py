"""Resource types: how one is created, updated and deleted by the API of its service.

Most types are one call with the template's own properties, brought into the spelling and
the types of the request by botocore's model of the service. Whatever the request does not
have is an error: what a deployment did not apply must not look applied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import botocore.session
import jmespath
from botocore import xform_name
from botocore.exceptions import ClientError

Properties = Mapping[str, Any]
Client = Callable[[str], Any]

_MISSING: Final = {"NoSuchEntity", "ResourceNotFoundException", "NotFound", "NoSuchBucketPolicy"}


class ResourceError(Exception):
    """A resource cannot be created or updated as the template says."""


@dataclass(frozen=True, slots=True)
class Made:
    """A resource that exists.

    Attributes:
        ref: The value of ``Ref``.
        attributes: The values of ``Fn::GetAtt``, by attribute.
    """

    ref: str
    attributes: Mapping[str, str] = field(default_factory=dict)


Create = Callable[[Client, Properties], Made]
Update = Callable[[Client, Made, Properties], Made]
Delete = Callable[[Client, str, Properties], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type.

    Attributes:
        create: Creates a resource from its properties.
        delete: Deletes it, given its ``Ref`` and its properties.
        update: Updates it in place; None makes every change a replacement.
        replaced_by: Properties whose change makes a new resource.
    """

    create: Create
    delete: Delete
    update: Update | None = None
    replaced_by: frozenset[str] = frozenset()


@cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def send(client: Client, service: str, operation: str, properties: Properties) -> dict[str, Any]:
    """Call an operation with properties as its request; returns the answer.

    Raises:
        ResourceError: The request has no member for a property.
    """
    request = check(service, operation, properties)
    answer: dict[str, Any] = getattr(client(service), xform_name(operation))(**request)
    return answer


def check(service: str, operation: str, properties: Properties) -> dict[str, Any]:
    """Return properties as the request of an operation.

    Raises:
        ResourceError: The request has no member for a property.
    """
    shape = _model(service).operation_model(operation).input_shape
    request: dict[str, Any] = _as_request(properties, shape, operation)
    return request


def _as_request(value: Any, shape: Any, path: str) -> Any:
    """Return a value with the names and types of a request.

    Templates begin every name with a capital, pass numbers as texts, and documents as
    structures where the request has a text.
    """
    if shape.type_name == "structure":
        members = {name.casefold(): name for name in shape.members}
        unknown = sorted(name for name in value if name.casefold() not in members)
        if unknown:
            raise ResourceError(f"{path} has no {', '.join(unknown)}: not known here")
        named = {members[name.casefold()]: item for name, item in value.items()}
        return {
            name: _as_request(item, shape.members[name], f"{path}.{name}")
            for name, item in named.items()
        }
    if shape.type_name == "list":
        return [_as_request(item, shape.member, path) for item in value]
    if shape.type_name == "map":
        allowed = getattr(shape.key, "enum", None) or value.keys()
        if unknown := sorted(value.keys() - set(allowed)):
            raise ResourceError(f"{path} has no {', '.join(unknown)}: not known here")
        return {key: _as_request(item, shape.value, path) for key, item in value.items()}
    if shape.type_name in {"integer", "long"}:
        return int(value)
    if shape.type_name in {"float", "double"}:
        return float(value)
    if shape.type_name == "boolean":
        return value if isinstance(value, bool) else value == "true"
    return value if isinstance(value, str) else json.dumps(value)


def without(properties: Properties, *names: str) -> dict[str, Any]:
    """Return the other properties."""
    return {name: value for name, value in properties.items() if name not in names}


def renamed(properties: Properties, **names: str) -> dict[str, Any]:
    """Return properties with some of them, the keys, under the names that the request has."""
    return {names.get(name, name): value for name, value in properties.items()}


def created_by(service: str, operation: str, ref: str, **attributes: str) -> Create:
    """Return a creation by one call.

    Args:
        service: As botocore names it.
        operation: As the API names it.
        ref: Where the ``Ref`` is in the properties and the answer, as a JMESPath expression.
        attributes: Likewise for each attribute.
    """

    def create(client: Client, properties: Properties) -> Made:
        found = {**properties, **send(client, service, operation, properties)}
        values = {name: jmespath.search(path, found) for name, path in attributes.items()}
        return Made(str(jmespath.search(ref, found)), values)

    return create


def updated_by(service: str, operation: str, *left_out: str, **parameters: str) -> Update:
    """Return an update by one call with all properties but some.

    Args:
        service: As botocore names it.
        operation: As the API names it.
        left_out: Properties that cannot change.
        parameters: What else the call takes, as JMESPath expressions over ``Ref`` and properties.
    """

    def update(client: Client, made: Made, properties: Properties) -> Made:
        given = _evaluate(parameters, made.ref, properties)
        send(client, service, operation, {**without(properties, *left_out), **given})
        return made

    return update


def deleted_by(service: str, operation: str, **parameters: str) -> Delete:
    """Return a deletion by one call; a resource that is missing counts as deleted.

    Args:
        service: As botocore names it.
        operation: As the API names it.
        parameters: What the call takes, as JMESPath expressions over ``Ref`` and properties.
    """

    def delete(client: Client, ref: str, properties: Properties) -> None:
        try:
            send(client, service, operation, _evaluate(parameters, ref, properties))
        except ClientError as err:
            if err.response["Error"]["Code"] not in _MISSING:
                raise

    return delete


def _evaluate(parameters: Mapping[str, str], ref: str, properties: Properties) -> Properties:
    found = {**properties, "Ref": ref}
    return {name: jmespath.search(path, found) for name, path in parameters.items()}


def same_call(create: Create) -> Update:
    """Return an update by the call that creates."""
    return lambda client, _made, properties: create(client, properties)


def nothing(_client: Client, _ref: str, _properties: Properties) -> None:
    """Delete nothing: the resource goes with the one that it belongs to."""
