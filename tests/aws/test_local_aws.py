"""The local AWS is strict: what it does not know is an error, what is not allowed is refused."""

from __future__ import annotations

from typing import Any

import pytest

from local_aws.access import Call, allows, name_calls
from local_aws.events import transformed
from local_aws.patterns import pattern_matches
from local_aws.resources import KINDS, Made, ResourceError
from local_aws.stacks import Resource, StackError, Stacks
from local_aws.template import (
    Scope,
    TemplateError,
    creation_order,
    parameter_values,
    read_template,
)

BUCKET = "arn:aws:s3:::lake"


def no_client(service: str) -> Any:
    raise AssertionError(f"{service} must not be called")


def test_a_type_that_is_not_known_fails_the_deployment() -> None:
    stacks = Stacks(no_client, "123456789012", "us-east-1")
    body = "Resources: {Table: {Type: 'AWS::DynamoDB::Table'}}"

    with pytest.raises(StackError, match="AWS::DynamoDB::Table is not known here"):
        stacks.create_change_set("s", "c", body, {})


@pytest.mark.parametrize(
    ("policy", "after_deletion", "after_rollback"),
    [
        ("Delete", False, False),
        ("Retain", True, True),
        ("RetainExceptOnCreate", True, False),
    ],
)
def test_a_resource_stays_as_its_deletion_policy_says(
    policy: str, after_deletion: bool, after_rollback: bool
) -> None:
    resource = Resource("AWS::S3::Bucket", {}, Made("b", {}), policy)

    assert resource.is_retained(rollback=False) is after_deletion
    assert resource.is_retained(rollback=True) is after_rollback


def test_a_property_that_is_not_known_fails_the_deployment() -> None:
    class Logs:
        def put_retention_policy(self, **_: Any) -> None: ...

    update = KINDS["AWS::Logs::LogGroup"].update
    assert update is not None
    properties = {"LogGroupName": "a", "RetentionInDays": 3, "KmsKeyId": "k"}

    with pytest.raises(ResourceError, match="KmsKeyId"):
        update(lambda _: Logs(), Made("a"), properties)


def test_a_size_that_fargate_does_not_have_fails_the_deployment() -> None:
    needs = [{"Type": "VCPU", "Value": "4"}, {"Type": "MEMORY", "Value": "4096"}]
    properties = {"ContainerProperties": {"ResourceRequirements": needs}}

    with pytest.raises(ResourceError, match="4 vCPU with 4096 MiB"):
        KINDS["AWS::Batch::JobDefinition"].create(no_client, properties)


def test_a_circle_of_references_is_refused() -> None:
    resources = {
        "A": {"Properties": {"X": {"Ref": "B"}}},
        "B": {"Properties": {"X": {"Fn::Sub": "${A.Arn}"}}},
    }

    with pytest.raises(TemplateError, match="circular"):
        creation_order(resources)


def test_an_unknown_function_of_a_template_is_refused() -> None:
    scope = Scope({}, {})

    with pytest.raises(TemplateError, match="Fn::ImportValue"):
        scope.resolve({"Fn::ImportValue": "x"})


def test_every_wrong_parameter_is_named_at_once() -> None:
    sections = {
        "Parameters": {
            "Hour": {"Type": "Number", "Default": 16, "MinValue": 16, "MaxValue": 18},
            "State": {"Type": "String", "AllowedValues": ["ON", "OFF"]},
        }
    }

    with pytest.raises(TemplateError) as caught:
        parameter_values(sections, {"Hour": "19", "State": "PERHAPS", "Colour": "red"})

    assert all(name in str(caught.value) for name in ("Hour: 19", "State: 'PERHAPS'", "Colour"))


def test_short_forms_are_spelled_out() -> None:
    text = "Resources: {A: {Type: T, Properties: {X: !GetAtt B.Arn.Y, Z: !Sub '${B}-${!C}'}}}"

    properties = read_template(text)["Resources"]["A"]["Properties"]

    assert properties == {"X": {"Fn::GetAtt": ["B", "Arn.Y"]}, "Z": {"Fn::Sub": "${B}-${!C}"}}
    assert Scope({}, {"B": "b"}).resolve(properties["Z"]) == "b-${C}"


def test_a_denial_outweighs_an_allowance() -> None:
    statements = [
        {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": f"{BUCKET}/silver/*d/*"},
        {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": f"{BUCKET}/silver/1d/*"},
    ]

    assert allows(statements, Call("r", "s3:PutObject", f"{BUCKET}/silver/5d/x"))
    assert not allows(statements, Call("r", "s3:PutObject", f"{BUCKET}/silver/1d/x"))
    assert not allows(statements, Call("r", "s3:GetObject", f"{BUCKET}/silver/5d/x"))


@pytest.mark.parametrize(
    ("prefix", "allowed"), [("lake/silver/", True), ("other/", False), (None, True)]
)
def test_a_listing_is_judged_by_its_prefix(prefix: str | None, allowed: bool) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": BUCKET,
        "Condition": {"StringLikeIfExists": {"s3:prefix": "lake/*"}},
    }

    assert allows([statement], Call("r", "s3:ListBucket", BUCKET, prefix)) is allowed


def test_a_condition_that_is_not_known_is_an_error() -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {}}}

    with pytest.raises(ValueError, match="Bool"):
        allows([statement], Call("r", "s3:GetObject", BUCKET))


@pytest.mark.parametrize(
    ("method", "path", "query", "action", "resource"),
    [
        ("GET", "/lake/a/b", "", "s3:GetObject", f"{BUCKET}/a/b"),
        ("HEAD", "/lake/a/b", "", "s3:GetObject", f"{BUCKET}/a/b"),
        ("PUT", "/lake/a/b", "", "s3:PutObject", f"{BUCKET}/a/b"),
        ("POST", "/lake/a/b", "uploads", "s3:PutObject", f"{BUCKET}/a/b"),
        ("DELETE", "/lake/a/b", "", "s3:DeleteObject", f"{BUCKET}/a/b"),
        ("DELETE", "/lake/a/b", "uploadId=1", "s3:AbortMultipartUpload", f"{BUCKET}/a/b"),
        ("GET", "/lake", "list-type=2&prefix=a", "s3:ListBucket", BUCKET),
        ("HEAD", "/lake", "", "s3:ListBucket", BUCKET),
        ("GET", "/lake/a/b", "versionId=1", "s3:GetObjectVersion", f"{BUCKET}/a/b"),
        ("GET", "/lake", "versions&prefix=a", "s3:ListBucketVersions", BUCKET),
        ("GET", "/lake", "versioning", "s3:GetBucketVersioning", BUCKET),
    ],
)
def test_requests_to_s3_are_named_as_actions(
    method: str, path: str, query: str, action: str, resource: str
) -> None:
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}

    calls = name_calls(environ, b"", account="1", region="r", service="s3", role="x")

    assert [(call.action, call.resource) for call in calls] == [(action, resource)]


def test_a_copy_reads_one_object_and_writes_another() -> None:
    environ = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/lake/b",
        "HTTP_X_AMZ_COPY_SOURCE": "/lake/uploads/a%20b?versionId=1",
    }

    calls = name_calls(environ, b"", account="1", region="r", service="s3", role="x")

    assert [(call.action, call.resource) for call in calls] == [
        ("s3:PutObject", f"{BUCKET}/b"),
        ("s3:GetObjectVersion", f"{BUCKET}/uploads/a b"),
    ]


def test_each_object_of_a_deletion_is_judged() -> None:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/lake", "QUERY_STRING": "delete"}
    body = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"

    calls = name_calls(environ, body, account="1", region="r", service="s3", role="x")

    assert [call.resource for call in calls] == [f"{BUCKET}/a", f"{BUCKET}/b"]


PATTERN = {
    "source": ["aws.states"],
    "detail": {
        "$or": [
            {"status": ["TIMED_OUT", "ABORTED"]},
            {"status": ["FAILED"], "error": [{"anything-but": "PipelineFailed"}]},
            {"status": ["FAILED"], "error": [{"exists": False}]},
        ]
    },
}


@pytest.mark.parametrize(
    ("detail", "matches"),
    [
        ({"status": "TIMED_OUT"}, True),
        ({"status": "ABORTED"}, True),
        ({"status": "FAILED", "error": "AlertNotDelivered"}, True),
        ({"status": "FAILED"}, True),
        ({"status": "FAILED", "error": "PipelineFailed"}, False),
        ({"status": "SUCCEEDED"}, False),
    ],
)
def test_events_are_matched_as_eventbridge_does(detail: dict[str, str], matches: bool) -> None:
    assert pattern_matches(PATTERN, {"source": "aws.states", "detail": detail}) is matches


def test_a_target_receives_the_transformed_event() -> None:
    target = {
        "InputTransformer": {
            "InputPathsMap": {"name": "$.detail.name"},
            "InputTemplate": '"The execution <name> ended."',
        }
    }

    assert transformed(target, {"detail": {"name": "x"}}) == '"The execution x ended."'
