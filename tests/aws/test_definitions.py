"""What the state machines and the template promise, read from the files alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from fetchers.settings import FetchSettings
from fetchers.uploads.inspect import MOST_BYTES
from local_aws.events import takes_from_rules
from local_aws.pipeline import SCRIPT
from local_aws.resources import KINDS
from local_aws.stacks import MAX_BODY_BYTES
from local_aws.template import (
    Scope,
    TemplateError,
    parameter_values,
    read_template,
    references,
    require_rules,
)

ORCHESTRATION = Path(__file__).parents[2] / "orchestration"
MACHINES = sorted((ORCHESTRATION / "state_machines").glob("*.asl.json"))
TEMPLATE_TEXT = (ORCHESTRATION / "template.yaml").read_text()
TEMPLATE = read_template(TEMPLATE_TEXT)
PIPELINE = "daily_ohlcv_pipeline.asl.json"


def scopes(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every set of states: the machine's own, and those inside its Parallel and Map states."""
    yield machine
    for state in machine["States"].values():
        for inner in [*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])]:
            yield from scopes(inner)


def states(machine: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: state for scope in scopes(machine) for name, state in scope["States"].items()}


def nexts(state: dict[str, Any]) -> list[str]:
    rules = [*state.get("Choices", []), *state.get("Catch", [])]
    found = [state.get("Next"), state.get("Default"), *(rule.get("Next") for rule in rules)]
    return [name for name in found if name]


@pytest.fixture(params=MACHINES, ids=lambda path: path.name)
def machine(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


@pytest.fixture
def pipeline() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ORCHESTRATION / "state_machines" / PIPELINE).read_text())
    return found


def test_every_state_is_reached_and_every_next_is_there(machine: dict[str, Any]) -> None:
    for scope in scopes(machine):
        reached, waiting = set(), [scope["StartAt"]]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += nexts(scope["States"][name])

        assert reached == set(scope["States"])


def shape_findings(machine: dict[str, Any]) -> list[str]:
    """Return what cfn-lint finds in a definition; in the template it stands behind a file name."""
    filled = json.loads(json.dumps(machine).replace("${Partition}", "aws"))
    properties = {"RoleArn": "arn:aws:iam::123456789012:role/any", "Definition": filled}
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    body = json.dumps({"Resources": {"Machine": resource}})
    return [str(found) for found in lint(body, config=ManualArgs(regions=["us-east-1"]))]


@pytest.mark.slow
def test_a_definition_has_the_shape_of_the_states_language(machine: dict[str, Any]) -> None:
    assert shape_findings(machine) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda found: found.update(StartAt="Nowhere"), "'Nowhere'"),
        (lambda found: found["States"]["NameSession"].update(Nxt="x"), "'Nxt'"),
        (lambda found: found["States"]["StartPipeline"].update(TimeoutSeconds="soon"), "'soon'"),
        (lambda found: found["States"]["StartPipeline"]["Retry"][0].pop("ErrorEquals"), "Error"),
    ],
)
def test_a_definition_of_another_shape_is_found(
    spoil: Callable[[dict[str, Any]], None], finding: str
) -> None:
    path = ORCHESTRATION / "state_machines" / "daily_trigger.asl.json"
    machine = json.loads(path.read_text())
    spoil(machine)

    assert finding in "".join(shape_findings(machine))


def test_state_names_are_unique_so_that_history_is_clear(machine: dict[str, Any]) -> None:
    names = [name for scope in scopes(machine) for name in scope["States"]]

    assert len(names) == len(set(names))


def longest_s(state: dict[str, Any]) -> float:
    """Return the longest time that a state can take with all its retries."""
    inner = [scope["States"] for scope in scopes({"States": {"": state}})][1:]
    if inner:  # the branches of a Parallel and the items of a Map run side by side
        return max(sum(map(longest_s, states.values())) for states in inner)
    total_s = once_s = state.get("TimeoutSeconds", 0)
    for retry in state.get("Retry", []):
        pauses = (retry["BackoffRate"] ** number for number in range(retry["MaxAttempts"]))
        total_s += retry["MaxAttempts"] * once_s + retry["IntervalSeconds"] * sum(pauses)
    return float(total_s)


def test_every_task_and_the_whole_have_time_for_what_is_in_them(machine: dict[str, Any]) -> None:
    tasks = [state for state in states(machine).values() if state["Type"] == "Task"]

    assert all(task["TimeoutSeconds"] > 0 for task in tasks)
    assert machine["TimeoutSeconds"] >= sum(map(longest_s, machine["States"].values()))
    assert machine["TimeoutSeconds"] < 26 * 3600, "the alarm on a missing success comes first"


@pytest.mark.parametrize(
    ("job", "state"), [("ConsolidatorJob", "Consolidate"), ("ResamplerJob", "ResampleInterval")]
)
def test_a_state_waits_for_every_attempt_of_its_job(
    pipeline: dict[str, Any], job: str, state: str
) -> None:
    definition = TEMPLATE["Resources"][job]["Properties"]
    attempt_s = definition["Timeout"]["AttemptDurationSeconds"]

    waiting_for_capacity_s = 1800
    needed_s = attempt_s * definition["RetryStrategy"]["Attempts"] + waiting_for_capacity_s
    assert states(pipeline)[state]["TimeoutSeconds"] >= needed_s


@pytest.mark.parametrize("function", ["FetchDailyBars", "FetchReference"])
def test_a_state_waits_for_its_function(pipeline: dict[str, Any], function: str) -> None:
    limit_s = TEMPLATE["Resources"][function]["Properties"]["Timeout"]

    assert limit_s < states(pipeline)[function]["TimeoutSeconds"]


def test_a_definition_names_no_account_region_or_resource(machine: dict[str, Any]) -> None:
    text = json.dumps(machine)

    assert not re.search(r"\d{12}|[a-z]{2}-(east|west|central|north|south)\w*-\d|condvest", text)
    arns = set(re.findall(r"arn:[^\"]+", text))
    assert all(re.fullmatch(r"arn:\$\{Partition\}:states:::[\w:.-]+", arn) for arn in arns)


def test_the_template_fills_every_placeholder_and_no_other(machine: dict[str, Any]) -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", json.dumps(machine)))
    machines = [
        resource["Properties"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    filled = [set(found["DefinitionSubstitutions"]) for found in machines]

    assert wanted in filled


def test_retries_are_those_of_the_design(pipeline: dict[str, Any]) -> None:
    retries = {
        name: [(r["IntervalSeconds"], r["MaxAttempts"], r["BackoffRate"]) for r in state["Retry"]]
        for name, state in states(pipeline).items()
        if "Retry" in state and state["Type"] == "Task"
    }

    assert retries["FetchDailyBars"] == retries["FetchReference"] == [(3, 2, 2)]
    assert retries["Consolidate"] == [(60, 1, 1)]
    assert "ResampleInterval" not in retries


def test_uploads_are_inspected_by_size_and_tried_three_times_more() -> None:
    path = ORCHESTRATION / "state_machines" / "upload_processor.asl.json"
    found = json.loads(path.read_text())["States"]
    (by_job,) = found["BySize"]["Choices"]
    retries = {
        (one["IntervalSeconds"], one["MaxAttempts"], one["BackoffRate"], one["JitterStrategy"])
        for name in ("Inspect", "InspectLarge")
        for one in found[name]["Retry"]
    }

    assert [test["NumericGreaterThan"] for test in by_job["And"][:1]] == [256 * 1024**2]
    assert [test["NumericLessThanEquals"] for test in by_job["And"][1:]] == [MOST_BYTES]
    assert by_job["Next"] == "InspectLarge"
    assert retries == {(2, 3, 2, "FULL")}
    inspecting = TEMPLATE["Resources"]["InspectJob"]["Properties"]
    attempts_s = inspecting["Timeout"]["AttemptDurationSeconds"] * 3
    assert found["InspectLarge"]["TimeoutSeconds"] >= attempts_s + 1800


def test_a_task_of_uploads_that_fails_ends_in_an_alert(machine: dict[str, Any]) -> None:
    alerting = "UploadsFailed" in machine["States"]
    tasks = [state for state in machine["States"].values() if state["Type"] == "Task"]
    final = [task["Catch"][-1] for task in tasks]

    assert not alerting or all(catch["ErrorEquals"] == ["States.ALL"] for catch in final)


def test_every_failure_of_a_task_is_caught_where_it_happens(pipeline: dict[str, Any]) -> None:
    for name, state in states(pipeline).items():
        if state["Type"] == "Task":
            assert state["Catch"][0]["ErrorEquals"] == ["States.ALL"], name


def test_no_job_description_travels_through_the_machine(pipeline: dict[str, Any]) -> None:
    jobs = [state for state in states(pipeline).values() if ".sync" in state.get("Resource", "")]

    assert len(jobs) == 2
    assert all(state["ResultPath"] is None for state in jobs)


def test_all_six_intervals_run_at_once_by_default(pipeline: dict[str, Any]) -> None:
    resample = pipeline["States"]["Resample"]

    assert pipeline["States"]["Defaults"]["Result"]["intervals"] == [3, 5, 8, 13, 21, 34]
    assert resample["MaxConcurrency"] == 0


def sourced(program: str, script: Path, *arguments: str) -> str:
    """Run functions of the deploy script alone; returns what they print."""
    command = ["bash", "-c", f'source "$1"; {program}', "bash", str(script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def packaged(function: str, reader: str) -> str:
    """Return the template as a function of the deploy script leaves it."""
    with TemporaryDirectory() as work:
        return sourced(f"work=$2; known[output:Bucket]=b; {function}; {reader}", SCRIPT, work)


def test_the_first_pass_is_what_needs_no_image() -> None:
    text = packaged("package_first_pass", 'cat "$work/packaged.yaml"')
    first = read_template(text)["Resources"]

    assert len(text.encode()) < MAX_BODY_BYTES
    assert first == {
        name: resource
        for name, resource in TEMPLATE["Resources"].items()
        if resource.get("Condition") not in {"HasImages", "HasUploads"}
    }
    assert {"Bucket", "FetchersRepository", "ConsolidatorQueue", "AlertTopic"} < first.keys()


def test_the_section_rules_uses_the_functions_of_rules_alone() -> None:
    require_rules(scope_in("us-east-1", ExistingVpc="v", ExistingSubnets="a,b"))

    with pytest.raises(TemplateError, match="needs ExistingSubnets"):
        require_rules(scope_in("us-east-1", ExistingVpc="v"))


REGIONS = {
    "us-east-1": "aws",
    "eu-central-1": "aws",
    "ap-southeast-2": "aws",
    "il-central-1": "aws",
    "cn-north-1": "aws-cn",
    "us-gov-west-1": "aws-us-gov",
    "us-gov-east-1": "aws-us-gov",
}


def scope_in(region: str, **given: str) -> Scope:
    """Return the template's names in a region, with resources that stand for real ones."""
    images = {f"{name}Image": "i" for name in ("Fetchers", "Consolidator", "Resampler")}
    values = parameter_values(TEMPLATE, {**images, **given})
    values |= {"AWS::AccountId": "123456789012", "AWS::Region": region, "AWS::StackName": "s"}
    values |= {"AWS::Partition": REGIONS[region]}
    scope = Scope(TEMPLATE, values, zones=("a", "b"))
    for name in TEMPLATE["Resources"]:
        names = ("Arn", "RepositoryUri", "QueueName")
        scope.publish(name, name.lower(), {key: f"{name}.{key}" for key in names})
    return scope


@pytest.mark.parametrize("prefix", ["uploads", "uploads/lake"])
def test_a_lake_does_not_lie_among_the_uploads(prefix: str) -> None:
    with pytest.raises(TemplateError, match="LakePrefix"):
        scope_in("us-east-1", LakePrefix=prefix)


@pytest.mark.parametrize("region", REGIONS)
def test_every_name_and_link_is_of_the_region_and_its_partition(region: str) -> None:
    scope = scope_in(region)
    text = json.dumps(scope.resolve(TEMPLATE["Resources"]))
    filled = TEMPLATE["Resources"]["Pipeline"]["Properties"]["DefinitionSubstitutions"]
    links = scope.resolve(filled["Console"])

    assert set(re.findall(r"\barn:([\w-]+):", text)) == {REGIONS[region]}
    domain = {
        "aws": "console.aws.amazon.com",
        "aws-cn": "console.amazonaws.cn",
        "aws-us-gov": "console.amazonaws-us-gov.com",
    }[REGIONS[region]]
    assert links == f"https://{region}.{domain}"
    assert scope.resolve(filled["Partition"]) == REGIONS[region]


def test_a_role_of_one_region_is_not_in_the_way_of_another() -> None:
    names = [
        resource["Properties"]["RoleName"]["Fn::Sub"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
    ]

    assert len(names) == len(set(names)) == 15
    assert all(name.endswith("-${AWS::Region}") for name in names)


@pytest.mark.parametrize("region", REGIONS)
def test_names_with_the_longest_prefix_are_short_enough(region: str) -> None:
    scope = scope_in(region, Prefix="a" * TEMPLATE["Parameters"]["Prefix"]["MaxLength"])
    limits = {
        "RoleName": 64,
        "BucketName": 63,
        "FunctionName": 64,
        "StateMachineName": 80,
        "Name": 64,
        "JobQueueName": 128,
        "RepositoryName": 256,
    }
    for resource in TEMPLATE["Resources"].values():
        for key, limit in limits.items():
            name = scope.resolve(resource.get("Properties", {}).get(key, ""))

            assert len(name) <= limit, name


@pytest.mark.parametrize("prefix", ["a--b", "-a", "a-", "A", "a" * 21, "a"])
def test_a_prefix_that_some_name_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(TemplateError, match="Prefix"):
        scope_in("us-east-1", Prefix=prefix)


def test_rules_and_alarms_may_publish_alerts() -> None:
    policy = TEMPLATE["Resources"]["AlertTopicPolicy"]["Properties"]["PolicyDocument"]
    (alarms,) = [
        statement
        for statement in policy["Statement"]
        if statement["Principal"]["Service"] == "cloudwatch.amazonaws.com"
    ]

    assert takes_from_rules(policy)
    assert set(alarms["Condition"]) == {"StringEquals"}


def test_what_cannot_be_changed_has_no_name_in_its_way() -> None:
    for resource in TEMPLATE["Resources"].values():
        if resource["Type"] == "AWS::Batch::ComputeEnvironment":
            assert "ComputeEnvironmentName" not in resource["Properties"]
        if resource["Type"] == "AWS::Batch::JobDefinition":
            policy = resource["Properties"]["ResourceRetentionPolicy"]
            assert policy == {"SkipDeregisterOnUpdate": True}


def test_the_local_aws_knows_every_type_of_the_template() -> None:
    assert {resource["Type"] for resource in TEMPLATE["Resources"].values()} <= KINDS.keys()


def test_every_reference_of_the_template_leads_somewhere() -> None:
    known = TEMPLATE["Resources"].keys() | TEMPLATE["Parameters"].keys()
    for name, resource in TEMPLATE["Resources"].items():
        dangling = {
            found
            for found in references(resource.get("Properties", {}))
            if found not in known and not found.startswith("AWS::")
        }

        assert dangling <= {"Bucket"}, name


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in TEMPLATE["Resources"].items():
        for policy in resource.get("Properties", {}).get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement["Fn::If"][1] if "Fn::If" in statement else statement


def test_no_role_may_do_everything_of_anything() -> None:
    for name, statement in statements():
        assert not [action for action in statement["Action"] if "*" in action], name


def test_only_actions_without_a_resource_are_allowed_on_all() -> None:
    open_actions = {
        action
        for _, statement in statements()
        if statement["Resource"] == "*"
        for action in statement["Action"]
    }

    without_resource = re.compile(
        r"xray:|logs:\w*(Deliver|ResourcePolic|LogGroups)|ecr:GetAuthorizationToken|batch:(Describe|Terminate)"
    )
    assert all(without_resource.match(action) for action in open_actions)


def test_a_failed_attempt_is_tried_again_for_infrastructure_reasons_only() -> None:
    for name in ("ConsolidatorJob", "ResamplerJob", "InspectJob"):
        entries = TEMPLATE["Resources"][name]["Properties"]["RetryStrategy"]["EvaluateOnExit"]

        assert len(entries) <= 5
        assert entries[-1] == {"OnReason": "*", "Action": "EXIT"}
        assert all("OnExitCode" not in entry for entry in entries)
        by_status = {entry.get("OnStatusReason") for entry in entries} - {None}
        assert by_status == {"Your Spot Task was interrupted*", "ResourceInitializationError*"}


def test_job_roles_write_under_their_own_prefixes_only() -> None:
    written: dict[str, set[str]] = {}
    for name, statement in statements():
        if "s3:PutObject" in statement["Action"] and statement["Effect"] == "Allow":
            text = json.dumps(statement["Resource"])
            written[name] = set(re.findall(r"\$\{LakePrefix\}/([^\"]+)", text))

    assert written["InspectUploadRole"] == {"_state/uploads/*"}
    assert written["FetchDailyBarsRole"].isdisjoint(written["ConsolidatorRole"] - {"_runs/*"})
    assert not [path for path in written["ConsolidatorRole"] if path.startswith("bronze")]
    assert written["ResamplerRole"] == {
        "silver/*d/*",
        "silver/1d_calendar/*",
        "_state/*d.json.gz",
        "_state/1d_calendar.json.gz",
        "_runs/*",
    }


def test_logs_are_kept_for_a_time_only() -> None:
    groups = [
        resource["Properties"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]

    assert len(groups) == 9
    assert all("RetentionInDays" in group for group in groups)


def test_the_key_of_the_vendor_is_not_in_the_template() -> None:
    assert "SecretString" not in TEMPLATE_TEXT
    assert "GenerateSecretString" not in TEMPLATE_TEXT


def test_the_functions_share_the_pace_of_one_key() -> None:
    functions = [
        resource["Properties"]["Environment"]["Variables"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    fetching = [variables for variables in functions if "OHLCV_POLYGON_SECRET" in variables]

    shares = [Decimal(variables["OHLCV_POLYGON_SHARE"]) for variables in fetching]

    assert len(shares) == 2
    assert sum(shares) == 1
    for share in shares:
        assert FetchSettings(polygon_share=float(share)).polygon_share == float(share)


def tags_of(script: Path) -> dict[str, str]:
    program = 'for target in "${@:2}"; do source_tag "$target"; done'
    return dict(zip(COPIED, sourced(program, script, *COPIED).split(), strict=True))


COPIED = {
    "fetchers": {"batch", "fetchers", "simulation", "requirements/functions.lock"},
    "consolidator": {"batch", "requirements/jobs.lock"},
    "resampler": {"batch", "requirements/jobs.lock"},
}
"""What is copied into each image, beside what every build reads."""


def test_the_sources_of_the_images_are_those_of_the_dockerfile() -> None:
    dockerfile = (ORCHESTRATION.parent / "docker" / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE))

    not_deployed = {"orchestration"}  # the watcher's, for a machine of one's own
    of_builds = {"docker/trim.sh", "docker/compile.sh"}
    assert copied == set().union(*COPIED.values(), of_builds, not_deployed)


def test_the_tag_of_an_image_changes_with_what_it_is_made_from_and_nothing_else(
    tmp_path: Path,
) -> None:
    project = ORCHESTRATION.parent
    tracked = ("batch", "fetchers", "simulation", "reporting", "requirements", "docker")
    for name in tracked:
        shutil.copytree(project / name, tmp_path / name)
    (tmp_path / "orchestration").mkdir()
    for name in (SCRIPT.name, "template.yaml"):
        shutil.copy(ORCHESTRATION / name, tmp_path / "orchestration")
    for name in (".dockerignore", "README.md"):
        shutil.copy(project / name, tmp_path)
    script = tmp_path / "orchestration" / SCRIPT.name
    before = tags_of(script)
    everywhere = ("docker/trim.sh", "docker/compile.sh", "docker/Dockerfile", ".dockerignore")
    shared = ("batch/core/errors.py", "requirements/jobs.lock", "simulation/market.py")
    nowhere = ("orchestration/template.yaml", "reporting/page.py", "README.md")

    for changed in (*everywhere, *shared, *nowhere):
        content = (tmp_path / changed).read_bytes()
        (tmp_path / changed).write_bytes(content + b"\n")
        after = tags_of(script)
        (tmp_path / changed).write_bytes(content)

        expected = {
            target
            for target, sources in COPIED.items()
            if changed in everywhere or changed.startswith(tuple(sources))
        }
        assert {target for target in COPIED if after[target] != before[target]} == expected


def test_another_way_of_building_is_another_tag(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    built_from = ("batch", "fetchers", "simulation", "requirements", "docker", ".dockerignore")
    for name in built_from:
        (project / name).symlink_to(ORCHESTRATION.parent / name)
    (project / "orchestration").mkdir()
    script = project / "orchestration" / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    before = tags_of(script)["resampler"]

    script.write_text(SCRIPT.read_text().replace("linux/amd64", "linux/arm64"))

    assert tags_of(script)["resampler"] != before
