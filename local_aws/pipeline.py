"""Deploying and running the pipeline on a local AWS, as its operators and its schedule do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local_aws.endpoint import REGION
from local_aws.server import LocalAws
from local_aws.workers import PROJECT

SCRIPT: Final = PROJECT / "orchestration" / "deploy_step_functions.sh"

STAND_IN_IMAGES: Final = {
    name: f"123456789012.dkr.ecr.us-east-1.amazonaws.com/condvest-{name}@sha256:{'0' * 64}"
    for name in ("fetchers", "consolidator", "resampler")
}
"""Images that do not exist, for jobs that run as processes of this checkout."""

_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


@dataclass(frozen=True, slots=True)
class Alert:
    """A message of the alerts topic."""

    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution that ended.

    Attributes:
        arn: Its ARN.
        status: SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        error: Its error, empty where there is none.
        cause: Its cause.
        states: The states that it entered, in order.
        output: Its output; empty where it failed.
    """

    arn: str
    status: str
    error: str
    cause: str
    states: tuple[str, ...]
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator with the deploy script, the APIs and an inbox for alerts.

    Attributes:
        aws: The local AWS.
        stack: Name of the stack.
    """

    aws: LocalAws
    stack: str = "condvest-ohlcv-pipeline"
    _settled: list[str] = field(default_factory=list)

    def script(
        self,
        *options: str,
        check: bool = True,
        path: str | None = None,
        given: str = "",
        script: Path = SCRIPT,
    ) -> subprocess.CompletedProcess[str]:
        """Run the deploy script.

        Args:
            options: Its arguments.
            check: Whether to raise an error if it fails.
            path: Where it finds its tools; as this process does, if not given.
            given: Its standard input.
            script: The script, or a link to it.

        Raises:
            subprocess.CalledProcessError: It failed, and ``check`` is True.
        """
        done = self._run([str(script), *options], path=path, given=given)
        if check and done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()
        return done

    def shell(self, lines: str) -> subprocess.CompletedProcess[str]:
        """Run lines in bash, at the root of this checkout."""
        return self._run(["bash", "-euo", "pipefail", "-c", lines])

    def _run(
        self, command: list[str], *, path: str | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        if path is None:
            path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
        engine = {name: value for name, value in os.environ.items() if name.startswith("CONTAINER")}
        environment = {"HOME": os.environ.get("HOME", "/"), "PATH": path, **engine}
        return subprocess.run(
            command,
            env={**environment, **self.aws.environment},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
        )

    def deploy(self, *options: str, images: Mapping[str, str] = STAND_IN_IMAGES) -> None:
        """Deploy with images that need not be built."""
        given: list[str] = []
        for name, uri in images.items():
            given += ["--image", f"{name}={uri}"]
        self.script(*given, *options)

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        return self.aws.stacks.find(self.stack).outputs[name].value

    def put_vendor_key(self, key: str) -> None:
        """Put the vendor's key into the secret."""
        secrets = self.aws.client("secretsmanager")
        secrets.put_secret_value(SecretId=self.output("Secret"), SecretString=key)

    def forbid_intervals(self, intervals: Sequence[int]) -> None:
        """Deny the resampler's role to read the manifests of some intervals."""
        lake = self.output("Lake").removeprefix("s3://")
        resources = [f"arn:aws:s3:::{lake}/_state/{number}d.json.gz" for number in intervals]
        denial = {"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": resources}
        self.aws.client("iam").put_role_policy(
            RoleName=f"condvest-resampler-{REGION}",
            PolicyName="forbidden",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denial]}),
        )

    def allow_intervals(self) -> None:
        """Remove the denial."""
        self.aws.client("iam").delete_role_policy(
            RoleName=f"condvest-resampler-{REGION}", PolicyName="forbidden"
        )

    def subscribe(self) -> None:
        """Subscribe an inbox to the alerts."""
        sqs, sns = self.aws.client("sqs"), self.aws.client("sns")
        inbox = sqs.create_queue(QueueName=self._inbox)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])
        sns.subscribe(
            TopicArn=self.output("AlertTopic"),
            Protocol="sqs",
            Endpoint=found["Attributes"]["QueueArn"],
        )

    @property
    def _inbox(self) -> str:
        return f"inbox-{self.stack}"

    def alerts(self) -> list[Alert]:
        """Return the alerts in the inbox, and empty it."""
        sqs = self.aws.client("sqs")
        inbox = sqs.get_queue_url(QueueName=self._inbox)["QueueUrl"]
        found = []
        while messages := sqs.receive_message(
            QueueUrl=inbox, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for message in messages:
                body = json.loads(message["Body"])
                found.append(Alert(body.get("Subject") or "", body["Message"]))
                sqs.delete_message(QueueUrl=inbox, ReceiptHandle=message["ReceiptHandle"])
        return found

    def upload(self, path: str, content: bytes) -> str:
        """Put a file under ``uploads/``; returns its version."""
        made = self.aws.client("s3").put_object(
            Bucket=self.output("Bucket"), Key=f"uploads/{path}", Body=content
        )
        return str(made["VersionId"])

    def executions(self, machine: str, *, status: str = "") -> list[str]:
        """Return the ARNs of the executions of an output's state machine, newest first."""
        only = {"statusFilter": status} if status else {}
        found = self.aws.client("stepfunctions").list_executions(
            stateMachineArn=self.output(machine), **only
        )
        return [one["executionArn"] for one in found["executions"]]

    def let_uploads_settle(self, *, timeout_s: float = 300) -> list[Execution]:
        """Wait until no upload is on its way any more; returns the updates since, oldest first."""
        self.aws.bus.wait()
        machines = ("UploadTrigger", "UploadProcessor", "LakeUpdate")
        known = set(self._settled)
        for machine in machines:
            for arn in reversed(self.executions(machine)):
                if arn not in known:
                    self.follow(arn, timeout_s=timeout_s)
        updates = [arn for arn in reversed(self.executions("LakeUpdate")) if arn not in known]
        self._settled.extend(updates)
        return [self.follow(arn) for arn in updates]

    def let_schedule_fire(self, instant: datetime) -> str:
        """Start the schedule's target with its input, as the schedule does at an instant."""
        schedule = self.aws.client("scheduler").get_schedule(Name=self.output("Schedule"))
        text = f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        started = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=schedule["Target"]["Arn"],
            input=schedule["Target"]["Input"].replace(_SCHEDULED_TIME, text),
        )
        return str(started["executionArn"])

    def start(self, given: Mapping[str, Any] | None = None, *, name: str | None = None) -> str:
        """Start the pipeline with an input."""
        named = {"name": name} if name else {}
        started = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.output("Pipeline"), input=json.dumps(given or {}), **named
        )
        return str(started["executionArn"])

    def follow(
        self,
        arn: str,
        *,
        timeout_s: float = 300,
        on_event: Callable[[str, str], None] | None = None,
    ) -> Execution:
        """Wait for the end of an execution.

        Args:
            arn: Its ARN.
            timeout_s: How long to wait.
            on_event: Called with ``entered`` and each state's name, or ``failed`` and an error.

        Raises:
            TimeoutError: It did not end in time.
        """
        steps = self.aws.client("stepfunctions")
        deadline = time.monotonic() + timeout_s
        history: list[dict[str, Any]] = []
        is_running = True
        while is_running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arn} did not end within {timeout_s:g} s")
            time.sleep(0.2)
            described = steps.describe_execution(executionArn=arn)
            is_running = described["status"] == "RUNNING"
            if on_event or not is_running:
                known = len(history)
                history = steps.get_execution_history(executionArn=arn, maxResults=1000)["events"]
                if on_event:
                    _report(history[known:], on_event)
        entered = [event.get("stateEnteredEventDetails") for event in history]
        return Execution(
            arn=arn,
            status=described["status"],
            error=described.get("error", ""),
            cause=described.get("cause", ""),
            states=tuple(details["name"] for details in entered if details),
            output=json.loads(described.get("output") or "{}"),
        )


def _report(history: Sequence[Mapping[str, Any]], on_event: Callable[[str, str], None]) -> None:
    for event in history:
        if details := event.get("stateEnteredEventDetails"):
            on_event("entered", details["name"])
        elif details := event.get("taskFailedEventDetails"):
            on_event("failed", details.get("error", ""))
