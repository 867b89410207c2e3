"""What every resource type has, and the ways in which most of them are made and removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Properties = dict[str, Any]
Client = Callable[[str], Any]


class ResourceError(Exception):
    """A resource cannot be made or changed as the template says."""


@dataclass(frozen=True, slots=True)
class Made:
    """A resource that is there.

    Attributes:
        ref: What ``Ref`` gives.
        attributes: What ``Fn::GetAtt`` gives, by attribute.
    """

    ref: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type.

    Attributes:
        create: Makes a resource from its properties.
        delete: Removes it, given its ``Ref`` and its properties.
        update: Changes it in place; None makes every change a replacement.
        replaced_by: Properties whose change makes a new resource.
    """

    create: Callable[[Client, Properties], Made]
    delete: Callable[[Client, str, Properties], None]
    update: Callable[[Client, Made, Properties], Made] | None = None
    replaced_by: frozenset[str] = frozenset()


class Taken:
    """Properties, each of which has to be used."""

    def __init__(self, properties: Properties) -> None:
        self._left = dict(properties)

    def __call__(self, name: str, default: Any = None) -> Any:
        """Take a property."""
        return self._left.pop(name, default)

    def require_none_left(self) -> None:
        """Raise ResourceError if a property was not taken."""
        if self._left:
            raise ResourceError(f"properties not known here: {', '.join(sorted(self._left))}")


def lower_first(value: Any) -> Any:
    """Return a template's properties in the spelling of the APIs that start in lower case."""
    if isinstance(value, list):
        return [lower_first(item) for item in value]
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: lower_first(item) for key, item in value.items()}
    return value


def text(document: Any) -> str:
    """Return a document as the text that the APIs take."""
    return document if isinstance(document, str) else json.dumps(document)


def nothing(_client: Client, _ref: str, _properties: Properties) -> None:
    """Remove nothing: it goes with what it belongs to."""


def by_api(service: str, call: str, parameter: str) -> Callable[[Client, str, Properties], None]:
    """Return a removal by one call that takes the ``Ref``."""

    def delete(client: Client, ref: str, _properties: Properties) -> None:
        try:
            getattr(client(service), call)(**{parameter: ref})
        except ClientError as err:
            missing = {
                "NoSuchEntity",
                "ResourceNotFoundException",
                "NotFound",
                "NoSuchBucketPolicy",
            }
            if err.response["Error"]["Code"] not in missing:
                raise

    return delete


def in_place(
    create: Callable[[Client, Properties], Made],
) -> Callable[[Client, Made, Properties], Made]:
    """Return a change by the same call that creates."""
    return lambda client, _made, properties: create(client, properties)


def simple(service: str, call: str, *path: str) -> Callable[[Client, Properties], Made]:
    """Return a creation by one call; the path leads to the ``Ref`` in its answer."""

    def create(client: Client, properties: Properties) -> Made:
        found = getattr(client(service), call)(**properties)
        for name in path:
            found = found[name]
        return Made(str(found))

    return create
