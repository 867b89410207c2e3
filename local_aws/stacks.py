"""Stacks and change sets, as CloudFormation has them, over the APIs of this machine's AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.resources import KINDS, Client, Made, Properties, ResourceError
from local_aws.template import (
    Scope,
    TemplateError,
    creation_order,
    default_texts,
    parameter_values,
    read_template,
    require_rules,
)

MAX_BODY_BYTES = 51_200
"""Longest template that can be passed in a request."""

_FAILURES = (ResourceError, TemplateError, ClientError, BotoCoreError, KeyError)


class StackError(Exception):
    """A request that CloudFormation refuses, with the code of its answer."""

    code = "ValidationError"

    @property
    def message(self) -> str:
        """Return the message of the answer."""
        return str(self)


class ChangeSetMissing(StackError):
    """There is no change set of that name."""

    code = "ChangeSetNotFound"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that exists, as part of a stack.

    Attributes:
        kind: Its type.
        properties: What it was last created or updated with.
        made: Its ``Ref`` and attributes.
        policy: Its deletion policy: Delete, Retain or RetainExceptOnCreate.
    """

    kind: str
    properties: Properties
    made: Made
    policy: str

    def is_retained(self, *, rollback: bool) -> bool:
        """Return whether it stays when it leaves its stack.

        ``Retain`` keeps it even when the creation of the stack is rolled back.
        """
        return self.policy == "Retain" or (self.policy == "RetainExceptOnCreate" and not rollback)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set would do to one resource."""

    action: str
    name: str
    kind: str
    replacement: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A template and parameters, compared with the stack; without changes it has failed."""

    arn: str
    name: str
    body: str
    parameters: Mapping[str, str]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stack, with the members that the API names so."""

    stack_name: str
    stack_id: str
    logical_resource_id: str
    resource_type: str
    resource_status: str
    physical_resource_id: str = ""
    resource_status_reason: str = ""
    event_id: str = field(default_factory=lambda: uuid4().hex)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a stack."""

    value: str
    description: str


@dataclass(slots=True)
class Stack:
    """A stack and its history."""

    name: str
    arn: str
    status: str = "REVIEW_IN_PROGRESS"
    reason: str = ""
    body: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    is_protected: bool = False

    def record(self, name: str, kind: str, status: str, ref: str = "", reason: str = "") -> None:
        """Add an event of a resource."""
        self.events.append(Event(self.name, self.arn, name, kind, status, ref, reason))

    def enter(self, status: str, reason: str = "") -> None:
        """Change the stack's own status, with an event."""
        self.status, self.reason = status, reason
        self.record(self.name, "AWS::CloudFormation::Stack", status, self.arn, reason)


@dataclass(slots=True)
class Stacks:
    """All stacks of one account and region."""

    client: Client
    account: str
    region: str
    stacks: dict[str, Stack] = field(default_factory=dict)

    def find(self, name: str) -> Stack:
        """Return a stack by name or ARN.

        Raises:
            StackError: There is none.
        """
        for stack in self.stacks.values():
            if name in {stack.name, stack.arn}:
                return stack
        raise StackError(f"Stack with id {name} does not exist")

    def create_change_set(
        self, stack_name: str, name: str, body: str, parameters: Mapping[str, str]
    ) -> ChangeSet:
        """Compare a template with a stack; the first change set of a name makes the stack.

        Raises:
            StackError: The template cannot be read.
        """
        place = f"arn:aws:cloudformation:{self.region}:{self.account}"
        if stack_name not in self.stacks:
            self.stacks[stack_name] = Stack(stack_name, f"{place}:stack/{stack_name}/{uuid4()}")
        stack = self.stacks[stack_name]
        try:
            in_force = {**default_texts(read_template(body)), **parameters}
            changes = self._compare(stack, body, in_force)
        except _FAILURES as err:
            raise StackError(f"Template validation error: {err}") from err
        made = ChangeSet(f"{place}:changeSet/{name}/{uuid4()}", name, body, in_force, changes)
        stack.change_sets[name] = made
        return made

    def execute(self, stack: Stack, change_set: ChangeSet) -> None:
        """Apply a change set, and roll back where that fails."""
        is_first = not stack.resources and stack.status == "REVIEW_IN_PROGRESS"
        verb = "CREATE" if is_first else "UPDATE"
        stack.enter(f"{verb}_IN_PROGRESS")
        try:
            self._apply(stack, change_set.body, change_set.parameters)
        except _FAILURES as err:
            if is_first:
                self._remove(stack, set(stack.resources), rollback=True)
                stack.enter("ROLLBACK_COMPLETE", str(err))
            else:
                self._apply(stack, stack.body, stack.parameters)
                stack.enter("UPDATE_ROLLBACK_COMPLETE", str(err))
        else:
            stack.body, stack.parameters = change_set.body, change_set.parameters
            stack.enter(f"{verb}_COMPLETE")
        del stack.change_sets[change_set.name]

    def delete(self, stack: Stack) -> None:
        """Remove a stack and its resources, except those to be retained."""
        try:
            self._remove(stack, set(stack.resources), rollback=False)
        except _FAILURES as err:
            stack.enter("DELETE_FAILED", str(err))
        else:
            del self.stacks[stack.name]

    def _read(
        self, stack: Stack, body: str, parameters: Mapping[str, str]
    ) -> tuple[Scope, dict[str, Any]]:
        """Return a template's scope, and its resources whose condition holds, in order."""
        sections = read_template(body)
        values = parameter_values(sections, parameters)
        values |= {
            "AWS::AccountId": self.account,
            "AWS::Region": self.region,
            "AWS::StackName": stack.name,
            "AWS::StackId": stack.arn,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
        }
        scope = Scope(sections, values, zones=tuple(f"{self.region}{zone}" for zone in "abc"))
        require_rules(scope)
        wanted = {name: item for name, item in sections["Resources"].items() if scope.has(item)}
        for name, resource in wanted.items():
            if resource["Type"] not in KINDS:
                raise ResourceError(f"{name}: the type {resource['Type']} is not known here")
        return scope, {name: wanted[name] for name in creation_order(wanted)}

    def _compare(
        self, stack: Stack, body: str, parameters: Mapping[str, str]
    ) -> tuple[Change, ...]:
        scope, wanted = self._read(stack, body, parameters)
        changes = []
        for name, template in wanted.items():
            _, change = _compared(stack, scope, name, template)
            if change:
                changes.append(change)
            old = stack.resources.get(name)
            made = old.made if old else _stand_in(name)
            scope.publish(name, made.ref, made.attributes)
        removed = [name for name in stack.resources if name not in wanted]
        return (*changes, *(Change("Remove", name, stack.resources[name].kind) for name in removed))

    def _apply(self, stack: Stack, body: str, parameters: Mapping[str, str]) -> None:
        scope, wanted = self._read(stack, body, parameters)
        for name, template in wanted.items():
            kind = template["Type"]
            try:
                self._create_or_update(stack, scope, name, template)
            except _FAILURES as err:
                stack.record(name, kind, "CREATE_FAILED", reason=str(err))
                raise ResourceError(f"{name} ({kind}): {err}") from err
            made = stack.resources[name].made
            scope.publish(name, made.ref, made.attributes)
        self._remove(stack, stack.resources.keys() - wanted.keys(), rollback=False)
        stack.outputs = {
            name: Output(str(scope.resolve(output["Value"])), output.get("Description", ""))
            for name, output in scope.sections.get("Outputs", {}).items()
            if scope.has(output)
        }

    def _create_or_update(
        self, stack: Stack, scope: Scope, name: str, template: Mapping[str, Any]
    ) -> None:
        properties, change = _compared(stack, scope, name, template)
        if change is None:
            return
        kind, old = KINDS[change.kind], stack.resources.get(name)
        if old and kind.update and not change.replacement:
            made, verb = kind.update(self.client, old.made, properties), "UPDATE"
        else:
            # The new one comes first, so a replacement under the same name is refused.
            made, verb = kind.create(self.client, properties), "CREATE"
            if old:
                kind.delete(self.client, old.made.ref, old.properties)
        policy = template.get("DeletionPolicy", "Delete")
        stack.resources[name] = Resource(change.kind, properties, made, policy)
        stack.record(name, change.kind, f"{verb}_COMPLETE", made.ref)

    def _remove(self, stack: Stack, names: set[str], *, rollback: bool) -> None:
        made_in_order = [name for name in stack.resources if name in names]
        for name in reversed(made_in_order):
            resource = stack.resources[name]
            if not resource.is_retained(rollback=rollback):
                KINDS[resource.kind].delete(self.client, resource.made.ref, resource.properties)
                stack.record(name, resource.kind, "DELETE_COMPLETE", resource.made.ref)
            del stack.resources[name]


def _compared(
    stack: Stack, scope: Scope, name: str, template: Mapping[str, Any]
) -> tuple[Properties, Change | None]:
    """Return a resource's properties, and its change if it is not as they say."""
    kind, new = template["Type"], scope.resolve(template.get("Properties", {}))
    if name not in stack.resources:
        return new, Change("Add", name, kind)
    old = stack.resources[name].properties
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if not changed:
        return new, None
    replaced = KINDS[kind].update is None or not changed.isdisjoint(KINDS[kind].replaced_by)
    return new, Change("Modify", name, kind, replaced)


def _stand_in(name: str) -> Made:
    """Return what others refer to while a resource does not exist yet."""
    names = ("Arn", "RepositoryUri", "GroupId", "Name", "QueueName", "TopicName", "Id")
    return Made(f"<{name}>", {attribute: f"<{name}.{attribute}>" for attribute in names})
