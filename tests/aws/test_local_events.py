"""The local AWS sends S3's events as AWS does, and delivers them, or keeps them, as EventBridge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.events import Fate, queue_takes, transformed
from local_aws.patterns import PatternError, check_pattern, pattern_matches
from local_aws.server import LocalAws

FILE = {"detail": {"object": {"key": "uploads/stooq/AAPL.csv", "size": 12, "sizes": [1, 2]}}}


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ("uploads/stooq/AAPL.csv", True),
        ({"prefix": "uploads/"}, True),
        ({"prefix": "lake/"}, False),
        ({"prefix": {"equals-ignore-case": "UPLOADS/"}}, True),
        ({"suffix": ".csv"}, True),
        ({"suffix": ".part"}, False),
        ({"wildcard": "uploads/*/AAPL.*"}, True),
        ({"wildcard": "uploads/*.part"}, False),
        ({"wildcard": r"uploads/\*"}, False),
        ({"anything-but": "x"}, True),
        ({"anything-but": ["uploads/stooq/AAPL.csv", "x"]}, False),
        ({"anything-but": {"suffix": [".part", ".tmp"]}}, True),
        ({"anything-but": {"prefix": "uploads/"}}, False),
        ({"anything-but": {"wildcard": "*/.*"}}, True),
        ({"equals-ignore-case": "UPLOADS/stooq/aapl.CSV"}, True),
        ({"exists": True}, True),
        ({"numeric": [">", 0]}, False),
    ],
    ids=str,
)
def test_a_filter_matches_a_key_as_eventbridge_says(wanted: Any, matches: bool) -> None:
    pattern = {"detail": {"object": {"key": [wanted]}}}
    check_pattern(pattern)

    assert pattern_matches(pattern, FILE) is matches


@pytest.mark.parametrize(
    ("wanted", "size", "matches"),
    [
        ({"numeric": [">", 0]}, 1, True),
        ({"numeric": [">", 0]}, 0, False),
        ({"numeric": [">", 0, "<=", 5]}, 5, True),
        ({"numeric": [">", 0, "<=", 5]}, 6, False),
        ({"numeric": [">", 0]}, 6_000_000_000, False),  # beyond what numeric filters know
        ({"anything-but": 0}, 6_000_000_000, True),
        ({"anything-but": 0}, 0, False),
        (12, 12, True),
        (True, 1, False),
        ({"cidr": "10.0.0.0/24"}, "10.0.0.255", True),
        ({"cidr": "10.0.0.0/24"}, "10.0.1.1", False),
        (1, [3, 1], True),
    ],
    ids=str,
)
def test_a_filter_matches_a_value_as_eventbridge_says(
    wanted: Any, size: Any, matches: bool
) -> None:
    check_pattern({"size": [wanted]})

    assert pattern_matches({"size": [wanted]}, {"size": size}) is matches


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ({}, "not empty"),
        ({"source": "aws.s3"}, "'source' must be an object or an array"),
        ({"source": []}, "Empty arrays"),
        ({"detail": {}}, "not empty"),
        ({"a": [{"prefex": "x"}]}, "Unrecognized match type prefex"),
        ({"a": [{"prefix": 3}]}, "prefix match pattern must be a string"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, "Only one key"),
        ({"a": [{"suffix": ["x"]}]}, "suffix match pattern must be a string"),
        ({"a": [{"wildcard": "x**"}]}, "Consecutive wildcard"),
        ({"a": [{"wildcard": r"x\y"}]}, "Invalid escape"),
        ({"a": [{"numeric": [">"]}]}, "Invalid member in numeric match"),
        ({"a": [{"numeric": ["!", 0]}]}, "Unrecognized numeric range operator"),
        ({"a": [{"numeric": [">", 6e9]}]}, "from -5.0e9 to 5.0e9"),
        ({"a": [{"numeric": [">", 5, "<", 5]}]}, "Bottom must be less than top"),
        ({"a": [{"anything-but": []}]}, "Empty arrays"),
        ({"a": [{"anything-but": [1, "x"]}]}, "all texts or all numbers"),
        ({"a": [{"anything-but": {"exists": True}}]}, "Unsupported anything-but pattern"),
        ({"a": [{"exists": "yes"}]}, "either true or false"),
        ({"a": [{"cidr": "10.0.0.0/99"}]}, "Malformed CIDR"),
        ({"a": [["x"]]}, "Match value must be"),
        ({"$or": [{"a": ["x"]}]}, "at least two"),
    ],
    ids=str,
)
def test_a_pattern_that_eventbridge_refuses_is_refused(pattern: Any, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        check_pattern(pattern)


def test_a_template_that_is_json_takes_values_as_json() -> None:
    target = {
        "InputTransformer": {
            "InputPathsMap": {"key": "$.detail.object.key", "size": "$.detail.object.size"},
            "InputTemplate": '{"key": <key>, "size": <size>}',
        }
    }
    key = 'uploads/x/a "quoted" name.csv'

    text = transformed(target, {"detail": {"object": {"key": key, "size": 3}}})

    assert json.loads(text) == {"key": key, "size": 3}


def test_a_queue_takes_the_messages_of_the_rules_that_it_names() -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Condition": {"ArnEquals": {"aws:SourceArn": ["arn:one", "arn:two"]}},
    }

    assert queue_takes({"Statement": [statement]}, "arn:two")
    assert not queue_takes({"Statement": [statement]}, "arn:three")
    assert not queue_takes({"Statement": []}, "arn:two")


@dataclass
class Letters:
    """A bucket whose uploads start a state machine that waits for nothing."""

    aws: LocalAws
    machine: str
    role: str
    rule: str

    def put(self, key: str, body: bytes = b"x") -> None:
        self.aws.client("s3").put_object(Bucket="letters", Key=key, Body=body)

    def inputs(self) -> list[dict[str, Any]]:
        """Return the inputs of all executions, oldest first."""
        self.aws.bus.wait()
        steps = self.aws.client("stepfunctions")
        found = steps.list_executions(stateMachineArn=self.machine)["executions"]
        return [
            json.loads(steps.describe_execution(executionArn=one["executionArn"])["input"])
            for one in reversed(found)
        ]

    def keys(self) -> list[str]:
        return [found["detail"]["object"]["key"] for found in self.inputs()]

    def undelivered(self) -> list[dict[str, Any]]:
        self.aws.bus.wait()
        sqs = self.aws.client("sqs")
        url = sqs.get_queue_url(QueueName="letters-lost")["QueueUrl"]
        found = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(found.get("Messages", []))

    def allow(self, machine: str) -> None:
        statement = {"Effect": "Allow", "Action": ["states:StartExecution"], "Resource": machine}
        self.aws.client("iam").put_role_policy(
            RoleName="letters-rule",
            PolicyName="work",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )


@pytest.fixture(scope="module")
def mailroom(running_aws: LocalAws) -> Letters:
    client = running_aws.client
    trust = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}}
    role = client("iam").create_role(
        RoleName="letters-rule",
        AssumeRolePolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [{**trust, "Action": "sts:AssumeRole"}]}
        ),
    )["Role"]["Arn"]
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    machine = client("stepfunctions").create_state_machine(
        name="letters", definition=json.dumps(definition), roleArn=role
    )["stateMachineArn"]
    s3 = client("s3")
    s3.create_bucket(Bucket="letters")
    s3.put_bucket_versioning(Bucket="letters", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket="letters", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["letters"]}, "object": {"key": [{"prefix": "in/"}]}},
    }
    rule = client("events").put_rule(Name="letters", EventPattern=json.dumps(pattern))["RuleArn"]
    url = client("sqs").create_queue(QueueName="letters-lost")["QueueUrl"]
    statement = {
        **trust,
        "Action": "sqs:SendMessage",
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    found = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    target = {
        "Id": "machine",
        "Arn": machine,
        "RoleArn": role,
        "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60},
        "DeadLetterConfig": {"Arn": found["Attributes"]["QueueArn"]},
    }
    client("events").put_targets(Rule="letters", Targets=[target])
    made = Letters(running_aws, machine, role, rule)
    made.allow(machine)
    return made


@pytest.fixture
def letters(mailroom: Letters) -> Iterator[Letters]:
    """The mailroom, every event of which arrives once unless the test says otherwise."""
    mailroom.inputs()
    yield mailroom
    mailroom.aws.bus.fate = Fate.ONCE


@pytest.mark.slow
def test_an_event_has_the_shape_of_aws(letters: Letters) -> None:
    before = len(letters.inputs())
    made = letters.aws.client("s3").put_object(Bucket="letters", Key="in/ä b+c.csv", Body=b"12345")

    (event,) = letters.inputs()[before:]

    detail = event["detail"]
    assert event.keys() == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources"),
        "detail",
    }
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    assert event["resources"] == ["arn:aws:s3:::letters"]
    assert detail.keys() == {
        *("version", "bucket", "object", "request-id", "requester", "source-ip-address", "reason"),
    }
    assert detail["object"].keys() == {"key", "size", "etag", "version-id", "sequencer"}
    assert detail["object"]["key"] == "in/ä b+c.csv"
    assert detail["object"]["size"] == 5
    assert detail["object"]["version-id"] == made["VersionId"]
    assert f'"{detail["object"]["etag"]}"' == made["ETag"]
    assert detail["reason"] == "PutObject"


def test_an_upload_in_parts_and_a_copy_are_one_event_each(letters: Letters) -> None:
    s3 = letters.aws.client("s3")
    before = len(letters.inputs())
    part = {"Bucket": "letters", "Key": "in/parts"}
    upload = s3.create_multipart_upload(**part)["UploadId"]
    tag = s3.upload_part(**part, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(
        **part, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}
    )
    letters.aws.bus.wait()
    s3.copy_object(Bucket="letters", Key="in/copy", CopySource="letters/in/parts")

    made = [(it["detail"]["object"]["key"], it["detail"]["reason"]) for it in letters.inputs()]

    assert made[before:] == [("in/parts", "CompleteMultipartUpload"), ("in/copy", "CopyObject")]


def test_only_what_the_rule_names_and_only_while_eventbridge_is_on_is_delivered(
    letters: Letters,
) -> None:
    s3 = letters.aws.client("s3")
    before = letters.keys()
    sent = len(letters.aws.bus.sent)
    letters.put("out/x")
    asked = s3.get_bucket_notification_configuration(Bucket="letters")
    s3.put_bucket_notification_configuration(Bucket="letters", NotificationConfiguration={})
    letters.put("in/unseen")
    s3.put_bucket_notification_configuration(
        Bucket="letters", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )

    assert letters.keys() == before
    assert len(letters.aws.bus.sent) == sent + 1
    assert asked["EventBridgeConfiguration"] == {}


def test_events_come_twice_late_reversed_or_not_at_all(letters: Letters) -> None:
    bus = letters.aws.bus
    before = len(letters.inputs())
    bus.fate = Fate.TWICE
    letters.put("in/twice")
    bus.wait()
    bus.fate = Fate.LOST
    letters.put("in/lost")
    bus.fate = Fate.HELD
    letters.put("in/1")
    letters.put("in/2")
    early = letters.keys()[before:]

    bus.release(newest_first=True)

    assert early == ["in/twice", "in/twice"]
    assert letters.keys()[before:] == ["in/twice", "in/twice", "in/2", "in/1"]


def test_an_event_that_the_role_may_not_deliver_goes_to_the_dead_letter_queue_at_once(
    letters: Letters,
) -> None:
    before = letters.keys()
    letters.allow("arn:aws:states:us-east-1:123456789012:stateMachine:another")
    try:
        letters.put("in/refused")
        (message,) = letters.undelivered()
    finally:
        letters.allow(letters.machine)
        letters.aws.denied.clear()

    found = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert letters.keys() == before
    assert json.loads(message["Body"])["detail"]["object"]["key"] == "in/refused"
    assert found["ERROR_CODE"] == "AccessDeniedException"
    assert (found["RULE_ARN"], found["RETRY_ATTEMPTS"]) == (letters.rule, "0")


def test_a_target_that_is_busy_is_tried_again_as_its_policy_says(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.stepfunctions.exceptions import AWSError
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

    starts = StepFunctionsParserBackend.start_execution
    left = [2, 3]  # the first event is taken at the third attempt, the second event never

    def start(*given: Any, **more: Any) -> Any:
        if left and left[0]:
            left[0] -= 1
            raise AWSError("busy")
        if left:
            left.pop(0)
        return starts(*given, **more)

    monkeypatch.setattr(StepFunctionsParserBackend, "start_execution", start)
    before = letters.keys()
    letters.put("in/patience")
    letters.aws.bus.wait()
    letters.put("in/despair")

    (message,) = letters.undelivered()
    found = {key: value["StringValue"] for key, value in message["MessageAttributes"].items()}
    assert letters.keys()[len(before) :] == ["in/patience"]
    assert found["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert found["RETRY_ATTEMPTS"] == "2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RoleArn": ""}, "RoleArn is required"),
        ({"RetryPolicy": {"MaximumRetryAttempts": 200}}, "from 0 to 185"),
        ({"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f"}, "not known here"),
        ({"DeadLetterConfig": {"Arn": "arn:aws:sns:us-east-1:123456789012:t"}}, "is not a queue"),
    ],
    ids=str,
)
def test_a_target_that_eventbridge_refuses_is_refused(
    letters: Letters, change: dict[str, Any], message: str
) -> None:
    events = letters.aws.client("events")
    (target,) = events.list_targets_by_rule(Rule="letters")["Targets"]
    given = {key: value for key, value in {**target, **change, "Id": "x"}.items() if value}

    with pytest.raises(ClientError, match=message):
        events.put_targets(Rule="letters", Targets=[given])
    with pytest.raises(ClientError, match="InvalidEventPattern"):
        events.put_rule(Name="bad", EventPattern=json.dumps({"a": [{"prefex": "x"}]}))


def test_an_execution_name_that_aws_does_not_take_is_refused(letters: Letters) -> None:
    steps = letters.aws.client("stepfunctions")

    for name in ("update-2025-11-20T21:05", "x" * 81, "a b"):
        with pytest.raises(ClientError, match="InvalidName"):
            steps.start_execution(stateMachineArn=letters.machine, name=name)
