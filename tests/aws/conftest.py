"""A deployed pipeline on a local AWS, with a stand-in for the vendor; once per session."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import pytest

from batch.core.sessions import Calendar
from local_aws.pipeline import Execution, Operator
from local_aws.server import LocalAws, local_aws
from local_aws.workers import Processes, Work
from simulation.vendor_market import SyntheticMarket
from simulation.vendor_server import VendorServer
from tests.support.command_line import warm_python

KEY = "a-key-of-the-tests"


@dataclass
class Clock:
    """Starts jobs and functions as processes of this checkout, on another day if it is set.

    Attributes:
        interpreter: Starts them.
        now: Where their clocks start; the true instant if None.
    """

    interpreter: tuple[str, ...]
    now: datetime | None = None

    @property
    def _processes(self) -> Processes:
        if self.now is None:
            return Processes(self.interpreter)
        at_instant = ("-m", "tests.support.at_instant", self.now.isoformat())
        return Processes((*self.interpreter, *at_instant))

    def start(self, work: Work, output: IO[str]) -> subprocess.Popen[str]:
        return self._processes.start(work, output)

    def kill(self, process: subprocess.Popen[str], name: str) -> None:
        self._processes.kill(process, name)


@dataclass
class Deployed:
    """The pipeline, deployed by the real script.

    Attributes:
        aws: The local AWS.
        operator: Who deployed it.
        stub: The vendor.
        fired: How often the schedule fired; each time a day later.
    """

    aws: LocalAws
    operator: Operator
    stub: VendorServer
    fired: int = 0
    vendor_settings: list[str] = field(default_factory=list)

    def fire(self) -> Execution:
        """Let the schedule fire on the next day, and follow the pipeline."""
        instant = self.instant(self.fired)
        self.fired += 1
        started = self.operator.follow(self.operator.let_schedule_fire(instant))
        return self.operator.follow(started.output["execution"])

    @staticmethod
    def instant(day: int) -> datetime:
        """Return when the schedule fires, some days from now."""
        return datetime.now(UTC).replace(hour=21, minute=5) + timedelta(days=day)

    def run(self, **given: object) -> Execution:
        """Start the pipeline by hand, and follow it."""
        return self.operator.follow(self.operator.start(given))

    @property
    def bucket(self) -> str:
        return self.operator.output("Bucket")

    def keys(self, prefix: str) -> list[str]:
        found = self.aws.client("s3").list_objects_v2(Bucket=self.bucket, Prefix=f"lake/{prefix}")
        return [item["Key"].removeprefix("lake/") for item in found.get("Contents", [])]

    def put(self, key: str, content: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=self.bucket, Key=f"lake/{key}", Body=content)

    def remove(self, key: str) -> None:
        self.aws.client("s3").delete_object(Bucket=self.bucket, Key=f"lake/{key}")


@pytest.fixture(scope="session")
def pipeline_vendor(calendar: Calendar) -> VendorServer:
    first = (datetime.now(UTC) - timedelta(days=75)).date()
    market = SyntheticMarket(symbols=25, first=first, seed=7, calendar=calendar)
    return VendorServer(market, calendar, key=KEY)


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock(warm_python())


@pytest.fixture(scope="session")
def aws_on_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The AWS command line of this environment comes first on the path, and starts warm."""
    tools = tmp_path_factory.mktemp("tools")
    client = tools / "aws"
    with pytest.MonkeyPatch.context() as patch:
        client.write_text(f'#!/bin/sh\nexec {shlex.join(warm_python("aws"))} -m awscli "$@"\n')
        client.chmod(0o755)
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(scope="session")
def running_aws(clock: Clock, aws_on_path: None) -> Iterator[LocalAws]:
    with local_aws(pace=0.01, launcher=clock) as aws:
        yield aws


@pytest.fixture(scope="session")
def deployed(running_aws: LocalAws, pipeline_vendor: VendorServer) -> Iterator[Deployed]:
    with pipeline_vendor.running() as url:
        operator = Operator(running_aws)
        settings = ["--parameter", f"PolygonBaseUrl={url}"]
        settings += ["--parameter", "PolygonRequestsPerMinute=0"]
        operator.deploy("--uploads", *settings)
        operator.put_vendor_key(KEY)
        operator.subscribe()
        yield Deployed(running_aws, operator, pipeline_vendor, vendor_settings=settings)


@pytest.fixture(scope="session")
def first_day(deployed: Deployed) -> Execution:
    """The first scheduled day, on an empty lake."""
    return deployed.fire()


@pytest.fixture
def quiet(deployed: Deployed, first_day: Execution) -> Deployed:
    """The pipeline after its first day, with an empty inbox and no waits recorded."""
    deployed.operator.alerts()
    deployed.aws.waits.clear()
    return deployed


@pytest.fixture
def image_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container client whose pushes reach the local AWS; gives the file of its calls."""
    client = tmp_path / "client"
    client.write_text(
        """#!/usr/bin/env bash
set -euo pipefail
echo "$1" >>"$(dirname "$0")/calls"
case $1 in
login) cat >/dev/null ;;
push)
    repository=${2%:*}
    digest=sha256:$(printf '%s' "$2" | sha256sum | cut -c1-64)
    aws ecr put-image --repository-name "${repository##*/}" --image-tag "${2##*:}" \\
        --image-manifest-media-type application/vnd.oci.image.manifest.v1+json --image-manifest \\
        '{"schemaVersion": 2, "config": {"digest": "'"$digest"'"}, "layers": []}' >/dev/null
    ;;
esac
"""
    )
    client.chmod(0o755)
    monkeypatch.setenv("CONTAINER_CLI", str(client))
    monkeypatch.setenv("CONTAINER_BUILD", f"{client} build")
    return tmp_path / "calls"
