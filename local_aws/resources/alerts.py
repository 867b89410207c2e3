"""SNS, SQS, EventBridge and CloudWatch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from local_aws.resources import api
from local_aws.resources.api import Client, Kind, Made, Properties


def _topic(client: Client, properties: Properties) -> Made:
    if unknown := properties.keys() - {"TopicName", "DisplayName"}:
        raise api.ResourceError(f"a topic has no {', '.join(sorted(unknown))}: not known here")
    name, attributes = properties["TopicName"], api.without(properties, "TopicName")
    arn = api.send(client, "sns", "CreateTopic", {"Name": name, "Attributes": attributes})[
        "TopicArn"
    ]
    return Made(arn, {"TopicName": name})


def _update_topic(client: Client, made: Made, properties: Properties) -> Made:
    client("sns").set_topic_attributes(
        TopicArn=made.ref, AttributeName="DisplayName", AttributeValue=properties["DisplayName"]
    )
    return made


def _topic_policy(client: Client, properties: Properties) -> Made:
    policy = {"AttributeName": "Policy", "AttributeValue": properties["PolicyDocument"]}
    for topic in properties["Topics"]:
        api.send(client, "sns", "SetTopicAttributes", {"TopicArn": topic, **policy})
    return Made("-".join(properties["Topics"]))


def _queue(client: Client, properties: Properties) -> Made:
    name, attributes = properties["QueueName"], api.without(properties, "QueueName")
    request = {"QueueName": name, "Attributes": attributes}
    url = api.send(client, "sqs", "CreateQueue", request)["QueueUrl"]
    found = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Made(url, {"Arn": found["Attributes"]["QueueArn"], "QueueName": name})


def _queue_policy(client: Client, properties: Properties) -> Made:
    attributes = {"Policy": properties["PolicyDocument"]}
    for queue in properties["Queues"]:
        api.send(client, "sqs", "SetQueueAttributes", {"QueueUrl": queue, "Attributes": attributes})
    return Made("-".join(properties["Queues"]))


def _rule(client: Client, properties: Properties) -> Made:
    name = properties["Name"]
    arn = api.send(client, "events", "PutRule", api.without(properties, "Targets"))["RuleArn"]
    targets = {"Rule": name, "Targets": properties["Targets"]}
    answer = api.send(client, "events", "PutTargets", targets)
    if answer["FailedEntryCount"]:
        raise api.ResourceError(f"targets of {name}: {answer['FailedEntries']}")
    return Made(name, {"Arn": arn})


def _delete_rule(client: Client, ref: str, _properties: Properties) -> None:
    events = client("events")
    targets = events.list_targets_by_rule(Rule=ref)["Targets"]
    events.remove_targets(Rule=ref, Ids=[target["Id"] for target in targets])
    events.delete_rule(Name=ref)


def _alarm(client: Client, properties: Properties) -> Made:
    metrics = [
        metric["MetricStat"]
        for metric in properties.get("Metrics", [{"MetricStat": properties}])
        if "MetricStat" in metric
    ]
    period_s = max(int(metric["Period"]) for metric in metrics)
    longest_s = 604_800 if period_s >= 3600 else 86_400
    if period_s * int(properties["EvaluationPeriods"]) > longest_s:
        raise api.ResourceError(
            "an alarm looks back a day, or a week with periods of an hour or more"
        )
    api.send(client, "cloudwatch", "PutMetricAlarm", properties)
    name = properties["AlarmName"]
    found = client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return Made(name, {"Arn": found["AlarmArn"]})


def _composite_alarm(client: Client, properties: Properties) -> Made:
    """Check an alarm over alarms, which moto does not have: its request, and those it names."""
    api.check("cloudwatch", "PutCompositeAlarm", properties)
    name, watched = properties["AlarmName"], re.findall(r'"([^"]+)"', properties["AlarmRule"])
    found = client("cloudwatch").describe_alarms(AlarmNames=watched)["MetricAlarms"]
    if missing := set(watched) - {alarm["AlarmName"] for alarm in found}:
        raise api.ResourceError(f"{name}: no alarm {', '.join(sorted(missing))}")
    return Made(name, {"Arn": found[0]["AlarmArn"].rsplit(":", 1)[0] + f":{name}"})


def _dashboard(client: Client, properties: Properties) -> Made:
    json.loads(properties["DashboardBody"])
    api.send(client, "cloudwatch", "PutDashboard", properties)
    return Made(properties["DashboardName"])


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::SNS::Topic": Kind(
        _topic,
        api.deleted_by("sns", "DeleteTopic", TopicArn="Ref"),
        _update_topic,
        frozenset({"TopicName"}),
    ),
    "AWS::SNS::TopicPolicy": Kind(_topic_policy, api.nothing, api.same_call(_topic_policy)),
    "AWS::SNS::Subscription": Kind(
        api.created_by("sns", "Subscribe", "SubscriptionArn"),
        api.deleted_by("sns", "Unsubscribe", SubscriptionArn="Ref"),
    ),
    "AWS::SQS::Queue": Kind(_queue, api.deleted_by("sqs", "DeleteQueue", QueueUrl="Ref")),
    "AWS::SQS::QueuePolicy": Kind(_queue_policy, api.nothing, api.same_call(_queue_policy)),
    "AWS::Events::Rule": Kind(_rule, _delete_rule, api.same_call(_rule), frozenset({"Name"})),
    "AWS::CloudWatch::Alarm": Kind(
        _alarm,
        api.deleted_by("cloudwatch", "DeleteAlarms", AlarmNames="[Ref]"),
        api.same_call(_alarm),
        frozenset({"AlarmName"}),
    ),
    "AWS::CloudWatch::CompositeAlarm": Kind(
        _composite_alarm,
        api.nothing,
        api.same_call(_composite_alarm),
        frozenset({"AlarmName"}),
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        _dashboard,
        api.deleted_by("cloudwatch", "DeleteDashboards", DashboardNames="[Ref]"),
        api.same_call(_dashboard),
        frozenset({"DashboardName"}),
    ),
}
