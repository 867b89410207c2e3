"""What the state machines and the template promise, read from the files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint

from local_aws.resources import KINDS
from local_aws.stacks import MAX_BODY_BYTES
from local_aws.template import read_template, references

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
    properties = {"RoleArn": "arn:aws:iam::123456789012:role/any", "Definition": machine}
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    body = json.dumps({"Resources": {"Machine": resource}})
    return [str(found) for found in lint(body, config=ManualArgs(regions=["us-east-1"]))]


def test_a_definition_has_the_shape_of_the_states_language(machine: dict[str, Any]) -> None:
    assert shape_findings(machine) == []


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


def test_every_task_and_the_whole_have_a_time_limit(machine: dict[str, Any]) -> None:
    tasks = [state for state in states(machine).values() if state["Type"] == "Task"]

    assert machine["TimeoutSeconds"] > 0
    assert all(task["TimeoutSeconds"] > 0 for task in tasks)


def test_a_definition_names_no_account_region_or_resource(machine: dict[str, Any]) -> None:
    text = json.dumps(machine)

    assert not re.search(r"\d{12}|[a-z]{2}-(east|west|central|north|south)\w*-\d|condvest", text)
    arns = set(re.findall(r"arn:[^\"]+", text))
    assert all(re.fullmatch(r"arn:aws:states:::[\w:.-]+", arn) for arn in arns)


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


def test_the_template_can_be_passed_in_a_request() -> None:
    assert len(TEMPLATE_TEXT.encode()) < MAX_BODY_BYTES


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
                yield name, statement


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
    for name in ("ConsolidatorJob", "ResamplerJob"):
        entries = TEMPLATE["Resources"][name]["Properties"]["RetryStrategy"]["EvaluateOnExit"]

        assert len(entries) <= 5
        assert entries[-1] == {"OnReason": "*", "Action": "EXIT"}
        assert all("OnExitCode" not in entry for entry in entries)


def test_job_roles_write_under_their_own_prefixes_only() -> None:
    written: dict[str, set[str]] = {}
    for name, statement in statements():
        if "s3:PutObject" in statement["Action"] and statement["Effect"] == "Allow":
            text = json.dumps(statement["Resource"])
            written[name] = set(re.findall(r"\$\{LakePrefix\}/([^\"]+)", text))

    assert written["FetchDailyBarsRole"].isdisjoint(written["ConsolidatorRole"] - {"_runs/*"})
    assert not [path for path in written["ConsolidatorRole"] if path.startswith("bronze")]
    assert written["ResamplerRole"] == {"silver/*d/*", "_state/*d.json.gz", "_runs/*"}


def test_logs_are_kept_for_a_time_only() -> None:
    groups = [
        resource["Properties"]
        for resource in TEMPLATE["Resources"].values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]

    assert len(groups) == 5
    assert all("RetentionInDays" in group for group in groups)


def test_the_key_of_the_vendor_is_not_in_the_template() -> None:
    assert "SecretString" not in TEMPLATE_TEXT
    assert "GenerateSecretString" not in TEMPLATE_TEXT


def test_the_tag_of_an_image_changes_with_everything_that_is_copied_into_it() -> None:
    script = (ORCHESTRATION / "deploy_step_functions.sh").read_text()
    dockerfile = (ORCHESTRATION.parent / "docker" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE)

    (hashed,) = re.findall(r"find (.+) -type f", script)

    assert {"batch", "fetchers", "simulation"} < set(copied)
    assert all(path.startswith(tuple(hashed.split())) for path in copied)
