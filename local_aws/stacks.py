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
    """A request that CloudFormation answers with a ValidationError."""


@dataclass(slots=True)
class Resource:
    """A resource of a stack that is there.

    Attributes:
        kind: Its type.
        properties: What it was made with.
        made: What refers to it.
        policy: Its deletion policy: Delete, Retain or RetainExceptOnCreate.
    """

    kind: str
    properties: Properties
    made: Made
    policy: str

    def outlives(self, *, rollback: bool) -> bool:
        """Tell whether it stays when its stack lets go of it.

        ``Retain`` keeps it even when the creation of the stack is rolled back.
        """
        return self.policy == "Retain" or (self.policy == "RetainExceptOnCreate" and not rollback)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set would do to one resource."""

    action: str
    name: str
    kind: str
    replacement: bool


@dataclass(slots=True)
class ChangeSet:
    """A template and parameters, compared with what is there."""

    arn: str
    name: str
    body: str
    given: dict[str, str]
    changes: list[Change]
    status: str
    reason: str = ""


@dataclass(slots=True)
class Stack:
    """A stack and everything that was done to it."""

    name: str
    arn: str
    status: str = "REVIEW_IN_PROGRESS"
    reason: str = ""
    body: str = ""
    given: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    change_sets: dict[str, ChangeSet] = field(default_factory=dict)
    events: list[dict[str, str]] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def tell(self, name: str, kind: str, status: str, ref: str = "", reason: str = "") -> None:
        """Add an event."""
        self.events.append(
            {
                "EventId": uuid4().hex,
                "StackName": self.name,
                "StackId": self.arn,
                "LogicalResourceId": name,
                "PhysicalResourceId": ref,
                "ResourceType": kind,
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "Timestamp": datetime.now(UTC).isoformat(),
            }
        )


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

    def propose(self, name: str, change_set: str, body: str, given: Mapping[str, str]) -> ChangeSet:
        """Compare a template with a stack; a stack that is not there is begun.

        Raises:
            StackError: The template is too long, or cannot be read.
        """
        if len(body.encode()) > MAX_BODY_BYTES:
            raise StackError(f"templateBody: at most {MAX_BODY_BYTES} bytes, pass it through S3")
        if name not in self.stacks:
            arn = f"arn:aws:cloudformation:{self.region}:{self.account}:stack/{name}/{uuid4()}"
            self.stacks[name] = Stack(name, arn)
        stack = self.stacks[name]
        arn = stack.arn.replace(":stack/", ":changeSet/").replace(name, change_set, 1)
        try:
            in_force = {**default_texts(read_template(body)), **given}
            changes = self._compare(stack, body, in_force)
        except _FAILURES as err:
            raise StackError(f"Template validation error: {err}") from err
        status = "CREATE_COMPLETE" if changes else "FAILED"
        reason = "" if changes else "The submitted information didn't contain changes."
        proposal = ChangeSet(arn, change_set, body, in_force, changes, status, reason)
        stack.change_sets[change_set] = proposal
        return proposal

    def execute(self, stack: Stack, proposal: ChangeSet) -> None:
        """Do what a change set says; what fails is taken back."""
        first = not stack.resources and stack.status == "REVIEW_IN_PROGRESS"
        verb = "CREATE" if first else "UPDATE"
        before = (stack.body, stack.given)
        stack.tell(stack.name, "AWS::CloudFormation::Stack", f"{verb}_IN_PROGRESS")
        try:
            self._apply(stack, proposal.body, proposal.given)
        except _FAILURES as err:
            stack.reason = str(err)
            if first:
                self._remove(stack, set(stack.resources), rollback=True)
                stack.status = "ROLLBACK_COMPLETE"
            else:
                self._apply(stack, *before)
                stack.status = "UPDATE_ROLLBACK_COMPLETE"
        else:
            stack.reason = ""
            stack.status = f"{verb}_COMPLETE"
            stack.body, stack.given = proposal.body, proposal.given
        del stack.change_sets[proposal.name]
        stack.tell(stack.name, "AWS::CloudFormation::Stack", stack.status, reason=stack.reason)

    def delete(self, stack: Stack) -> None:
        """Remove a stack and what is not to be retained."""
        try:
            self._remove(stack, set(stack.resources), rollback=False)
        except _FAILURES as err:
            stack.status, stack.reason = "DELETE_FAILED", str(err)
            stack.tell(stack.name, "AWS::CloudFormation::Stack", stack.status, reason=stack.reason)
            return
        del self.stacks[stack.name]

    def _scope(self, stack: Stack, body: str, given: Mapping[str, str]) -> Scope:
        sections = read_template(body)
        values = parameter_values(sections, given)
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
        return scope

    def _wanted(self, scope: Scope) -> dict[str, Any]:
        wanted = {
            name: resource
            for name, resource in scope.sections["Resources"].items()
            if "Condition" not in resource or scope.holds(resource["Condition"])
        }
        for name, resource in wanted.items():
            if resource["Type"] not in KINDS:
                raise ResourceError(f"{name}: the type {resource['Type']} is not known here")
        return wanted

    def _compare(self, stack: Stack, body: str, given: Mapping[str, str]) -> list[Change]:
        scope = self._scope(stack, body, given)
        wanted = self._wanted(scope)
        changes = []
        for name in creation_order(wanted):
            kind = wanted[name]["Type"]
            old = stack.resources.get(name)
            if old is None:
                changes.append(Change("Add", name, kind, replacement=False))
                _stand_in(scope, name)
                continue
            changed = _differences(
                old.properties, scope.resolve(wanted[name].get("Properties", {}))
            )
            if changed:
                new = KINDS[kind].update is None or bool(changed & KINDS[kind].replaced_by)
                changes.append(Change("Modify", name, kind, replacement=new))
            _publish(scope, name, old.made)
        gone = [name for name in stack.resources if name not in wanted]
        changes += [Change("Remove", name, stack.resources[name].kind, False) for name in gone]
        return changes

    def _apply(self, stack: Stack, body: str, given: Mapping[str, str]) -> None:
        scope = self._scope(stack, body, given)
        wanted = self._wanted(scope)
        for name in creation_order(wanted):
            template = wanted[name]
            try:
                self._bring_up(stack, scope, name, template)
            except _FAILURES as err:
                stack.tell(name, template["Type"], "CREATE_FAILED", reason=str(err))
                raise ResourceError(f"{name} ({template['Type']}): {err}") from err
            _publish(scope, name, stack.resources[name].made)
        self._remove(stack, stack.resources.keys() - wanted.keys(), rollback=False)
        stack.outputs = {
            name: (str(scope.resolve(output["Value"])), output.get("Description", ""))
            for name, output in scope.sections.get("Outputs", {}).items()
            if "Condition" not in output or scope.holds(output["Condition"])
        }

    def _bring_up(self, stack: Stack, scope: Scope, name: str, template: Mapping[str, Any]) -> None:
        kind = KINDS[template["Type"]]
        properties = scope.resolve(template.get("Properties", {}))
        policy = template.get("DeletionPolicy", "Delete")
        old = stack.resources.get(name)
        changed = _differences(old.properties, properties) if old else set()
        if old and not changed:
            return
        if old and kind.update and not changed & kind.replaced_by:
            made, verb = kind.update(self.client, old.made, properties), "UPDATE"
        else:
            if old:
                kind.delete(self.client, old.made.ref, old.properties)
            made, verb = kind.create(self.client, properties), "CREATE"
        stack.resources[name] = Resource(template["Type"], properties, made, policy)
        stack.tell(name, template["Type"], f"{verb}_COMPLETE", made.ref)

    def _remove(self, stack: Stack, names: set[str], *, rollback: bool) -> None:
        made_in_order = [name for name in stack.resources if name in names]
        for name in reversed(made_in_order):
            resource = stack.resources[name]
            if not resource.outlives(rollback=rollback):
                KINDS[resource.kind].delete(self.client, resource.made.ref, resource.properties)
                stack.tell(name, resource.kind, "DELETE_COMPLETE", resource.made.ref)
            del stack.resources[name]


def _stand_in(scope: Scope, name: str) -> None:
    """Let others refer to a resource that is yet to be made."""
    scope.values[name] = f"<{name}>"
    for attribute in ("Arn", "RepositoryUri", "GroupId", "Name", "QueueName", "TopicName", "Id"):
        scope.attributes[name, attribute] = f"<{name}.{attribute}>"


def _publish(scope: Scope, name: str, made: Made) -> None:
    scope.values[name] = made.ref
    for attribute, value in made.attributes.items():
        scope.attributes[name, attribute] = value


def _differences(old: Properties, new: Properties) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
