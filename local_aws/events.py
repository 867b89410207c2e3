"""EventBridge's part when an execution ends: rules, patterns, input transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local_aws.resources import Client


def pattern_matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Return whether an event matches a pattern.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern.html

    Raises:
        ValueError: The pattern has a filter that is not known here.
    """
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(pattern_matches(one, event) for one in wanted):
                return False
        elif isinstance(wanted, dict):
            inner = event.get(key)
            if not isinstance(inner, dict) or not pattern_matches(wanted, inner):
                return False
        elif not any(_value_matches(one, event.get(key)) for one in wanted):
            return False
    return True


def _value_matches(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(wanted == found)
    name, argument = next(iter(wanted.items()))
    if name == "exists":
        return (found is not None) is bool(argument)
    if name == "anything-but":
        excluded = argument if isinstance(argument, list) else [argument]
        return found is not None and found not in excluded
    if name == "prefix":
        return isinstance(found, str) and found.startswith(argument)
    raise ValueError(f"the filter {name} is not known here")


def transformed(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """Return the text that a target receives for an event."""
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    values = {name: _at(path, event) for name, path in transformer["InputPathsMap"].items()}

    def fill(found: re.Match[str]) -> str:
        return str(values[found[1]]) if found[1] in values else found[0]

    text = re.sub(r"<([A-Za-z][\w.-]*)>", fill, transformer["InputTemplate"])
    return str(json.loads(text, strict=False)) if text.startswith('"') else text


def _at(path: str, event: Mapping[str, Any]) -> Any:
    found: Any = event
    for name in path.removeprefix("$.").split("."):
        found = found[name]
    return found


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
    return {
        "version": "0",
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "account": execution.account_id,
        "region": execution.region_name,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resources": [execution.exec_arn],
        "detail": detail,
    }


def takes_from_rules(policy: Mapping[str, Any]) -> bool:
    """Return whether a topic's policy lets the rules of EventBridge publish.

    EventBridge passes nothing that a condition could be about, so a statement with one
    never applies.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sns-permissions
    """
    for statement in policy["Statement"]:
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        named = [services] if isinstance(services, str) else services
        if "events.amazonaws.com" in named and not statement.get("Condition"):
            return bool(statement["Effect"] == "Allow")
    return False


def deliver(event: Mapping[str, Any], client: Client) -> None:
    """Send an event to the targets of every rule that it matches.

    An event that a topic refuses goes to the target's dead-letter queue.
    """
    events = client("events")
    for rule in events.list_rules()["Rules"]:
        if rule["State"] != "ENABLED" or not pattern_matches(
            json.loads(rule.get("EventPattern") or '{"source": []}'), event
        ):
            continue
        for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
            _send(target, transformed(target, event), client)


def _send(target: Mapping[str, Any], text: str, client: Client) -> None:
    sns, sqs = client("sns"), client("sqs")
    try:
        policy = sns.get_topic_attributes(TopicArn=target["Arn"])["Attributes"]["Policy"]
        is_taken = takes_from_rules(json.loads(policy))
        if is_taken:
            sns.publish(TopicArn=target["Arn"], Message=text)
    except sns.exceptions.NotFoundException:
        is_taken = False
    if not is_taken:
        queue = target["DeadLetterConfig"]["Arn"].rsplit(":", 1)[-1]
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=text)
