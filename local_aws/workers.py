"""Batch jobs and Lambda functions that really run: as processes of this checkout or containers."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, Protocol
from uuid import uuid4

from local_aws.endpoint import environment, key_of_role
from local_aws.interpreter import patch
from local_aws.runtime_api import Answer, Invocation

PROJECT: Final = Path(__file__).parents[1]

_TERMINATION_S = 30

_ENDED_BY_ITSELF = "Essential container in task exited"

_ENTRY_POINTS = {
    "consolidator": ("batch.consolidator",),
    "resampler": ("batch.resampler",),
    "fetchers": (),
}
"""How the command of each image begins after ``python -m``, by a part of its name."""

_RUNTIME_CLIENTS = {"awslambdaric": "local_aws.runtime_client"}
"""What stands for a module that an image has and this checkout need not have."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a job's process.

    Attributes:
        exit_code: None where it could not be started.
        log: Its output.
        reason: Why it was ended; empty where it ended by itself.
    """

    exit_code: int | None
    log: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """One run of an image.

    Attributes:
        image: Its URI.
        arguments: Those of a job, or the handler of a function.
        environment: Its environment; a function gets its event from ``AWS_LAMBDA_RUNTIME_API``.
        name: Its unique name.
    """

    image: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    name: str


class Launcher(Protocol):
    """Starts what an image runs."""

    def start(self, work: Work, output: IO[str]) -> subprocess.Popen[str]:
        """Start a process that writes to a file."""

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """Kill a process that was started for work of a name."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Runs the code of this checkout; an image stands for its entry point.

    Attributes:
        interpreter: The command that takes ``-m`` and a module.
    """

    interpreter: tuple[str, ...] = (sys.executable,)

    def start(self, work: Work, output: IO[str]) -> subprocess.Popen[str]:
        """Start the module that the image's entry point and the arguments name."""
        begin = next(begin for kind, begin in _ENTRY_POINTS.items() if kind in work.image)
        module, *arguments = (*begin, *work.arguments)
        module = _RUNTIME_CLIENTS.get(module, module)
        inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
        command = [*self.interpreter, "-m", module, *arguments]
        return _popen(command, output, cwd=PROJECT, env={**inherited, **work.environment})

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """Kill the process."""
        process.kill()


@dataclass(frozen=True, slots=True)
class Containers:
    """Runs the images, read-only, with a writable ``/tmp`` as on Fargate and Lambda."""

    client: str

    def start(self, work: Work, output: IO[str]) -> subprocess.Popen[str]:
        """Start a container."""
        options = ["--rm", "--network=host", "--read-only", "--tmpfs=/tmp", f"--name={work.name}"]
        options += [f"--env={key}={value}" for key, value in work.environment.items()]
        return _popen([self.client, "run", *options, work.image, *work.arguments], output)

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        """Kill the container."""
        subprocess.run([self.client, "kill", name], capture_output=True, check=False)
        process.kill()


def _popen(command: list[str], output: IO[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, **options)


@dataclass(frozen=True, slots=True)
class Workers:
    """Runs the jobs and functions of moto's Batch and Lambda.

    Attributes:
        endpoint: Where the services answer.
        launcher: Processes or containers.
        running: The processes of jobs, by the job's id.
        stopped: Ids of the jobs that were asked to stop.
    """

    endpoint: str
    launcher: Launcher
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)

    def install(self) -> None:
        """Make moto's jobs and functions run here."""
        from moto.awslambda.models import LambdaFunction
        from moto.batch.exceptions import ClientException
        from moto.batch.models import BatchBackend, Job

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
            # From a copy: the branches of a Map submit jobs meanwhile.
            wanted = set(jobs or ())
            found = list(backend._jobs.values())
            return [job.describe() for job in found if not wanted or {job.job_id, job.arn} & wanted]

        patch(
            Job,
            status=status,
            _container_details=details,
            # Functions, since a bound method would not be passed the job.
            run=lambda job: self._run_job(job),  # noqa: PLW0108
            terminate=lambda job, reason: self._terminate_job(job, reason),  # noqa: PLW0108
        )
        submits: Any = BatchBackend.submit_job

        def submit(backend: Any, name: str, definition: str, *rest: Any, **more: Any) -> Any:
            found = backend.get_job_definition(definition)
            if found and found.status == "INACTIVE":
                raise ClientException(f"the job definition {definition} is not active")
            return submits(backend, name, definition, *rest, **more)

        patch(BatchBackend, describe_jobs=describe, submit_job=submit)
        patch(
            LambdaFunction,
            _invoke_lambda=lambda function, event=None: self._invoke(function, event),
        )

    def _run_job(self, job: Any) -> None:
        """Run the attempts of a job and record the end of each."""
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
        variables = environment(self.endpoint, key_of_role(container["jobRoleArn"]))
        variables |= {item["name"]: item["value"] for item in given["environment"]}
        options = container["logConfiguration"]["options"]
        strategy = definition.retry_strategy
        for attempt in range(1, int(strategy["attempts"]) + 1):
            variables |= {"AWS_BATCH_JOB_ID": job.job_id, "AWS_BATCH_JOB_ATTEMPT": str(attempt)}
            job.job_started_at = datetime.now(UTC)
            job.status = "RUNNING"
            job.log_stream_name = f"{options['awslogs-stream-prefix']}/default/{uuid4().hex}"
            job._start_attempt()
            work = Work(container["image"], given["command"], variables, f"job-{job.job_id}")
            outcome = self._run_once(job, work)
            job.exit_code = outcome.exit_code
            job.job_stopped_reason = outcome.reason or _ENDED_BY_ITSELF
            _keep_log(job, options["awslogs-group"], outcome.log)
            job.job_stopped_at = datetime.now(UTC)
            job._stop_attempt()
            if outcome.exit_code is not None:
                job.latest_attempt["container"]["exitCode"] = outcome.exit_code
            if outcome.exit_code == 0 or not _is_retried(strategy, outcome):
                break
        job._mark_stopped(success=job.exit_code == 0)

    def _run_once(self, job: Any, work: Work) -> Outcome:
        with TemporaryFile("w+") as output:
            try:
                process = self.launcher.start(work, output)
            except OSError as err:
                return Outcome(None, "", f"CannotPullContainerError: {err}")
            self.running[job.job_id] = process
            try:
                exit_code = process.wait(timeout=job._get_attempt_duration())
                reason = job.job_stopped_reason if job.job_id in self.stopped else ""
            except subprocess.TimeoutExpired:
                self.launcher.kill(process, work.name)
                process.wait()
                exit_code, reason = 137, "Job attempt duration exceeded timeout"
            finally:
                del self.running[job.job_id]
            output.seek(0)
            return Outcome(exit_code, output.read(), reason)

    def _terminate_job(self, job: Any, reason: str) -> None:
        """Ask a job to stop, and kill it if it has not stopped after 30 seconds."""
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

    def _invoke(self, function: Any, event: Any) -> tuple[str, bool, str]:
        """Run a function once: its answer or error as JSON, whether it failed, its log."""
        timeout_s = int(function.timeout or 3)
        variables = environment(self.endpoint, key_of_role(function.role)) | {
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
            **function.environment_vars,
        }
        name = f"function-{uuid4().hex[:12]}"
        call = Invocation(event, function.function_arn, timeout_s)
        with call.served() as address, TemporaryFile("w+") as output:
            variables["AWS_LAMBDA_RUNTIME_API"] = address
            image, handler = function.code["ImageUri"], function.image_config.cmd
            process = self.launcher.start(Work(image, handler, variables, name), output)
            try:
                answer = call.wait(lambda: process.poll() is not None)
            except TimeoutError:
                answer = _error("Sandbox.Timedout", f"Task timed out after {timeout_s}.00 seconds")
            self.launcher.kill(process, name)
            process.wait()
            output.seek(0)
            log = output.read()
        function.logs_backend.ensure_log_group(function.logs_group_name)
        function.save_logs(log)
        if answer is None:
            message = f"Runtime exited with {process.returncode}: {log[-500:]}"
            answer = _error("Runtime.ExitError", message)
        return answer.body, answer.failed, log


def _error(kind: str, message: str) -> Answer:
    return Answer(json.dumps({"errorType": kind, "errorMessage": message}), failed=True)


def _is_retried(strategy: Mapping[str, Any], outcome: Outcome) -> bool:
    """Judge an attempt as Batch does: the first entry that matches decides; without one, retry."""
    reason = outcome.reason if outcome.exit_code is None else ""
    seen = {
        "onStatusReason": outcome.reason or _ENDED_BY_ITSELF,
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
