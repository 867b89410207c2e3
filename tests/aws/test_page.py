"""Everything that orchestration/README.md shows works as it says, on the local AWS."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_aws.endpoint import ACCOUNT, REGION
from local_aws.pipeline import Execution
from local_aws.workers import PROJECT
from tests.aws import test_calendar_days, test_deployment, test_pipeline, test_uploads
from tests.aws.conftest import KEY, Deployed
from tests.support.documents import Block, Reader, blocks_of

PAGE = (PROJECT / "orchestration" / "README.md").read_text()
SCRIPT = "orchestration/deploy_step_functions.sh"


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of a section's first table, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def shell_blocks(heading: str) -> list[Block]:
    return [block for block in blocks_of(section(heading)) if block.language == "bash"]


OPERATIONS = [
    span.removeprefix("deploy_step_functions.sh ")
    for _, cell in rows("Operate")
    for span in re.findall(r"`([^`]+)`", cell)
]


def test_every_trouble_of_the_table_is_played_by_a_test() -> None:
    played = {
        mark.args[0]
        for module in (test_pipeline, test_deployment, test_calendar_days, test_uploads)
        for name, test in vars(module).items()
        if name.startswith("test_")
        for mark in getattr(test, "pytestmark", [])
        if mark.name == "troubleshooting"
    }

    assert played == {symptom for symptom, *_ in rows("Troubleshooting")}


def test_the_input_that_is_shown_is_the_whole_input() -> None:
    machine = PROJECT / "orchestration/state_machines/daily_ohlcv_pipeline.asl.json"
    defaults = json.loads(machine.read_text())["States"]["Defaults"]["Result"]
    (shown,) = [block for block in blocks_of(section("Operate")) if block.language == "json"]

    assert json.loads(shown.content).keys() == defaults.keys()


def test_removing_is_the_only_operation_that_is_tried_elsewhere() -> None:
    removing = [operation for operation in OPERATIONS if operation.startswith("--delete")]

    assert removing == ["--delete", "--delete-data"]
    assert len(OPERATIONS) > len(removing) + 5


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, as its reader has one."""
    folder = tmp_path_factory.mktemp("reader") / "checkout"
    ignored = shutil.ignore_patterns(
        *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__"),
        *("benchmarks", "tests", "docs", "lake"),
    )
    shutil.copytree(PROJECT, folder, ignore=ignored)
    return folder


class Operation:
    """Somebody who types what the page shows, in their checkout, with their own values."""

    def __init__(self, deployed: Deployed, checkout: Path) -> None:
        self.deployed = deployed
        engine = {name: value for name, value in os.environ.items() if name.startswith("CONTAINER")}
        path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
        environment = {"PATH": path, "HOME": os.environ.get("HOME", "/"), **engine}
        self.reader = Reader(checkout, {**environment, **deployed.aws.environment})
        newest = deployed.keys("bronze/daily/")[-1].split("/")[2].removeprefix("date=")
        self.own = {
            "--set-key ": f"--set-key <<<{KEY} ",
            "REGION": REGION,
            "ACCOUNT": ACCOUNT,
            "2025-11-20": newest,
        }

    def type(self, lines: str) -> str:
        """Run lines with the reader's own values; returns what they print."""
        for shown, own in self.own.items():
            lines = lines.replace(shown, own)
        return self.reader.run(Block("sh", lines, 1, 0, ""), "orchestration/README.md")

    def see_through(self, printed: str) -> Execution:
        """Follow the execution that a command started."""
        return self.deployed.operator.follow(printed.rsplit(maxsplit=1)[-1])


@pytest.fixture
def operation(
    deployed: Deployed, first_day: Execution, checkout: Path, image_client: Path
) -> Iterator[Operation]:
    yield Operation(deployed, checkout)
    shutil.rmtree(checkout / ".commands")


@pytest.mark.slow
def test_what_the_page_says_of_deploying_and_alerts_works(operation: Operation) -> None:
    (deploying,) = shell_blocks("Deploy")
    (subscribing,) = shell_blocks("Alerts")

    printed = operation.type(deploying.content)
    ended = operation.see_through(printed)
    operation.type(subscribing.content)

    assert ended.states[-1] == "PipelineComplete"
    topic = operation.deployed.operator.output("AlertTopic")
    found = operation.deployed.aws.client("sns").list_subscriptions_by_topic(TopicArn=topic)
    mails = [it["Endpoint"] for it in found["Subscriptions"] if it["Protocol"] == "email"]
    assert mails.count("you@example.com") >= 1


@pytest.mark.slow
def test_what_the_page_says_of_who_may_deploy_works(operation: Operation) -> None:
    (allowing,) = shell_blocks("Who may deploy")

    operation.type(allowing.content.replace("OWNER/NAME", "somebody/fork"))
    deployers = operation.deployed.aws.stacks.find("condvest-deployer")
    role = deployers.outputs["WorkflowRole"].value.rsplit("/", 1)[-1]
    iam = operation.deployed.aws.client("iam")
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    operation.deployed.aws.stacks.delete(deployers)

    assert {it["PolicyName"] for it in attached} == {
        f"condvest-pipeline-deploy-{REGION}",
        f"condvest-pipeline-operate-{REGION}",
    }


@pytest.mark.slow
@pytest.mark.parametrize("given", [it for it in OPERATIONS if "--start " in it])
def test_starting_by_hand_does_what_the_table_says(operation: Operation, given: str) -> None:
    ended = operation.see_through(operation.type(f"{SCRIPT} {given}"))

    described = operation.deployed.aws.client("stepfunctions").describe_execution(
        executionArn=ended.arn
    )
    newest = operation.own["2025-11-20"]
    inputs = {
        "--start --session 2025-11-20": {"session": newest},
        '--start --intervals "5 8" --full': {"intervals": [5, 8], "full": True},
        "--start --uploads": {},
    }
    assert json.loads(described["input"]) == inputs[given]
    assert ended.states[-1] == ("Swept" if "--uploads" in given else "PipelineComplete")


@pytest.mark.slow
def test_a_failure_is_seen_and_redriven_as_the_table_says(operation: Operation) -> None:
    operation.deployed.operator.put_vendor_key("revoked")
    failed = operation.deployed.run(intervals=[34])
    operation.deployed.operator.put_vendor_key(KEY)

    printed = operation.type(f"{SCRIPT} --status")
    ended = operation.see_through(operation.type(f"{SCRIPT} --redrive"))

    assert {"--status", "--redrive"} < set(OPERATIONS)
    name = failed.arn.rsplit(":", 1)[-1]
    assert "schedule: ENABLED cron(5 16 ? * MON-FRI *) America/New_York" in printed
    assert f"last failure: {name}" in printed
    assert "state:   Fetch" in printed
    assert f"--redrive {name}" in printed
    assert ended.states[-1] == "PipelineComplete"


@pytest.mark.slow
def test_the_schedule_is_paused_and_goes_on_as_the_table_says(operation: Operation) -> None:
    def state() -> str:
        scheduler = operation.deployed.aws.client("scheduler")
        return str(scheduler.get_schedule(Name="condvest-daily-pipeline-trigger")["State"])

    states = []
    for given in [it for it in OPERATIONS if it.endswith("-schedule")]:
        operation.type(f"{SCRIPT} {given}")
        states.append(state())

    assert states == ["DISABLED", "ENABLED"]
