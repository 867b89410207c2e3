"""EventBridge: events reach the targets of the rules that they match, or a dead-letter queue.

Delivery is at least once and in no order; :class:`Fate` chooses which of it happens.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import ClientError

from local_aws.endpoint import ACCOUNT, REGION, connect, key_of_role
from local_aws.interpreter import StateClock, patch
from local_aws.patterns import PatternError, check_pattern, pattern_matches
from local_aws.resources import Client

LOGGER: Final = logging.getLogger(__name__)

_SERVICE: Final = "events.amazonaws.com"
_FINAL_ERRORS: Final = {
    "AccessDeniedException",
    "InvalidExecutionInput",
    "StateMachineDoesNotExist",
}
"""Errors of a target after which EventBridge does not try again.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
"""

_MOST_RETRIES: Final = 185
_LONGEST_S: Final = 86_400
_LONGEST_PAUSE_S: Final = 300.0


class Fate(Enum):
    """What happens to an event that is sent."""

    ONCE = auto()
    TWICE = auto()
    HELD = auto()
    LOST = auto()


class TargetRefused(Exception):
    """A target does not take an event.

    Attributes:
        code: The code of the error.
        is_final: Whether trying again is of no use.
    """

    def __init__(self, code: str, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.code = code
        self.is_final = is_final


@dataclass(slots=True)
class Bus:
    """The default event bus.

    Attributes:
        endpoint: Where the services answer.
        client: An administrator's clients.
        clock: Whose pace the pauses before retries have.
        fate: What happens to the events that are sent from now on.
        sent: The events that were sent, whatever happened to them.
        held: Those that wait to be released.
    """

    endpoint: str
    client: Client
    clock: StateClock
    fate: Fate = Fate.ONCE
    sent: list[dict[str, Any]] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)
    _deliveries: list[threading.Thread] = field(default_factory=list)

    def send(self, event: dict[str, Any]) -> None:
        """Send an event; it is delivered in the background."""
        self.sent.append(event)
        if self.fate is Fate.HELD:
            self.held.append(event)
        elif self.fate is not Fate.LOST and _rules_for(event):
            for _ in range(2 if self.fate is Fate.TWICE else 1):
                self._deliver_later(event)

    def release(self, *, newest_first: bool = False) -> None:
        """Deliver the events that are held, one after the other."""
        events, self.held = self.held, []
        for event in reversed(events) if newest_first else events:
            self.deliver(event)

    def wait(self) -> None:
        """Wait until every event that was sent has been delivered, or given up."""
        while self._deliveries:
            self._deliveries.pop().join()

    def _deliver_later(self, event: dict[str, Any]) -> None:
        thread = threading.Thread(target=self.deliver, args=(event,), daemon=True)
        self._deliveries.append(thread)
        thread.start()

    def deliver(self, event: Mapping[str, Any]) -> None:
        """Deliver an event to the targets of every rule that it matches."""
        for rule in _rules_for(event):
            for target in list(rule.targets):
                self._deliver_to(target, rule.arn, event)

    def _deliver_to(
        self, target: Mapping[str, Any], rule_arn: str, event: Mapping[str, Any]
    ) -> None:
        policy = target.get("RetryPolicy", {})
        most_retries = policy.get("MaximumRetryAttempts", _MOST_RETRIES)
        longest_s = policy.get("MaximumEventAgeInSeconds", _LONGEST_S)
        text, age_s, retries = transformed(target, event), 0.0, 0
        while True:
            try:
                return self._offer(target, rule_arn, text)
            except TargetRefused as err:
                pause_s, exhausted = min(_LONGEST_PAUSE_S, 2.0**retries), ""
                if retries >= most_retries:
                    exhausted = "MaximumRetryAttempts"
                elif age_s + pause_s > longest_s:
                    exhausted = "MaximumEventAgeInSeconds"
                if err.is_final or exhausted:
                    return self._bury(target, rule_arn, text, err, retries, exhausted)
            time.sleep(pause_s * self.clock.pace)
            age_s, retries = age_s + pause_s, retries + 1

    def _offer(self, target: Mapping[str, Any], rule_arn: str, text: str) -> None:
        service = target["Arn"].split(":")[2]
        if service == "sns":
            self._publish(target["Arn"], text)
        elif service == "sqs":
            self._enqueue(target["Arn"], rule_arn, text, {})
        else:
            self._start(target, text)

    def _publish(self, topic: str, text: str) -> None:
        sns = self.client("sns")
        try:
            policy = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
        except sns.exceptions.NotFoundException as err:
            raise TargetRefused("NotFound", str(err), is_final=True) from err
        if not takes_from_rules(json.loads(policy)):
            raise TargetRefused("NO_PERMISSIONS", f"{topic} takes no events", is_final=True)
        # A text template is a JSON text; a topic receives what it says.
        sns.publish(TopicArn=topic, Message=json.loads(text) if text.startswith('"') else text)

    def _start(self, target: Mapping[str, Any], text: str) -> None:
        role = target["RoleArn"]
        found = self.client("iam").get_role(RoleName=role.rsplit("/", 1)[-1])["Role"]
        if not trusts(found["AssumeRolePolicyDocument"], _SERVICE):
            raise TargetRefused(
                "NO_PERMISSIONS", f"{role} does not trust {_SERVICE}", is_final=True
            )
        steps = connect(self.endpoint, "stepfunctions", key_of_role(role))
        try:
            steps.start_execution(stateMachineArn=target["Arn"], input=text)
        except ClientError as err:
            code = err.response["Error"]["Code"]
            raise TargetRefused(code, str(err), is_final=code in _FINAL_ERRORS) from err

    def _enqueue(self, queue: str, rule_arn: str, text: str, attributes: Mapping[str, str]) -> None:
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue.rsplit(":", 1)[-1])["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        policy = json.loads(found.get("Attributes", {}).get("Policy") or '{"Statement": []}')
        if not queue_takes(policy, rule_arn):
            raise TargetRefused("NO_PERMISSIONS", f"{queue} takes no {rule_arn}", is_final=True)
        named = {
            key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()
        }
        sqs.send_message(QueueUrl=url, MessageBody=text, MessageAttributes=named)

    def _bury(
        self,
        target: Mapping[str, Any],
        rule_arn: str,
        text: str,
        refusal: TargetRefused,
        retries: int,
        exhausted: str,
    ) -> None:
        queue = target.get("DeadLetterConfig", {}).get("Arn")
        if not queue:
            LOGGER.warning("an event is lost: %s: %s", rule_arn, refusal)
            return
        attributes = {
            "RULE_ARN": rule_arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": refusal.code,
            "ERROR_MESSAGE": str(refusal),
            "RETRY_ATTEMPTS": str(retries),
        }
        if exhausted:
            attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
        try:
            self._enqueue(queue, rule_arn, text, attributes)
        except TargetRefused as err:
            LOGGER.warning("an event is lost: %s", err)


def _rules_for(event: Mapping[str, Any]) -> list[Any]:
    """Return moto's rules that match an event."""
    from moto.events.models import events_backends

    rules = events_backends[ACCOUNT][REGION].event_buses["default"].rules
    return [
        rule
        for rule in list(rules.values())
        if rule.state == "ENABLED"
        and rule.event_pattern.get_pattern()
        and pattern_matches(rule.event_pattern.get_pattern(), event)
    ]


def install() -> None:
    """Let moto refuse the rules and targets that EventBridge refuses."""
    from moto.events.exceptions import InvalidEventPatternException, ValidationException
    from moto.events.models import EventPatternParser, EventsBackend

    def validate(_parser: Any, pattern: Any) -> None:
        try:
            check_pattern(pattern)
        except PatternError as err:
            raise InvalidEventPatternException(reason=str(err)) from err

    puts = EventsBackend.put_targets

    def put_targets(self: Any, name: str, bus: str | None, targets: list[dict[str, Any]]) -> None:
        for target in targets:
            if problem := _problem_of_target(target):
                raise ValidationException(problem)
        puts(self, name, bus, targets)

    patch(EventPatternParser, _validate_event_pattern=validate)
    patch(EventsBackend, put_targets=put_targets)


def _problem_of_target(target: Mapping[str, Any]) -> str:
    arn, policy = target["Arn"], target.get("RetryPolicy", {})
    service = (arn.split(":") + [""] * 2)[2]
    if service not in {"sns", "sqs", "states"}:
        return f"Target {arn} is of a service that is not known here."
    if service == "states" and not target.get("RoleArn"):
        return f"RoleArn is required for target {arn}."
    if "InputPath" in target:
        return f"InputPath of target {arn} is not known here."
    if not 0 <= policy.get("MaximumRetryAttempts", 0) <= _MOST_RETRIES:
        return f"MaximumRetryAttempts must be from 0 to {_MOST_RETRIES}."
    if not 60 <= policy.get("MaximumEventAgeInSeconds", 60) <= _LONGEST_S:
        return f"MaximumEventAgeInSeconds must be from 60 to {_LONGEST_S}."
    queue = target.get("DeadLetterConfig", {}).get("Arn", "arn:aws:sqs:")
    if queue.split(":")[2] != "sqs":
        return f"The dead-letter queue {queue} is not a queue."
    return ""


def transformed(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """Return the JSON that a target receives for an event.

    In a template that is a text, names in angle brackets stand for what is written there; in
    one that is another JSON value, for JSON values.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    if "Input" in target:
        return str(target["Input"])
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    values = {name: _at(path, event) for name, path in transformer["InputPathsMap"].items()}
    template = str(transformer["InputTemplate"])
    is_text = template.startswith('"')

    def fill(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        value = values[found[1]]
        return str(value) if is_text else json.dumps(value)

    text = re.sub(r"<([A-Za-z][\w.-]*)>", fill, template)
    return json.dumps(json.loads(text, strict=False))


def _at(path: str, event: Mapping[str, Any]) -> Any:
    found: Any = event
    for name in path.removeprefix("$.").split("."):
        found = found[name]
    return found


def event_of(source: str, kind: str, account: str, region: str, resource: str) -> dict[str, Any]:
    """Return an event without its detail."""
    return {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": kind,
        "source": source,
        "account": account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [resource],
    }


def execution_event(execution: Any) -> dict[str, Any]:
    """Return the event of an execution's end."""
    detail: dict[str, Any] = {
        "executionArn": execution.exec_arn,
        "stateMachineArn": execution.state_machine.arn,
        "name": execution.name,
        "status": str(execution.exec_status.value),
        "input": execution.execution_input,
    }
    if execution.error is not None:
        detail["error"] = execution.error
    if execution.cause is not None:
        detail["cause"] = execution.cause
    kind = "Step Functions Execution Status Change"
    owner = (execution.account_id, execution.region_name)
    return {**event_of("aws.states", kind, *owner, execution.exec_arn), "detail": detail}


def takes_from_rules(policy: Mapping[str, Any]) -> bool:
    """Return whether a topic's policy lets the rules of EventBridge publish.

    EventBridge passes nothing that a condition could be about, so a statement with one
    never applies.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
    """
    for statement in policy["Statement"]:
        if _is_for(statement, _SERVICE) and not statement.get("Condition"):
            return bool(statement["Effect"] == "Allow")
    return False


def queue_takes(policy: Mapping[str, Any], rule_arn: str) -> bool:
    """Return whether a queue's policy lets a rule send messages."""
    return any(
        statement["Effect"] == "Allow"
        and _is_for(statement, _SERVICE)
        and _is_about(statement.get("Condition", {}), rule_arn)
        for statement in policy["Statement"]
    )


def _is_about(condition: Mapping[str, Any], rule_arn: str) -> bool:
    for test, wanted in condition.items():
        if test != "ArnEquals" or wanted.keys() != {"aws:SourceArn"}:
            raise ValueError(f"conditions like {test} of a queue's policy are not known here")
        arns = wanted["aws:SourceArn"]
        if rule_arn not in ([arns] if isinstance(arns, str) else arns):
            return False
    return True


def trusts(policy: Mapping[str, Any], service: str) -> bool:
    """Return whether a service may take a role with this trust policy."""
    return any(
        statement["Effect"] == "Allow"
        and statement["Action"] == "sts:AssumeRole"
        and _is_for(statement, service)
        for statement in policy["Statement"]
    )


def _is_for(statement: Mapping[str, Any], service: str) -> bool:
    principal = statement.get("Principal", {})
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    return service in ([services] if isinstance(services, str) else services)
