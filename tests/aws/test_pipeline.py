"""The real definition with real jobs on a local AWS: good days, and each kind of bad one."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import pytest

from fetchers.sources.vendor_stub import Fault, FaultKind
from orchestration.local_aws.access import Call, statement_covers
from orchestration.local_aws.pipeline import Alert, Execution
from tests.aws.conftest import KEY, Deployed

pytestmark = pytest.mark.slow

BAD_DELIVERY = "bronze/daily/date=2026-01-05/20260105T220000000000Z-broken.parquet"


def only_alert(deployed: Deployed) -> Alert:
    (alert,) = deployed.operator.alerts()
    return alert


def failures_of(alert: Alert) -> list[dict[str, Any]]:
    (line,) = [line for line in alert.message.splitlines() if line.startswith("[{")]
    found: list[dict[str, Any]] = json.loads(line)
    return found


def redrive_input(alert: Alert) -> dict[str, Any]:
    (line,) = [line for line in alert.message.splitlines() if line.startswith("aws stepfunctions")]
    words = shlex.split(line)
    found: dict[str, Any] = json.loads(words[words.index("--input") + 1])
    return found


def test_a_day_goes_from_the_vendor_to_all_six_intervals(
    deployed: Deployed, first_day: Execution
) -> None:
    assert first_day.status == "SUCCEEDED", first_day.cause
    assert first_day.states[-1] == "PipelineComplete"
    tables = {key.split("/")[1] for key in deployed.keys("silver/")}
    assert tables >= {"1d", "3d", "5d", "8d", "13d", "21d", "34d"}
    assert deployed.keys("_state/arrivals/") == []
    assert deployed.aws.denied == []


def test_a_day_with_nothing_new_ends_as_a_success_without_jobs(quiet: Deployed) -> None:
    ended = quiet.fire()

    assert ended.status == "SUCCEEDED"
    assert ended.states[-1] == "NothingToDo"
    assert "Consolidate" not in ended.states
    assert quiet.operator.alerts() == []


def test_deliveries_that_wait_are_consolidated_though_the_fetch_found_nothing(
    quiet: Deployed,
) -> None:
    newest = quiet.keys("bronze/daily/")[-1]
    quiet.put(newest.replace("bronze/daily/", "_state/arrivals/"), b"")

    ended = quiet.fire()

    assert ended.states[-1] == "PipelineComplete"
    assert quiet.keys("_state/arrivals/") == []


def test_an_incomplete_session_is_noted_and_asked_for_again(quiet: Deployed) -> None:
    newest = quiet.keys("bronze/daily/")[-1].split("/")[2].removeprefix("date=")
    quiet.stub.faults.append(Fault(FaultKind.DELAYED, on=f"/stocks/{newest}"))
    try:
        quiet.run()
        noted = quiet.keys("_state/incomplete/")
    finally:
        quiet.stub.faults.clear()

    quiet.run()

    assert noted == [f"_state/incomplete/date={newest}.json"]
    assert quiet.keys("_state/incomplete/") == []
    assert quiet.aws.denied == []


def test_a_second_firing_of_the_same_day_starts_nothing(quiet: Deployed) -> None:
    operator = quiet.operator
    before = operator.aws.client("stepfunctions").list_executions(
        stateMachineArn=operator.output("Pipeline")
    )["executions"]

    ended = operator.follow(operator.let_schedule_fire(quiet.instant(quiet.fired - 1)))

    after = operator.aws.client("stepfunctions").list_executions(
        stateMachineArn=operator.output("Pipeline")
    )["executions"]
    assert ended.status == "SUCCEEDED"
    assert ended.states[-1] == "AlreadyStarted"
    assert len(after) == len(before)


def test_an_input_that_makes_no_sense_is_refused_with_an_alert(quiet: Deployed) -> None:
    ended = quiet.run(intervals=[])

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "intervals a list of numbers" in ended.cause
    assert failures_of(only_alert(quiet))[0]["error"] == "InputRefused"


def test_a_fetcher_that_raises_is_tried_three_times_then_told(quiet: Deployed) -> None:
    quiet.operator.put_vendor_key("revoked")
    try:
        ended = quiet.run()
    finally:
        quiet.operator.put_vendor_key(KEY)

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "Consolidate" not in ended.states
    alert = only_alert(quiet)
    assert {failure["step"] for failure in failures_of(alert)} == {
        "FetchDailyBars",
        "FetchReference",
    }
    assert "fetch-daily-bars" in failures_of(alert)[0]["log"]
    assert KEY not in alert.message
    assert len(quiet.aws.waits) == 4
    assert all(0 <= wait <= 6 for wait in quiet.aws.waits)


def test_a_fetcher_that_takes_too_long_is_a_failure(quiet: Deployed) -> None:
    functions = quiet.aws.client("lambda")
    functions.update_function_configuration(FunctionName="condvest-fetch-reference", Timeout=1)
    try:
        ended = quiet.run()
    finally:
        functions.update_function_configuration(
            FunctionName="condvest-fetch-reference", Timeout=840
        )

    assert ended.status == "FAILED"
    (failure,) = failures_of(only_alert(quiet))
    assert failure["step"] == "FetchReference"
    assert "timed out after 1" in failure["cause"]


def test_refused_data_fails_the_consolidator_twice_then_alerts(quiet: Deployed) -> None:
    quiet.put(BAD_DELIVERY, b"this is no Parquet")
    try:
        ended = quiet.run()
    finally:
        quiet.remove(BAD_DELIVERY)

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "Resample" not in ended.states
    assert quiet.aws.waits == [60]
    (failure,) = failures_of(only_alert(quiet))
    assert failure["step"] == "Consolidate"
    assert "exit code 3" in failure["cause"]
    assert "$252Faws$252Fbatch$252Fcondvest-consolidator/log-events/" in failure["log"]
    described = quiet.aws.client("batch").describe_jobs(jobs=[failure["job_id"]])["jobs"][0]
    assert len(described["attempts"]) == 1


def test_a_consolidator_that_is_told_to_stop_exits_75_and_is_repaired_by_the_redrive(
    quiet: Deployed,
) -> None:
    with stopping_consolidators(quiet, reason="stopped by an operator") as stopped:
        ended = quiet.run(full=True, intervals=[34])
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert ended.status == "FAILED"
    assert len(stopped) == 2
    assert "exit code 75" in failures_of(alert)[0]["cause"]
    assert redrive_input(alert)["full"] is True
    assert repaired.states[-1] == "PipelineComplete"


def test_an_interrupted_spot_task_is_tried_again_by_batch_without_an_alert(
    quiet: Deployed,
) -> None:
    with stopping_consolidators(quiet, reason="Your Spot Task was interrupted.") as stopped:
        ended = quiet.run(full=True, intervals=[34])

    (job,) = quiet.aws.client("batch").describe_jobs(jobs=stopped)["jobs"]
    assert ended.states[-1] == "PipelineComplete"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 0]
    assert quiet.operator.alerts() == []


@contextmanager
def stopping_consolidators(deployed: Deployed, *, reason: str) -> Iterator[list[str]]:
    """Stop the first attempt of every consolidation at its first call; gives the jobs' ids."""
    batch = deployed.aws.client("batch")
    stopped: list[str] = []

    def stop_at_first_call(call: Call) -> None:
        if call.role != "condvest-consolidator":
            return
        running = batch.list_jobs(jobQueue="condvest-consolidator", jobStatus="RUNNING")
        for job in running["jobSummaryList"]:
            if job["jobId"] not in stopped:
                stopped.append(job["jobId"])
                batch.terminate_job(jobId=job["jobId"], reason=reason)

    with watching(deployed, stop_at_first_call):
        yield stopped


@contextmanager
def watching(deployed: Deployed, watcher: Any) -> Iterator[None]:
    deployed.aws.watchers.append(watcher)
    try:
        yield
    finally:
        deployed.aws.watchers.remove(watcher)


@pytest.mark.parametrize("forbidden", [[8], [3, 5, 8, 13, 21, 34]], ids=["one", "six"])
def test_intervals_that_fail_are_told_together_and_redriven_alone(
    quiet: Deployed, forbidden: list[int]
) -> None:
    quiet.operator.forbid_intervals(forbidden)
    try:
        ended = quiet.run()
    finally:
        quiet.operator.allow_intervals()
        quiet.aws.denied.clear()
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert ended.states.count("ResampleInterval") == 6
    assert quiet.aws.waits == []
    assert [failure["step"] for failure in failures_of(alert)] == [
        f"Resample {interval}d" for interval in forbidden
    ]
    assert redrive_input(alert)["intervals"] == forbidden
    assert alert.subject.isascii()
    assert len(alert.subject) < 100
    assert ended.arn in alert.message
    assert repaired.states[-1] == "PipelineComplete"
    assert repaired.states.count("ResampleInterval") == len(forbidden)


def test_where_the_alert_cannot_be_sent_the_rule_tells(quiet: Deployed) -> None:
    iam = quiet.aws.client("iam")
    role = {"RoleName": "condvest-pipeline-step-functions-role", "PolicyName": "work"}
    before = iam.get_role_policy(**role)["PolicyDocument"]
    silenced = [item for item in before["Statement"] if item["Sid"] != "Alert"]
    iam.put_role_policy(**role, PolicyDocument=json.dumps({**before, "Statement": silenced}))
    try:
        ended = quiet.run(intervals=["five"])
    finally:
        iam.put_role_policy(**role, PolicyDocument=json.dumps(before))
        quiet.aws.denied.clear()

    assert (ended.status, ended.error) == ("FAILED", "AlertNotDelivered")
    assert "intervals a list of numbers" in ended.cause
    assert "without an alert of its own" in only_alert(quiet).message


def test_the_schedule_is_in_new_york_time_with_a_dead_letter_queue(deployed: Deployed) -> None:
    schedule = deployed.aws.client("scheduler").get_schedule(Name="condvest-daily-pipeline-trigger")

    assert schedule["ScheduleExpression"] == "cron(5 16 ? * MON-FRI *)"
    assert schedule["ScheduleExpressionTimezone"] == "America/New_York"
    assert schedule["Target"]["Arn"] == deployed.operator.output("Trigger")
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith(":condvest-undelivered")


def test_what_moto_alone_would_ignore_was_applied(deployed: Deployed) -> None:
    aws = deployed.aws
    policy = json.loads(aws.client("s3").get_bucket_policy(Bucket=deployed.bucket)["Policy"])
    alarm = aws.client("cloudwatch").describe_alarms()["MetricAlarms"][0]
    machine = aws.client("stepfunctions").describe_state_machine(
        stateMachineArn=deployed.operator.output("Pipeline")
    )
    secret = aws.client("secretsmanager").describe_secret(SecretId="condvest/polygon-api-key")
    topic = aws.client("sns").get_topic_attributes(TopicArn=deployed.operator.output("AlertTopic"))

    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["EvaluationPeriods"] == 26
    assert alarm["AlarmActions"] == [deployed.operator.output("AlertTopic")]
    assert machine["tracingConfiguration"] == {"enabled": True}
    assert machine["loggingConfiguration"]["level"] == "ERROR"
    assert "${" not in machine["definition"]
    assert secret["Name"] == "condvest/polygon-api-key"
    assert "events.amazonaws.com" in topic["Attributes"]["Policy"]


RARE = {
    "s3:AbortMultipartUpload": "only where a large upload breaks off",
    "s3:DeleteObject": "partitions are removed when all deliveries of a year are gone",
    "batch:TerminateJob": "only when an execution is stopped",
    "events:PutTargets": "Step Functions itself, where it follows jobs by events",
    "events:PutRule": "Step Functions itself, where it follows jobs by events",
    "events:DescribeRule": "Step Functions itself, where it follows jobs by events",
    "sqs:SendMessage": "only what the schedule could not deliver",
}
PLATFORM = ("logs:", "xray:", "ecr:")


def test_no_role_may_do_what_its_code_never_does(quiet: Deployed) -> None:
    quiet.run(intervals=[])
    used = set(quiet.aws.calls)
    unused = []
    for role in sorted({call.role for call in used}):
        for statement in quiet.aws.policies(role):
            if statement["Effect"] == "Deny":
                continue
            for action in statement["Action"]:
                seen = any(
                    call.role == role
                    and fnmatchcase(call.action, action)
                    and statement_covers(statement, call)
                    for call in used
                )
                if not seen and action not in RARE and not action.startswith(PLATFORM):
                    unused.append((role, action))

    assert unused == []
    assert quiet.aws.denied == []
