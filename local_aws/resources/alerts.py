"""Topics, queues, rules, alarms and the dashboard."""

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
    in_place,
    nothing,
    text,
)


def _topic(client: Client, properties: Properties) -> Made:
    take = Taken(properties)
    name = take("TopicName")
    attributes = {"DisplayName": take("DisplayName")}
    arn = client("sns").create_topic(Name=name, Attributes=attributes)["TopicArn"]
    take.require_none_left()
    return Made(arn, {"TopicName": name})


def _update_topic(client: Client, made: Made, properties: Properties) -> Made:
    client("sns").set_topic_attributes(
        TopicArn=made.ref, AttributeName="DisplayName", AttributeValue=properties["DisplayName"]
    )
    return made


def _topic_policy(client: Client, properties: Properties) -> Made:
    for topic in properties["Topics"]:
        client("sns").set_topic_attributes(
            TopicArn=topic,
            AttributeName="Policy",
            AttributeValue=text(properties["PolicyDocument"]),
        )
    return Made("-".join(properties["Topics"]))


def _subscription(client: Client, properties: Properties) -> Made:
    found = client("sns").subscribe(**properties, ReturnSubscriptionArn=True)
    return Made(found["SubscriptionArn"])


def _sqs_queue(client: Client, properties: Properties) -> Made:
    sqs, take = client("sqs"), Taken(properties)
    name = take("QueueName")
    attributes = {
        "MessageRetentionPeriod": str(take("MessageRetentionPeriod")),
        "SqsManagedSseEnabled": str(take("SqsManagedSseEnabled")).lower(),
    }
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    take.require_none_left()
    return Made(url, {"Arn": found["QueueArn"], "QueueName": name})


def _queue_policy(client: Client, properties: Properties) -> Made:
    for queue in properties["Queues"]:
        client("sqs").set_queue_attributes(
            QueueUrl=queue, Attributes={"Policy": text(properties["PolicyDocument"])}
        )
    return Made("-".join(properties["Queues"]))


def _rule(client: Client, properties: Properties) -> Made:
    events, take = client("events"), Taken(properties)
    name = take("Name")
    arn = events.put_rule(
        Name=name,
        Description=take("Description"),
        State=take("State"),
        EventPattern=text(take("EventPattern")),
    )["RuleArn"]
    answer = events.put_targets(Rule=name, Targets=take("Targets"))
    if answer["FailedEntryCount"]:
        raise ResourceError(f"targets of {name}: {answer['FailedEntries']}")
    take.require_none_left()
    return Made(name, {"Arn": arn})


def _delete_rule(client: Client, ref: str, _properties: Properties) -> None:
    events = client("events")
    targets = events.list_targets_by_rule(Rule=ref)["Targets"]
    events.remove_targets(Rule=ref, Ids=[target["Id"] for target in targets])
    events.delete_rule(Name=ref)


def _alarm(client: Client, properties: Properties) -> Made:
    wanted = dict(properties)
    for name in ("EvaluationPeriods", "DatapointsToAlarm"):
        wanted[name] = int(wanted[name])
    wanted["Threshold"] = float(wanted["Threshold"])
    period = max(
        metric["MetricStat"]["Period"] for metric in wanted["Metrics"] if "MetricStat" in metric
    )
    if period * wanted["EvaluationPeriods"] > (604_800 if period >= 3600 else 86_400):
        raise ResourceError("an alarm looks back a day, or a week with periods of an hour or more")
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_alarm(**wanted)
    name = wanted["AlarmName"]
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return Made(name, {"Arn": found["AlarmArn"]})


def _dashboard(client: Client, properties: Properties) -> Made:
    json.loads(properties["DashboardBody"])
    client("cloudwatch").put_dashboard(**properties)
    return Made(properties["DashboardName"])


def _delete_alarm(client: Client, ref: str, _properties: Properties) -> None:
    client("cloudwatch").delete_alarms(AlarmNames=[ref])


def _delete_dashboard(client: Client, ref: str, _properties: Properties) -> None:
    client("cloudwatch").delete_dashboards(DashboardNames=[ref])


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::SNS::Topic": Kind(
        _topic,
        by_api("sns", "delete_topic", "TopicArn"),
        _update_topic,
        frozenset({"TopicName"}),
    ),
    "AWS::SNS::TopicPolicy": Kind(_topic_policy, nothing, in_place(_topic_policy)),
    "AWS::SNS::Subscription": Kind(_subscription, by_api("sns", "unsubscribe", "SubscriptionArn")),
    "AWS::SQS::Queue": Kind(_sqs_queue, by_api("sqs", "delete_queue", "QueueUrl")),
    "AWS::SQS::QueuePolicy": Kind(_queue_policy, nothing, in_place(_queue_policy)),
    "AWS::Events::Rule": Kind(_rule, _delete_rule, in_place(_rule), frozenset({"Name"})),
    "AWS::CloudWatch::Alarm": Kind(
        _alarm, _delete_alarm, in_place(_alarm), frozenset({"AlarmName"})
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        _dashboard, _delete_dashboard, in_place(_dashboard), frozenset({"DashboardName"})
    ),
}
