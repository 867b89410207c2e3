"""Batch jobs and functions that really run: as processes of this checkout or as containers."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from local_aws.access import ROLE_KEY
from local_aws.interpreter import mend
from local_aws.runtime_api import RuntimeApi

PROJECT: Final = Path(__file__).parents[1]

_TERMINATION_S = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job's process ended.

    Attributes:
        exit_code: None where it could not be started.
        log: What it wrote.
        reason: Why it ended, where it did not end by itself.
    """

    exit_code: int | None
    log: str
    reason: str = ""


class Launcher(Protocol):
    """Turns an image, a command and an environment into a process."""

    def job(
        self, image: str, command: Sequence[str], environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start a job."""

    def function(
        self, image: str, handler: str, environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start the runtime of a function, which asks ``AWS_LAMBDA_RUNTIME_API`` for its event."""

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """End a process that was started, at once."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Runs the code of this checkout; an image stands for the module that it would start.

    Attributes:
        interpreter: What takes ``-m`` and a module.
    """

    interpreter: tuple[str, ...] = (sys.executable,)

    def job(
        self, image: str, command: Sequence[str], environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start the module that the image would."""
        module = "batch.consolidator" if "consolidator" in image else "batch.resampler"
        return self._start([*self.interpreter, "-m", module, *command], environment)

    def function(
        self, image: str, handler: str, environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start the module that speaks the runtime's protocol."""
        client = ["-m", "local_aws.runtime_client", handler]
        return self._start([*self.interpreter, *client], environment)

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """Kill the process."""
        process.kill()

    def _start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**inherited, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@dataclass(frozen=True, slots=True)
class Containers:
    """Runs the images, read-only, with a writable ``/tmp`` as on Fargate and Lambda."""

    client: str

    def job(
        self, image: str, command: Sequence[str], environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start the image's entry point."""
        return self._run(image, command, environment, name)

    def function(
        self, image: str, handler: str, environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        """Start the image's runtime with a handler."""
        return self._run(image, [handler], environment, name)

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """Kill the container."""
        subprocess.run([self.client, "kill", name], capture_output=True, check=False)
        process.kill()

    def _run(
        self, image: str, command: Sequence[str], environment: Mapping[str, str], name: str
    ) -> subprocess.Popen[str]:
        options = ["--rm", "--network=host", "--read-only", "--tmpfs=/tmp", f"--name={name}"]
        options += [f"--env={key}={value}" for key, value in environment.items()]
        return subprocess.Popen(
            [self.client, "run", *options, image, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@dataclass(slots=True)
class Workers:
    """Runs what moto's Batch and Lambda are asked to run.

    Attributes:
        endpoint: Where the services answer.
        launcher: Processes or containers.
        stopped: Jobs that were asked to stop, by id.
    """

    endpoint: str
    launcher: Launcher
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)

    def install(self) -> None:
        """Let moto's jobs and functions run here."""
        from moto.awslambda.models import LambdaFunction
        from moto.batch.models import BatchBackend, Job

        workers = self
        status = property(
            lambda job: job.__dict__.get("_own_status", "SUBMITTED"),
            lambda job, status: job.__dict__.__setitem__("_own_status", status),
        )
        details_of: Any = Job._container_details

        def details(job: Any) -> dict[str, Any]:
            job.container_overrides = copy.deepcopy(job.container_overrides)
            found: dict[str, Any] = details_of(job)
            if job.exit_code is not None:
                found["exitCode"] = job.exit_code
            return found

        def describe(backend: Any, jobs: list[str] | None) -> list[dict[str, Any]]:
            # Over a copy: a job may be submitted meanwhile, by the branches of a Map.
            wanted = set(jobs or ())
            found = list(backend._jobs.values())
            return [job.describe() for job in found if not wanted or {job.job_id, job.arn} & wanted]

        def run(job: Any) -> None:
            workers.run_job(job)

        def terminate(job: Any, reason: str) -> None:
            workers.terminate_job(job, reason)

        def invoke(function: Any, event: Any = None) -> tuple[str, bool, str]:
            return workers.invoke(function, event)

        mend(Job, status=status, _container_details=details, run=run, terminate=terminate)
        mend(BatchBackend, describe_jobs=describe)
        mend(LambdaFunction, _invoke_lambda=invoke)

    def environment(self, role_arn: str, region: str) -> dict[str, str]:
        """Return what every process gets: the endpoint and the credentials of its role."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": f"{ROLE_KEY}{role_arn.rsplit('/', 1)[-1]}",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }

    def run_job(self, job: Any) -> None:
        """Run all attempts of a job and record how each ended."""
        try:
            self._run_attempts(job)
        except Exception as err:
            job.job_stopped_reason = f"{type(err).__name__}: {err}"
            job._mark_stopped(success=False)
            raise

    def _run_attempts(self, job: Any) -> None:
        definition = job.job_definition
        container = definition.container_properties
        given = job._container_details()
        environment = self.environment(container["jobRoleArn"], definition._region)
        environment |= {item["name"]: item["value"] for item in given["environment"]}
        options = container["logConfiguration"]["options"]
        strategy = definition.retry_strategy
        for attempt in range(1, int(strategy["attempts"]) + 1):
            environment["AWS_BATCH_JOB_ATTEMPT"] = str(attempt)
            job.job_started_at = datetime.now(UTC)
            job.status = "RUNNING"
            job.log_stream_name = f"{options['awslogs-stream-prefix']}/default/{uuid4().hex}"
            job._start_attempt()
            outcome = self._run_once(job, container["image"], given["command"], environment)
            job.exit_code = outcome.exit_code
            job.job_stopped_reason = outcome.reason or "Essential container in task exited"
            _keep_log(job, options["awslogs-group"], outcome.log)
            job.job_stopped_at = datetime.now(UTC)
            job._stop_attempt()
            if outcome.exit_code is not None:
                job.latest_attempt["container"]["exitCode"] = outcome.exit_code
            if outcome.exit_code == 0 or not _tried_again(strategy, outcome):
                break
        job._mark_stopped(success=job.exit_code == 0)

    def _run_once(
        self, job: Any, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> Outcome:
        name = f"job-{job.job_id}"
        try:
            process = self.launcher.job(image, command, environment, name)
        except OSError as err:
            return Outcome(None, "", f"CannotPullContainerError: {err}")
        self.running[job.job_id] = process
        try:
            log, _ = process.communicate(timeout=job._get_attempt_duration())
        except subprocess.TimeoutExpired:
            self.launcher.kill(process, name)
            log, _ = process.communicate()
            return Outcome(137, log, "Job attempt duration exceeded timeout")
        finally:
            del self.running[job.job_id]
        reason = job.job_stopped_reason if job.job_id in self.stopped else ""
        return Outcome(process.returncode, log, reason)

    def terminate_job(self, job: Any, reason: str) -> None:
        """Ask a job to stop; it is killed if it has not after 30 seconds."""
        self.stopped.add(job.job_id)
        job.job_stopped_reason = reason
        process = self.running.get(job.job_id)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        timer = threading.Timer(
            _TERMINATION_S, lambda: self.launcher.kill(process, f"job-{job.job_id}")
        )
        timer.daemon = True
        timer.start()

    def invoke(self, function: Any, event: Any) -> tuple[str, bool, str]:
        """Run a function once: its answer or error as JSON, whether it failed, its log."""
        timeout_s = int(function.timeout or 3)
        handler = function.image_config.cmd[0]
        environment = self.environment(function.role, function.region) | {
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
            **function.environment_vars,
        }
        name = f"function-{uuid4().hex[:12]}"
        with RuntimeApi(event, timeout_s=timeout_s, arn=function.function_arn) as api:
            environment["AWS_LAMBDA_RUNTIME_API"] = api.address
            process = self.launcher.function(function.code["ImageUri"], handler, environment, name)
            with tempfile.TemporaryFile("w+") as log_file:
                reader = _copy(process, log_file)
                answer = api.wait(timeout_s, lambda: process.poll() is not None)
                self.launcher.kill(process, name)
                process.wait()
                reader.join()
                log_file.seek(0)
                log = log_file.read()
        function.logs_backend.ensure_log_group(function.logs_group_name)
        function.save_logs(log)
        if answer is None:
            kind = "Sandbox.Timedout" if api.timed_out else "Runtime.ExitError"
            told = (
                f"Task timed out after {timeout_s}.00 seconds"
                if api.timed_out
                else f"Runtime exited with {process.returncode}: {log[-500:]}"
            )
            return json.dumps({"errorType": kind, "errorMessage": told}), True, log
        return answer.body, answer.failed, log


def _copy(process: subprocess.Popen[str], target: Any) -> threading.Thread:
    assert process.stdout is not None  # noqa: S101 - every launcher pipes it
    lines = process.stdout

    def copy_lines() -> None:
        with lines:
            for line in lines:
                target.write(line)

    thread = threading.Thread(target=copy_lines, daemon=True)
    thread.start()
    return thread


def _tried_again(strategy: Mapping[str, Any], outcome: Outcome) -> bool:
    """Judge an attempt as Batch does: the first entry that matches decides, else it is retried."""
    reason = outcome.reason if outcome.exit_code is None else ""
    seen = {
        "onStatusReason": outcome.reason or "Essential container in task exited",
        "onReason": reason,
        "onExitCode": str(outcome.exit_code),
    }
    for entry in strategy.get("evaluateOnExit", []):
        tests = {key: value for key, value in entry.items() if key != "action"}
        if all(_glob(seen[key], value) for key, value in tests.items()):
            return str(entry["action"]).upper() == "RETRY"
    return True


def _glob(text: str, pattern: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _keep_log(job: Any, group: str, log: str) -> None:
    backend = job._log_backend
    backend.ensure_log_group(group)
    backend.ensure_log_stream(group, job.log_stream_name)
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms, "message": line} for line in log.splitlines() if line]
    if events:
        backend.put_log_events(group, job.log_stream_name, events)
