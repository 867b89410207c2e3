"""The real definition with real jobs on a local AWS: good days, and each kind of bad one."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batch.runtime.command import run_main
from local_aws.access import Call
from local_aws.endpoint import REGION
from local_aws.pipeline import STAND_IN_IMAGES, Alert, Execution
from orchestration.cli.verify import command as verify_command
from simulation.vendor_server import Fault, FaultKind
from tests.aws.conftest import KEY, Deployed
from tests.support.permissions import unused_permissions

pytestmark = pytest.mark.slow

BAD_DELIVERY = "bronze/daily/date=2026-01-05/20260105T220000000000Z-broken.parquet"


def only_alert(deployed: Deployed) -> Alert:
    (alert,) = deployed.operator.alerts()
    return alert


def next_alert(deployed: Deployed) -> Alert:
    """Wait for an alert that comes once what was running has ended."""
    deadline = time.monotonic() + 60
    while not (alerts := deployed.operator.alerts()) and time.monotonic() < deadline:
        time.sleep(0.1)
    (alert,) = alerts
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


def redriven(deployed: Deployed) -> Execution:
    """Do what the table of troubles says: ``--redrive``, and see it through."""
    done = deployed.operator.script("--redrive")
    return deployed.operator.follow(done.stdout.split()[-1])


def log_of(deployed: Deployed, job_id: str) -> str:
    """Return what the last attempt of a job wrote."""
    (job,) = deployed.aws.client("batch").describe_jobs(jobs=[job_id])["jobs"]
    stream = job["attempts"][-1]["container"].get("logStreamName")
    stream = stream or job["container"]["logStreamName"]
    found = deployed.aws.client("logs").get_log_events(
        logGroupName=f"/aws/batch/{job['jobQueue'].rsplit('/', 1)[-1]}", logStreamName=stream
    )
    return "\n".join(event["message"] for event in found["events"])


def verify(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> int:
    """Recompute every bar with the other engine, as an administrator; returns the exit code."""
    for name, value in deployed.aws.environment.items():
        monkeypatch.setenv(name, value)
    lake = deployed.operator.output("Lake")
    return run_main(verify_command, ["--lake", lake], name="verify")


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
        quiet.run(intervals=[34])
        noted = quiet.keys("_state/incomplete/")
    finally:
        quiet.stub.faults.clear()

    quiet.run(intervals=[34])

    assert noted == [f"_state/incomplete/date={newest}.json"]
    assert quiet.keys("_state/incomplete/") == []
    assert quiet.aws.denied == []


@pytest.mark.troubleshooting("trigger ends in `AlreadyStarted`")
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


@pytest.mark.troubleshooting("alert: `InputRefused`")
@pytest.mark.parametrize("intervals", [[], [5, "eight"], [3, 0]], ids=str)
def test_an_input_that_makes_no_sense_is_refused_with_an_alert(
    quiet: Deployed, intervals: list[object]
) -> None:
    ended = quiet.run(intervals=intervals)
    alert = only_alert(quiet)
    refused = quiet.operator.script("--redrive", check=False)
    status = quiet.operator.script("--status").stdout

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "intervals a list of numbers" in ended.cause
    assert failures_of(alert)[0]["error"] == "InputRefused"
    assert "start-execution" not in alert.message
    assert (refused.returncode, "was refused" in refused.stderr) == (2, True)
    assert "state:   CheckInput" in status
    assert "--redrive" not in status


@pytest.mark.troubleshooting("alert: `FetchDailyBars`, key refused or not found")
def test_a_fetcher_that_raises_is_tried_three_times_then_reported(quiet: Deployed) -> None:
    quiet.operator.put_vendor_key("revoked")
    try:
        ended = quiet.run(intervals=[34])
    finally:
        quiet.operator.put_vendor_key(KEY)
    waits = list(quiet.aws.waits)
    repaired = redriven(quiet)

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "Consolidate" not in ended.states
    alert = only_alert(quiet)
    assert {failure["step"] for failure in failures_of(alert)} == {
        "FetchDailyBars",
        "FetchReference",
    }
    assert "fetch-daily-bars" in failures_of(alert)[0]["log"]
    assert KEY not in alert.message
    assert len(waits) == 4
    assert all(0 <= wait <= 6 for wait in waits)
    assert repaired.states[-1] == "PipelineComplete"


@pytest.mark.troubleshooting("alert: `FetchReference`, `timed out after`")
def test_a_fetcher_that_takes_too_long_is_a_failure(quiet: Deployed) -> None:
    functions = quiet.aws.client("lambda")
    quiet.stub.faults.append(Fault(FaultKind.SLOW, on="/v3/reference", seconds=5.0))
    functions.update_function_configuration(FunctionName="condvest-fetch-reference", Timeout=1)
    try:
        ended = quiet.run(intervals=[34])
    finally:
        functions.update_function_configuration(
            FunctionName="condvest-fetch-reference", Timeout=840
        )
        quiet.stub.faults.clear()
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert ended.status == "FAILED"
    assert repaired.states[-1] == "PipelineComplete"
    (failure,) = failures_of(alert)
    assert failure["step"] == "FetchReference"
    # Stopped from outside, or by itself just before: whichever came first in its one second.
    assert re.search(r"timed out after 1|time was about to end", failure["cause"])


@pytest.mark.troubleshooting("alert: `Consolidate`, `exit code 3`")
def test_refused_data_fails_the_consolidator_twice_then_alerts(quiet: Deployed) -> None:
    quiet.put(BAD_DELIVERY, b"this is no Parquet")
    try:
        ended = quiet.run(intervals=[34])
    finally:
        quiet.remove(BAD_DELIVERY)
    waits = list(quiet.aws.waits)
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed")
    assert "Resample" not in ended.states
    assert waits == [60]
    assert repaired.states[-1] == "PipelineComplete"
    (failure,) = failures_of(alert)
    assert failure["step"] == "Consolidate"
    assert BAD_DELIVERY in log_of(quiet, failure["job_id"])
    assert "exit code 3" in failure["cause"]
    assert "$252Faws$252Fbatch$252Fcondvest-consolidator/log-events/" in failure["log"]
    described = quiet.aws.client("batch").describe_jobs(jobs=[failure["job_id"]])["jobs"][0]
    assert len(described["attempts"]) == 1


EXIT_75 = "alert: `Consolidate` or `Resample`, `exit code 75`"


@pytest.mark.troubleshooting(EXIT_75)
def test_a_consolidator_that_is_asked_to_stop_exits_75_and_is_repaired_by_the_redrive(
    quiet: Deployed,
) -> None:
    with stopping(quiet, "condvest-consolidator", reason="stopped by an operator") as stopped:
        ended = quiet.run(full=True, intervals=[34])
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert ended.status == "FAILED"
    assert len(stopped) == 2
    assert "exit code 75" in failures_of(alert)[0]["cause"]
    assert redrive_input(alert)["full"] is True
    assert repaired.states[-1] == "PipelineComplete"


@pytest.mark.troubleshooting(EXIT_75)
def test_a_resampler_that_is_stopped_in_the_middle_is_repaired_by_the_redrive(
    quiet: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet.run(intervals=[3, 8, 13, 21, 34])
    with stopping(quiet, "condvest-resampler", reason="stopped by an operator") as stopped:
        ended = quiet.run(full=True, intervals=[5])
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert ended.status == "FAILED"
    assert len(stopped) == 1
    assert [failure["step"] for failure in failures_of(alert)] == ["Resample 5d"]
    assert all("exit code 75" in failure["cause"] for failure in failures_of(alert))
    assert repaired.states[-1] == "PipelineComplete"
    assert repaired.states.count("ResampleInterval") == 1
    assert verify(quiet, monkeypatch) == 0


def test_an_interrupted_spot_task_is_tried_again_by_batch_without_an_alert(
    quiet: Deployed,
) -> None:
    reason = "Your Spot Task was interrupted."
    with stopping(quiet, "condvest-consolidator", reason=reason) as stopped:
        ended = quiet.run(full=True, intervals=[34])

    (job,) = quiet.aws.client("batch").describe_jobs(jobs=stopped)["jobs"]
    assert ended.states[-1] == "PipelineComplete"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 0]
    assert quiet.operator.alerts() == []


@contextmanager
def stopping(deployed: Deployed, kind: str, *, reason: str) -> Iterator[list[str]]:
    """Stop the first attempt of every job of a kind at its first call; gives the jobs' ids."""
    batch = deployed.aws.client("batch")
    stopped: list[str] = []

    def stop_at_first_call(call: Call) -> None:
        if call.role != f"{kind}-{REGION}":
            return
        running = batch.list_jobs(jobQueue=kind, jobStatus="RUNNING")
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


@pytest.mark.troubleshooting("alert: `Resample 8d`, `exit code 2`, `S3 refused access` in the log")
@pytest.mark.parametrize("forbidden", [[8], [3, 5, 8, 13, 21, 34]], ids=["one", "six"])
def test_intervals_that_fail_are_reported_together_and_redriven_alone(
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
    assert all("exit code 2" in failure["cause"] for failure in failures_of(alert))
    assert "S3 refused access" in log_of(quiet, failures_of(alert)[0]["job_id"])
    assert ended.states.count("ResampleInterval") == 6
    assert quiet.aws.waits == []
    assert [failure["step"] for failure in failures_of(alert)] == [
        f"Resample {interval}d" for interval in forbidden
    ]
    assert redrive_input(alert)["intervals"] == forbidden
    assert alert.subject.isascii()
    assert len(alert.subject) < 100
    assert f"/states/home?region={REGION}#/v2/executions/details/{ended.arn}" in alert.message
    assert repaired.states[-1] == "PipelineComplete"
    assert repaired.states.count("ResampleInterval") == len(forbidden)


def test_a_failure_with_a_long_history_is_reported_and_redriven_by_the_script(
    quiet: Deployed,
) -> None:
    quiet.operator.forbid_intervals([8])
    try:
        ended = quiet.run()
    finally:
        quiet.operator.allow_intervals()
        quiet.aws.denied.clear()
    steps = quiet.aws.client("stepfunctions")
    first_page = steps.get_execution_history(executionArn=ended.arn)
    status = quiet.operator.script("--status").stdout
    repaired = redriven(quiet)
    quiet.operator.alerts()

    assert len(first_page["events"]) == 100
    assert first_page["nextToken"]
    assert "state:   Resample" in status
    assert "cause:   Resample 8d failed" in status
    assert repaired.states.count("ResampleInterval") == 1
    assert repaired.states[-1] == "PipelineComplete"


def test_a_deployment_during_a_run_leaves_its_jobs_alone(quiet: Deployed) -> None:
    deployments: list[object] = []

    def deploy_once(call: Call) -> None:
        if call.role == f"condvest-consolidator-{REGION}" and not deployments:
            images = {name: f"{uri[:-4]}beef" for name, uri in STAND_IN_IMAGES.items()}
            deployments.append(images)
            quiet.operator.deploy(images=images)

    with watching(quiet, deploy_once):
        ended = quiet.run(full=True, intervals=[34])
    quiet.operator.deploy()

    assert len(deployments) == 1
    assert ended.states[-1] == "PipelineComplete", ended.cause
    assert quiet.operator.alerts() == []


@pytest.mark.parametrize(
    "spoilt",
    [{"Container": None}, {"Container": {"LogStreamName": None}}, "cut"],
    ids=["no container", "no log", "cut in the middle"],
)
def test_a_cause_that_cannot_be_taken_apart_is_reported_all_the_same(
    quiet: Deployed, monkeypatch: pytest.MonkeyPatch, spoilt: object
) -> None:
    from moto.batch.models import Job

    describes = Job.describe

    def describe(job: Any) -> dict[str, Any]:
        found: dict[str, Any] = describes(job)
        if found["status"] == "FAILED":
            container = None if spoilt == {"Container": None} else {"logStreamName": None}
            found["container"] = container
            if spoilt == "cut":
                found["statusReason"] = '{"JobId": broken}'
        return found

    quiet.operator.forbid_intervals([8])
    monkeypatch.setattr(Job, "describe", describe)
    try:
        ended = quiet.run(intervals=[8])
    finally:
        monkeypatch.undo()
        quiet.operator.allow_intervals()
        quiet.aws.denied.clear()
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed"), ended.cause
    assert "Resample 8d" in alert.message
    assert repaired.states[-1] == "PipelineComplete"


@contextmanager
def forbidding(deployed: Deployed, sid: str) -> Iterator[None]:
    """Take a permission from the state machine's role."""
    iam = deployed.aws.client("iam")
    role = {"RoleName": f"condvest-pipeline-step-functions-role-{REGION}", "PolicyName": "work"}
    before = iam.get_role_policy(**role)["PolicyDocument"]
    left = [item for item in before["Statement"] if item["Sid"] != sid]
    assert len(left) == len(before["Statement"]) - 1
    iam.put_role_policy(**role, PolicyDocument=json.dumps({**before, "Statement": left}))
    try:
        yield
    finally:
        iam.put_role_policy(**role, PolicyDocument=json.dumps(before))
        deployed.aws.denied.clear()


@pytest.mark.troubleshooting("alert: `is not authorized to perform` in a cause")
def test_a_permission_that_is_missing_is_reported_by_role_and_action(quiet: Deployed) -> None:
    with forbidding(quiet, "LookForArrivals"):
        ended = quiet.run(only_when_new=True, intervals=[34])
    alert = only_alert(quiet)
    repaired = quiet.run(**redrive_input(alert))

    assert (ended.status, ended.error) == ("FAILED", "PipelineFailed"), ended.cause
    (failure,) = failures_of(alert)
    assert failure["step"] == "LookForArrivals"
    expected = (
        "is not authorized to perform",
        f"condvest-pipeline-step-functions-role-{REGION}",
        "s3:ListBucket",
        quiet.bucket,
    )
    assert [name for name in expected if name not in failure["cause"]] == [], failure
    assert repaired.states[-1] == "PipelineComplete"


def test_bars_of_one_session_have_their_permissions(quiet: Deployed) -> None:
    ended = quiet.run(intervals=[1])

    assert ended.states[-1] == "PipelineComplete", ended.cause
    assert quiet.keys("silver/1d_calendar/")
    assert quiet.aws.denied == []


UNALERTED = '"ended ... without an alert of its own"'


@pytest.mark.troubleshooting(UNALERTED)
def test_where_the_alert_cannot_be_sent_the_rule_alerts(quiet: Deployed) -> None:
    with forbidding(quiet, "Alert"):
        ended = quiet.run(intervals=["five"])

    assert (ended.status, ended.error) == ("FAILED", "AlertNotDelivered")
    assert "intervals a list of numbers" in ended.cause
    assert "without an alert of its own" in only_alert(quiet).message


@pytest.mark.troubleshooting(UNALERTED)
def test_an_execution_that_was_stopped_by_hand_is_reported_and_redriven(quiet: Deployed) -> None:
    steps = quiet.aws.client("stepfunctions")
    stopped: list[str] = []

    def stop_at_first_fetch(call: Call) -> None:
        if call.role == f"condvest-fetch-daily-bars-{REGION}" and not stopped:
            machine = quiet.operator.output("Pipeline")
            found = steps.list_executions(stateMachineArn=machine, statusFilter="RUNNING")
            stopped.append(found["executions"][0]["executionArn"])
            steps.stop_execution(executionArn=stopped[0])

    with watching(quiet, stop_at_first_fetch):
        ended = quiet.run(intervals=[34], only_when_new=True)
    alert = next_alert(quiet)
    status = quiet.operator.script("--status").stdout
    repaired = redriven(quiet)

    assert ended.status == "ABORTED"
    assert "without an alert of its own" in alert.message
    assert stopped == [ended.arn]
    assert f"last failure: {ended.arn.rsplit(':', 1)[-1]}" in status
    assert f"#/v2/executions/details/{ended.arn}" in status
    assert "ABORTED" in status
    assert repaired.states[-1] == "PipelineComplete"
    assert repaired.states.count("ResampleInterval") == 1


def test_the_schedule_is_in_new_york_time_with_a_dead_letter_queue(deployed: Deployed) -> None:
    schedule = deployed.aws.client("scheduler").get_schedule(Name="condvest-daily-pipeline-trigger")

    assert schedule["ScheduleExpression"] == "cron(5 16 ? * MON-FRI *)"
    assert schedule["ScheduleExpressionTimezone"] == "America/New_York"
    assert schedule["Target"]["Arn"] == deployed.operator.output("Trigger")
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith(":condvest-undelivered")


def test_what_moto_alone_would_ignore_was_applied(deployed: Deployed) -> None:
    aws = deployed.aws
    policy = json.loads(aws.client("s3").get_bucket_policy(Bucket=deployed.bucket)["Policy"])
    found = aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="condvest-")["MetricAlarms"]
    alarms = {alarm["AlarmName"].removeprefix("condvest-"): alarm for alarm in found}
    machine = aws.client("stepfunctions").describe_state_machine(
        stateMachineArn=deployed.operator.output("Pipeline")
    )
    secret = aws.client("secretsmanager").describe_secret(SecretId="condvest/polygon-api-key")
    topic = aws.client("sns").get_topic_attributes(TopicArn=deployed.operator.output("AlertTopic"))

    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert alarms["pipeline-silent"]["TreatMissingData"] == "breaching"
    assert alarms["pipeline-silent"]["EvaluationPeriods"] == 26
    assert alarms["pipeline-silent"]["AlarmActions"] == []
    assert alarms["pipeline-in-use"]["TreatMissingData"] == "notBreaching"
    topic_arn = deployed.operator.output("AlertTopic")
    for name in ("pipeline-slow-run", "undelivered"):
        assert alarms[name]["AlarmActions"] == [topic_arn]
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
    roles = {call.role for call in quiet.aws.calls if call.role.startswith("condvest-")}

    unused = unused_permissions(quiet.aws, sorted(roles), rare=RARE, platform=PLATFORM)

    assert unused == []
    assert quiet.aws.denied == []
