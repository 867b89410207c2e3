"""A file under ``uploads/`` becomes bars, or a message says why not: real machines, real code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from batch.core.sessions import Calendar
from batch.storage.store import ObjectStore, open_store
from fetchers.uploads.drop import Upload
from fetchers.uploads.receipts import Receipt, State, all_receipts, send_back
from local_aws.endpoint import REGION
from local_aws.events import Fate
from local_aws.pipeline import Alert, Execution
from tests.aws.conftest import Deployed
from tests.support.permissions import unused_permissions

pytestmark = pytest.mark.slow

WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>429</title></head><body>Too many</body></html>\n"
AMBIGUOUS = b"symbol,date,open,high,low,close,volume\nVAGUE,03/04/2025,1.5,2.5,1.5,2.5,100\n"
PACE = 0.1
"""A minute of the state machines takes six seconds."""


def bars(symbol: str, sessions: list[date], *, close: float = 10.0) -> bytes:
    """Return a file of one symbol's bars as a vendor writes it."""
    rows = [
        f"{symbol},{session},{close},{close + 1},{close - 1},{close + 0.25},{1000 + number}"
        for number, session in enumerate(sessions)
    ]
    return "\n".join(["symbol,date,open,high,low,close,volume", *rows, ""]).encode()


@dataclass
class Drop:
    """The uploads of the deployed pipeline.

    Attributes:
        pipeline: The pipeline.
        lake: Its lake, as an administrator sees it.
        sessions: Some sessions of the lake, all closed.
    """

    pipeline: Deployed
    lake: ObjectStore
    sessions: list[date]

    def put(self, path: str, content: bytes) -> str:
        """Put a file; returns the upload's id."""
        version = self.pipeline.operator.upload(path, content)
        now = datetime.now(UTC)
        key = f"uploads/{path}"
        return Upload("", self.pipeline.bucket, key, version, len(content), now).id

    def settle(self) -> list[Execution]:
        return self.pipeline.operator.let_uploads_settle()

    def receipts(self) -> dict[str, Receipt]:
        return {kept.receipt.id: kept.receipt for kept in all_receipts(self.lake)}

    def message(self) -> Alert:
        (alert,) = self.pipeline.operator.alerts()
        return alert

    def sweep(self) -> Execution:
        started = self.pipeline.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.pipeline.operator.output("UploadSweep")
        )
        return self.pipeline.operator.follow(started["executionArn"])


@pytest.fixture(scope="module")
def drop(deployed: Deployed, first_day: Execution, calendar: Calendar) -> Iterator[Drop]:
    assert first_day.status == "SUCCEEDED"
    last = datetime.now(UTC).date() - timedelta(days=7)
    days = [last - timedelta(days=number) for number in range(20)]
    sessions = sorted(day for day in days if calendar.is_session(day))[-6:]
    deployed.aws.clock.set_pace(PACE)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.aws.environment.items():
            patch.setenv(name, value)
        yield Drop(deployed, open_store(deployed.operator.output("Lake")), sessions)
    deployed.aws.clock.set_pace(0.01)


@pytest.fixture
def quiet_drop(drop: Drop) -> Iterator[Drop]:
    drop.settle()
    drop.pipeline.operator.alerts()
    drop.pipeline.aws.waits.clear()
    yield drop
    drop.pipeline.aws.bus.fate = Fate.ONCE


MANY = 8


def test_many_files_at_once_make_one_update_and_one_message(quiet_drop: Drop) -> None:
    drop, aws = quiet_drop, quiet_drop.pipeline.aws
    aws.bus.fate = Fate.HELD
    good = [
        drop.put(f"acme/FILE{number}.csv", bars(f"FILE{number}", drop.sessions))
        for number in range(MANY)
    ]
    bad = drop.put("acme/login.csv", WEB_PAGE)
    held = drop.put("acme/vague.csv", AMBIGUOUS)
    drop.put("acme/unfinished.csv.part", WEB_PAGE)
    before = len(drop.pipeline.operator.executions("UploadProcessor"))
    aws.clock.begin_minute()
    aws.bus.fate = Fate.TWICE
    for event in [*aws.bus.held]:
        aws.bus.send(event)
    aws.bus.held.clear()

    updates = drop.settle()

    after = drop.pipeline.operator.executions("UploadProcessor")
    receipts = drop.receipts()
    alert = drop.message()
    made = [one for one in updates if "MakeBars" in one.states]
    assert [one.cause for one in updates if one.status != "SUCCEEDED"] == []
    assert len(after) - before == MANY + 2
    assert len(made) == 1
    assert {receipts[one].state for one in good} == {State.LANDED}
    assert (receipts[bad].state, receipts[held].state) == (State.QUARANTINED, State.HELD)
    assert alert.subject == f"condvest uploads: {MANY} landed, 1 held, 1 quarantined"
    for text in ("uploads/acme/login.csv", "html", "what to do:", held[:12], "FILE7.csv"):
        assert text in alert.message
    assert drop.pipeline.keys(f"quarantine/{datetime.now(UTC).date()}/{bad}/")
    assert aws.denied == []


def test_an_event_that_cannot_be_delivered_waits_in_the_queue_and_the_sweep_finds_the_upload(
    quiet_drop: Drop,
) -> None:
    drop, aws = quiet_drop, quiet_drop.pipeline.aws
    role = {"RoleName": f"condvest-uploads-rule-{REGION}", "PolicyName": "work"}
    before = aws.client("iam").get_role_policy(**role)["PolicyDocument"]
    other = {**before["Statement"][0], "Resource": "arn:aws:states:::other"}
    aws.client("iam").put_role_policy(
        **role, PolicyDocument=json.dumps({**before, "Statement": [other]})
    )
    lost = drop.put("acme/lost.csv", WEB_PAGE)
    aws.bus.wait()
    aws.client("iam").put_role_policy(**role, PolicyDocument=json.dumps(before))
    aws.denied.clear()
    undelivered = aws.client("sqs").receive_message(QueueUrl=undelivered_queue(drop))["Messages"]
    unknown = lost not in drop.receipts()

    swept = drop.sweep()
    updates = drop.settle()
    again = drop.sweep()
    aws.client("sqs").purge_queue(QueueUrl=undelivered_queue(drop))

    assert unknown
    assert [json.loads(it["Body"])["detail"]["object"]["key"] for it in undelivered] == [
        "uploads/acme/lost.csv"
    ]
    assert "StartTrigger" not in again.states
    assert swept.states.count("StartTrigger") == 1
    assert [one.states[-1] for one in updates] == ["UpdateComplete"]
    assert drop.receipts()[lost].state is State.QUARANTINED
    assert drop.message().subject == "condvest uploads: 1 quarantined"
    assert aws.denied == []


def undelivered_queue(drop: Drop) -> str:
    sqs = drop.pipeline.aws.client("sqs")
    return str(sqs.get_queue_url(QueueName="condvest-undelivered")["QueueUrl"])


@pytest.mark.troubleshooting("alert: `an upload was not inspected`")
def test_an_inspection_that_fails_four_times_is_reported_and_done_again_by_the_command(
    quiet_drop: Drop,
) -> None:
    drop, aws = quiet_drop, quiet_drop.pipeline.aws
    role = {"RoleName": f"condvest-inspect-upload-{REGION}", "PolicyName": "forbidden"}
    denial = {"Effect": "Deny", "Action": ["s3:GetObjectVersion"], "Resource": "*"}
    aws.client("iam").put_role_policy(
        **role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    )
    poison = drop.put("acme/it's poison.csv", WEB_PAGE)
    drop.settle()
    aws.client("iam").delete_role_policy(**role)
    aws.denied.clear()
    waits = list(aws.waits)
    claimed = drop.receipts()[poison]
    alert = drop.message()

    (command,) = [line for line in alert.message.splitlines() if line.startswith("aws ")]
    done = drop.pipeline.operator.shell(command)
    drop.settle()

    assert done.returncode == 0
    assert [claimed.state, claimed.attempts] == [State.CLAIMED, 4]
    assert len(waits) == 3
    assert all(0 <= wait <= limit for wait, limit in zip(waits, (2, 4, 8), strict=True))
    assert "S3 refused access" in alert.message
    assert "uploads/acme/it's poison.csv" in alert.message
    assert drop.receipts()[poison].state is State.QUARANTINED
    assert drop.message().subject == "condvest uploads: 1 quarantined"


def test_a_large_file_is_inspected_by_a_job(quiet_drop: Drop) -> None:
    drop, aws = quiet_drop, quiet_drop.pipeline.aws
    aws.bus.fate = Fate.LOST
    upload = drop.put("acme/large.csv", WEB_PAGE)
    event = aws.bus.sent[-1]
    event["detail"]["object"]["size"] = 300 * 1024**2

    aws.bus.deliver(event)
    drop.settle()

    processor = drop.pipeline.operator.follow(
        drop.pipeline.operator.executions("UploadProcessor")[0]
    )
    assert "InspectLarge" in processor.states
    assert processor.status == "SUCCEEDED", processor.cause
    assert drop.receipts()[upload].state is State.QUARANTINED
    assert aws.denied == []


def test_an_upload_that_was_sent_back_is_inspected_again_by_the_next_sweep(
    quiet_drop: Drop,
) -> None:
    drop = quiet_drop
    held = drop.put("acme/vague.csv", AMBIGUOUS)
    drop.settle()
    first = drop.receipts()[held]
    drop.pipeline.operator.alerts()

    send_back(drop.lake, held, now=datetime.now(UTC))
    drop.sweep()
    drop.settle()

    again = drop.receipts()[held]
    assert (first.state, first.attempts) == (State.HELD, 1)
    assert (again.state, again.attempts) == (State.HELD, 2)


@pytest.mark.troubleshooting("alert: `the lake was not updated`")
def test_an_update_whose_bars_fail_is_reported_and_done_again_by_the_command(
    quiet_drop: Drop,
) -> None:
    drop, aws = quiet_drop, quiet_drop.pipeline.aws
    upload = drop.put("acme/LATER.csv", bars("LATER", drop.sessions))
    drop.pipeline.operator.forbid_intervals([8])
    try:
        (failed,) = drop.settle()
    finally:
        drop.pipeline.operator.allow_intervals()
        aws.denied.clear()
    alerts = {alert.subject: alert.message for alert in drop.pipeline.operator.alerts()}
    staged = drop.receipts()[upload].state
    message = alerts["condvest uploads FAILED: the lake was not updated"]
    (command,) = [line for line in message.splitlines() if line.startswith("aws ")]

    done = drop.pipeline.operator.shell(command)
    (repaired,) = drop.settle()

    assert (failed.status, failed.error) == ("FAILED", "UploadsFailed")
    assert len(alerts) == 2
    assert any("Resample" in subject for subject in alerts)
    assert "an alert of its own says why" in message
    assert staged is State.STAGED
    assert done.returncode == 0
    assert repaired.states[-1] == "UpdateComplete"
    assert drop.receipts()[upload].state is State.LANDED
    assert drop.message().subject == "condvest uploads: 1 landed"


def test_the_script_says_what_is_with_uploads(drop: Drop) -> None:
    status = drop.pipeline.operator.script("--status").stdout

    assert f"uploads: ENABLED, s3://{drop.pipeline.bucket}/uploads/SOURCE/FILE" in status
    assert "last updates by uploads:" in status


def test_inspect_reaches_uploads_and_its_own_state_alone(drop: Drop) -> None:
    bucket = f"arn:aws:s3:::{drop.pipeline.bucket}"
    calls = {
        (call.action, call.resource.removeprefix(f"{bucket}/"), call.prefix)
        for call in drop.pipeline.aws.calls
        if call.role == f"condvest-inspect-upload-{REGION}"
    }

    assert {action for action, *_ in calls} >= {"s3:GetObjectVersion", "s3:PutObject"}
    for action, path, prefix in calls:
        if action == "s3:GetObjectVersion":
            assert path.startswith("uploads/")
        elif action == "s3:ListBucket":
            assert (prefix or "").startswith("lake/_state/uploads/")
        elif action == "s3:GetObject":
            assert path.startswith("lake/_state/uploads/") or path == "lake/uploads.toml"
        else:
            assert action in {"s3:PutObject", "s3:DeleteObject"}
            assert path.startswith("lake/_state/uploads/")


RARE = {
    "s3:AbortMultipartUpload": "only where a large object breaks off",
    "s3:DeleteObject": "of inspect, only what an inspection that died has staged",
    "sns:Publish": "of the sweep, only where it fails",
    "s3:GetObjectVersionTagging": "only for an upload with tags",
    "s3:PutObjectTagging": "only for an upload with tags",
    "batch:TerminateJob": "only when an execution is stopped",
    "states:StopExecution": "only when an execution is stopped",
    "events:PutTargets": "Step Functions itself, where it follows by events",
    "events:PutRule": "Step Functions itself, where it follows by events",
    "events:DescribeRule": "Step Functions itself, where it follows by events",
}
PLATFORM = ("logs:", "xray:")
ROLES = (
    *("inspect-upload", "settle-uploads", "lake-update", "uploads-rule"),
    *("upload-trigger", "upload-processor", "upload-sweep"),
)


def test_no_role_of_uploads_may_do_what_its_code_never_does(drop: Drop) -> None:
    roles = [f"condvest-{name}-{REGION}" for name in ROLES]

    unused = unused_permissions(drop.pipeline.aws, roles, rare=RARE, platform=PLATFORM)

    assert unused == []


def test_uploads_need_a_bucket_that_keeps_versions_and_leave_its_notifications_alone(
    drop: Drop,
) -> None:
    s3, operator = drop.pipeline.aws.client("s3"), drop.pipeline.operator
    s3.create_bucket(Bucket="of-others")
    queue = drop.pipeline.aws.client("sqs").create_queue(QueueName="of-others")["QueueUrl"]
    own = {"QueueArn": "arn:aws:sqs:us-east-1:123456789012:of-others"}
    own |= {"Events": ["s3:ObjectRemoved:*"], "Id": "theirs"}
    s3.put_bucket_notification_configuration(
        Bucket="of-others", NotificationConfiguration={"QueueConfigurations": [own]}
    )
    prepare = (
        "source orchestration/deploy_step_functions.sh; work=$(mktemp -d);"
        " given=([Uploads]=ENABLED [ExistingBucket]=of-others);"
    )

    refused = operator.shell(f"{prepare} prepare_existing_bucket")
    s3.put_bucket_versioning(Bucket="of-others", VersioningConfiguration={"Status": "Enabled"})
    foreseen = operator.shell(f"{prepare} action=dry-run; prepare_existing_bucket")
    before = s3.get_bucket_notification_configuration(Bucket="of-others")
    done = operator.shell(f"{prepare} prepare_existing_bucket")
    after = s3.get_bucket_notification_configuration(Bucket="of-others")
    drop.pipeline.aws.client("sqs").delete_queue(QueueUrl=queue)

    assert refused.returncode == 2
    assert "put-bucket-versioning --bucket of-others" in refused.stderr
    assert "would be switched on; its other notifications (1)" in foreseen.stderr
    assert "EventBridgeConfiguration" not in before
    assert done.returncode == 0
    assert after["EventBridgeConfiguration"] == {}
    assert after["QueueConfigurations"] == before["QueueConfigurations"]
