"""Deploying and running the pipeline on a local AWS, the way its operators and its schedule do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local_aws.server import LocalAws
from local_aws.workers import PROJECT

SCRIPT: Final = PROJECT / "orchestration" / "deploy_step_functions.sh"

STAND_IN_IMAGES: Final = {
    name: f"123456789012.dkr.ecr.us-east-1.amazonaws.com/condvest-{name}@sha256:{'0' * 64}"
    for name in ("fetchers", "consolidator", "resampler")
}
"""Images that nobody built, for jobs that run as processes of this checkout."""

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
        states: The states that were entered, in order.
        output: Its output, or what it was given where it failed.
    """

    arn: str
    status: str
    error: str
    cause: str
    states: tuple[str, ...]
    output: Mapping[str, Any]


class Operator:
    """Somebody with the script, the command line and an inbox for alerts."""

    def __init__(self, aws: LocalAws, *, stack: str = "condvest-ohlcv-pipeline") -> None:
        self.aws = aws
        self.stack = stack
        self._inbox = ""

    def script(
        self, *options: str, check: bool = True, path: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the deploy script.

        Args:
            options: What to give it.
            check: Whether its failure is an error here.
            path: Where it finds its tools; where this process does, if not given.

        Raises:
            subprocess.CalledProcessError: It failed, and ``check`` is True.
        """
        if path is None:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        engine = {name: value for name, value in os.environ.items() if name.startswith("CONTAINER")}
        environment = {"HOME": os.environ.get("HOME", "/"), "PATH": path, **engine}
        done = subprocess.run(
            [str(SCRIPT), *options],
            env={**environment, **self.aws.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            sys.stderr.write(done.stdout + done.stderr)
            done.check_returncode()
        return done

    def deploy(self, *options: str, images: Mapping[str, str] = STAND_IN_IMAGES) -> None:
        """Deploy with images that are there."""
        given: list[str] = []
        for name, uri in images.items():
            given += ["--image", f"{name}={uri}"]
        self.script(*given, *options)

    def output(self, name: str) -> str:
        """Return an output of the stack."""
        return self.aws.stacks.find(self.stack).outputs[name][0]

    def put_vendor_key(self, key: str) -> None:
        """Put the vendor's key into the secret, as the script tells its user to."""
        secrets = self.aws.client("secretsmanager")
        secrets.put_secret_value(SecretId=self.output("Secret"), SecretString=key)

    def forbid_intervals(self, intervals: Sequence[int]) -> None:
        """Take from the resampler's role the right to read what some intervals were made from."""
        lake = self.output("Lake").removeprefix("s3://")
        resources = [f"arn:aws:s3:::{lake}/_state/{number}d.json.gz" for number in intervals]
        denial = {"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": resources}
        self.aws.client("iam").put_role_policy(
            RoleName="condvest-resampler",
            PolicyName="forbidden",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [denial]}),
        )

    def allow_intervals(self) -> None:
        """Give the right back."""
        self.aws.client("iam").delete_role_policy(
            RoleName="condvest-resampler", PolicyName="forbidden"
        )

    def subscribe(self) -> None:
        """Subscribe an inbox to the alerts."""
        sqs, sns = self.aws.client("sqs"), self.aws.client("sns")
        self._inbox = sqs.create_queue(QueueName=f"inbox-{self.stack}")["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=self._inbox, AttributeNames=["QueueArn"])
        sns.subscribe(
            TopicArn=self.output("AlertTopic"),
            Protocol="sqs",
            Endpoint=asked["Attributes"]["QueueArn"],
        )

    def alerts(self) -> list[Alert]:
        """Take the alerts out of the inbox."""
        sqs = self.aws.client("sqs")
        found = []
        while messages := sqs.receive_message(
            QueueUrl=self._inbox, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for message in messages:
                body = json.loads(message["Body"])
                found.append(Alert(body.get("Subject") or "", body["Message"]))
                sqs.delete_message(QueueUrl=self._inbox, ReceiptHandle=message["ReceiptHandle"])
        return found

    def let_schedule_fire(self, instant: datetime) -> str:
        """Do what the schedule does at an instant: start its target with its input."""
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
        on_state: Callable[[str, str], None] | None = None,
    ) -> Execution:
        """Wait for the end of an execution, telling each state as it is entered or left.

        Raises:
            TimeoutError: It did not end in time.
        """
        steps = self.aws.client("stepfunctions")
        deadline = time.monotonic() + timeout_s
        told = 0
        while True:
            described = steps.describe_execution(executionArn=arn)
            history = steps.get_execution_history(executionArn=arn, maxResults=1000)["events"]
            for event in history[told:]:
                self._tell(event, on_state)
            told = len(history)
            if described["status"] != "RUNNING":
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{arn} did not end within {timeout_s:g} s")
            time.sleep(0.2)
        entered = [event.get("stateEnteredEventDetails") for event in history]
        return Execution(
            arn=arn,
            status=described["status"],
            error=described.get("error", ""),
            cause=described.get("cause", ""),
            states=tuple(details["name"] for details in entered if details),
            output=json.loads(described.get("output") or "{}"),
        )

    @staticmethod
    def _tell(event: Mapping[str, Any], on_state: Callable[[str, str], None] | None) -> None:
        if on_state is None:
            return
        if details := event.get("stateEnteredEventDetails"):
            on_state("entered", details["name"])
        elif details := event.get("stateExitedEventDetails"):
            on_state("left", details["name"])
        elif details := event.get("taskFailedEventDetails"):
            on_state("failed", details.get("error", ""))
