"""The deploy script from the first deployment to the last deletion, on a local AWS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_aws.pipeline import SCRIPT, STAND_IN_IMAGES, Operator
from local_aws.server import LocalAws
from tests.aws.conftest import Deployed

pytestmark = pytest.mark.slow


def usage(*options: str) -> tuple[int, str]:
    done = subprocess.run([str(SCRIPT), *options], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--colour"], "unknown option --colour"),
        (["--session"], "--session needs a value"),
        (["--start", "--session", "yesterday"], "expected a date"),
        (["--start", "--status"], "cannot be used together"),
        (["--image", "sampler=x"], "expected one of fetchers consolidator resampler"),
        (["--delete-data"], "go with --delete"),
        (["--prefix", "A b"], "lower-case letters"),
        (["--prefix", "a--b"], "single hyphens"),
        (["--prefix", "abcdefghijklmno", "--stage", "staging"], "2 to 20"),
        (["--session", "2025-11-20"], "go with --start"),
        (["--full"], "go with --start"),
        (["--status", "--intervals", "5"], "go with --start"),
        (["--disable-schedule", "--parameter", "ScheduleHour=17"], "go with a deployment"),
        (["--parameter", "Prefix=other"], "use --prefix"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_called(
    options: list[str], expected: str
) -> None:
    code, message = usage(*options)

    assert code == 2
    assert expected in message


def test_an_old_bash_is_told_so_before_anything_that_it_does_not_know() -> None:
    lines = [line for line in SCRIPT.read_text().splitlines() if not line.startswith("#")]

    assert lines[:2] == ["set -euo pipefail", ""]
    assert lines[2] == 'if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then'
    assert "brew install bash" in lines[3]


def test_the_same_deployment_again_changes_nothing(deployed: Deployed) -> None:
    stack = deployed.aws.stacks.find(deployed.operator.stack)
    before = len(stack.events)
    images = {name: stack.parameters[f"{name.capitalize()}Image"] for name in STAND_IN_IMAGES}

    deployed.operator.deploy(images=images)

    assert stack.events[before:] == []


def test_a_dry_run_shows_the_change_and_changes_nothing(deployed: Deployed) -> None:
    stack = deployed.aws.stacks.find(deployed.operator.stack)
    before = dict(stack.parameters)

    options = [
        part for name, uri in STAND_IN_IMAGES.items() for part in ("--image", f"{name}={uri}")
    ]

    done = deployed.operator.script("--dry-run", *options, "--parameter", "ScheduleMinute=20")

    changed = [line.split()[-1] for line in done.stdout.splitlines() if line]
    assert changed == ["Schedule"]
    assert stack.parameters == before
    assert not [name for name in stack.change_sets if name.startswith("dry-run")]


def test_a_stack_is_made_and_removed_and_its_data_only_when_asked(running_aws: LocalAws) -> None:
    operator = Operator(running_aws, stack="other-try-ohlcv-pipeline")
    named = ["--prefix", "other", "--stage", "try"]
    images = {name: uri.replace("condvest", "other-try") for name, uri in STAND_IN_IMAGES.items()}
    operator.deploy(*named, "--email", "somebody@example.com", images=images)
    bucket = operator.output("Bucket")
    running_aws.client("s3").put_object(Bucket=bucket, Key="lake/x", Body=b"x")
    subscriptions = running_aws.client("sns").list_subscriptions_by_topic(
        TopicArn=operator.output("AlertTopic")
    )["Subscriptions"]

    unasked = operator.script(*named, "--delete", check=False)
    refused = operator.script(*named, "--delete", "--delete-data", check=False)
    protected = running_aws.stacks.find(operator.stack).is_protected
    operator.script(*named, "--delete", "--delete-data", "--yes")

    assert [found["Endpoint"] for found in subscriptions] == ["somebody@example.com"]
    assert (unasked.returncode, refused.returncode) == (2, 2)
    assert "the vendor's key" in unasked.stderr
    assert "every object" in refused.stderr
    assert "Add --yes" in refused.stderr
    assert protected
    assert "other-try-ohlcv-pipeline" not in running_aws.stacks.stacks
    names = [found["Name"] for found in running_aws.client("s3").list_buckets()["Buckets"]]
    assert bucket not in names
    machines = running_aws.client("stepfunctions").list_state_machines()["stateMachines"]
    assert not [machine for machine in machines if machine["name"].startswith("other-try")]


@pytest.fixture
def machine_without_engine(tmp_path: Path) -> str:
    """A PATH on which everything is but docker and podman."""
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "aws awk bash cat cp cut date dirname find grep mktemp python3 rm sed sha256sum sort tr"
    for name in (*names.split(), "xargs"):
        found = Path(sys.executable).with_name(name)
        place = found if found.exists() else shutil.which(name)
        assert place, name
        (tools / name).symlink_to(place)
    return str(tools)


@pytest.mark.troubleshooting("deploying: `ROLLBACK_COMPLETE`")
@pytest.mark.troubleshooting("deploying: neither docker nor podman")
def test_a_first_deployment_that_failed_is_removed_and_made_again(
    running_aws: LocalAws, machine_without_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator(running_aws, stack="unlucky-ohlcv-pipeline")
    named = ["--prefix", "unlucky"]
    in_the_way = running_aws.client("ecr")
    in_the_way.create_repository(repositoryName="unlucky-resampler")

    failed = operator.script(*named, check=False)
    status = running_aws.stacks.find(operator.stack).status
    refused = operator.script(*named, check=False)
    operator.script(*named, "--delete", "--yes")
    buckets = [found["Name"] for found in running_aws.client("s3").list_buckets()["Buckets"]]
    in_the_way.delete_repository(repositoryName="unlucky-resampler")
    for name in ("CONTAINER_CLI", "CONTAINER_BUILD"):
        monkeypatch.delenv(name, raising=False)
    without_engine = operator.script(*named, check=False, path=machine_without_engine)
    images = {name: uri.replace("condvest", "unlucky") for name, uri in STAND_IN_IMAGES.items()}
    operator.deploy(*named, images=images)
    made = running_aws.stacks.find(operator.stack).status
    operator.script(*named, "--delete", "--delete-data", "--yes")

    assert failed.returncode == 1
    assert "ResamplerRepository" in failed.stderr
    assert "already exists" in failed.stderr
    assert status == "ROLLBACK_COMPLETE"
    assert refused.returncode == 1
    assert "was never made (ROLLBACK_COMPLETE): remove it with --delete" in refused.stderr
    assert not [name for name in buckets if name.startswith("unlucky")]
    assert without_engine.returncode == 2
    assert "neither docker nor podman runs here" in without_engine.stderr
    assert "give all three --image" in without_engine.stderr
    assert made == "UPDATE_COMPLETE"


def test_images_are_built_and_pushed_once_and_pinned_by_digest(
    deployed: Deployed, image_client: Path
) -> None:
    deployed.operator.script()
    calls = image_client.read_text().split()
    deployed.operator.script()
    again = image_client.read_text().split()
    jobs = deployed.aws.client("batch").describe_job_definitions(
        jobDefinitionName="condvest-resampler", status="ACTIVE"
    )["jobDefinitions"]
    newest = max(jobs, key=lambda job: int(job["revision"]))

    assert calls == ["build", "login", "push", "build", "push", "build", "push"]
    assert again == calls
    assert f"nothing would change{os.linesep}" in deployed.operator.script("--dry-run").stderr
    assert "/condvest-resampler@sha256:" in newest["containerProperties"]["image"]


@pytest.mark.troubleshooting("deploying: an index of images")
def test_an_index_of_images_is_removed_from_the_registry_and_refused(
    deployed: Deployed, image_client: Path
) -> None:
    client = image_client.with_name("client")
    text = client.read_text()
    client.write_text(text.replace("image.manifest.v1+json", "image.index.v1+json"))
    images = deployed.aws.client("ecr")

    def tags() -> set[str]:
        found = images.list_images(repositoryName="condvest-fetchers")["imageIds"]
        return {image["imageTag"] for image in found if "imageTag" in image}

    before = tags()
    for tag in before:
        images.batch_delete_image(repositoryName="condvest-fetchers", imageIds=[{"imageTag": tag}])

    foreseen = deployed.operator.script("--dry-run")
    refused = deployed.operator.script(check=False)
    left = tags()
    client.write_text(text)
    deployed.operator.script()

    assert "fetchers would be built" in foreseen.stderr
    assert {line.split()[-1] for line in foreseen.stdout.splitlines()} >= {
        "FetchDailyBars",
        "FetchReference",
        "InspectJob",
        "InspectUpload",
        "SettleUploads",
    }
    assert refused.returncode == 1
    assert "--provenance=false" in refused.stderr
    assert left == set()
    assert tags()


def test_the_emergency_brake_deploys_nothing_but_the_schedule(
    deployed: Deployed, tmp_path: Path
) -> None:
    stack = deployed.aws.stacks.find(deployed.operator.stack)
    before, body = len(stack.events), stack.body
    images = {name: stack.parameters[f"{name.capitalize()}Image"] for name in STAND_IN_IMAGES}
    objects = deployed.aws.client("s3").list_objects_v2(Bucket=deployed.bucket)["KeyCount"]
    elsewhere = tmp_path / "linked.sh"  # called through a link
    elsewhere.symlink_to(SCRIPT)

    deployed.operator.script("--disable-schedule", script=elsewhere)
    changed = {event.logical_resource_id for event in stack.events[before:]} - {stack.name}
    again = deployed.operator.script("--disable-schedule")
    deployed.operator.script("--enable-schedule")

    assert changed == {"Schedule", "NoSuccessAlarm"}
    assert "already" in again.stderr
    assert stack.body == body
    assert {
        name: stack.parameters[f"{name.capitalize()}Image"] for name in STAND_IN_IMAGES
    } == images
    assert deployed.aws.client("s3").list_objects_v2(Bucket=deployed.bucket)["KeyCount"] == objects


def test_the_vendors_key_is_read_from_the_standard_input(deployed: Deployed) -> None:
    secrets = deployed.aws.client("secretsmanager")
    secret = deployed.operator.output("Secret")
    before = secrets.get_secret_value(SecretId=secret)["SecretString"]

    done = deployed.operator.script("--set-key", given="a-new-key\n")
    found = secrets.get_secret_value(SecretId=secret)["SecretString"]
    empty = deployed.operator.script("--set-key", given="", check=False)
    deployed.operator.put_vendor_key(before)

    assert found == "a-new-key"
    assert "a-new-key" not in done.stdout + done.stderr
    assert empty.returncode == 2
    assert "empty" in empty.stderr


@pytest.mark.troubleshooting("nobody receives the alerts")
def test_alerts_that_nobody_gets_are_warned_of(running_aws: LocalAws) -> None:
    operator = Operator(running_aws, stack="mute-ohlcv-pipeline")
    images = {name: uri.replace("condvest", "mute") for name, uri in STAND_IN_IMAGES.items()}
    operator.deploy("--prefix", "mute", images=images)
    unheard = operator.script("--prefix", "mute", "--status")
    operator.subscribe()
    heard = operator.script("--prefix", "mute", "--status")
    operator.script("--prefix", "mute", "--delete", "--delete-data", "--yes")

    assert "warning: nobody receives the alerts" in unheard.stderr
    assert "warning" not in heard.stderr


@pytest.mark.troubleshooting("deploying: `UPDATE_ROLLBACK_FAILED`")
@pytest.mark.troubleshooting("deploying: `DELETE_FAILED`")
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("DELETE_FAILED", "then --delete again"),
    ],
)
def test_a_stack_that_is_stuck_gets_advice(deployed: Deployed, status: str, advice: str) -> None:
    stack = deployed.aws.stacks.find(deployed.operator.stack)
    before, stack.status = stack.status, status
    try:
        stuck = deployed.operator.script(check=False)
    finally:
        stack.status = before

    assert stuck.returncode == 1
    assert advice in stuck.stderr
