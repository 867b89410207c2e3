"""The policies of who deploys and who operates: enough for the script, for this stack alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from local_aws.template import Scope, parameter_values, read_template
from local_aws.workers import PROJECT

TEMPLATE = read_template((PROJECT / "orchestration" / "template.yaml").read_text())
DEPLOYER = read_template((PROJECT / "orchestration" / "deployer.yaml").read_text())
SCRIPT = (PROJECT / "orchestration" / "deploy_step_functions.sh").read_text()

_OTHER_SERVICES = (
    *("eks", "elasticfilesystem", "firehose", "kms", "s3files", "s3tables", "vpc-lattice", "vpce"),
)
_OTHER_PROPERTIES = re.compile(
    # What the handlers of CloudFormation call only for properties that the template has not.
    r"iam:(Attach|Detach)RolePolicy|iam:\w*PermissionsBoundary"
    r"|s3:(Put(Accelerate|Analytics|IntelligentTiering|Inventory|Metrics|Replication)Configuration"
    r"|PutObject\w+|GetObjectVersion|DeleteObject|REST.*|\w*MetadataTableConfiguration"
    r"|UpdateBucketMetadata\w*|DeleteBucket(Analytics|Cors|Encryption|Lifecycle|Metrics"
    r"|Replication|Website)\w*)"
    r"|secretsmanager:(GetRandomPassword|GetSecretValue|\w*Regions\w*)"
    r"|lambda:(\w*CodeSigning\w*|GetLayerVersion|PassCapacityProvider)"
    r"|logs:(\w*KmsKey|\w*DataProtectionPolicy)"
    r"|ec2:(\w*CidrBlock|\w*VpnGateway|\w*EncryptionControl\w*|ModifyVpcTenancy"
    r"|UpdateSecurityGroupRule\w*)|batch:SetCapacityTags",
    re.IGNORECASE,
)


def resolved(region: str = "us-east-1") -> dict[str, Any]:
    values = parameter_values(DEPLOYER, {"Repository": "somebody/fork"})
    values |= {"AWS::AccountId": "123456789012", "AWS::Region": region, "AWS::Partition": "aws"}
    scope = Scope(DEPLOYER, values)
    for name in DEPLOYER["Resources"]:
        scope.publish(name, f"arn:{name}", {"Arn": f"arn:{name}"})
    found: dict[str, Any] = scope.resolve(DEPLOYER["Resources"])
    return found


def statements(policy: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = resolved()[policy]["Properties"]["PolicyDocument"]["Statement"]
    return found


def allowed(action: str, *policies: str) -> bool:
    return any(
        fnmatchcase(action.lower(), pattern.lower())
        for policy in policies
        for statement in statements(policy)
        for pattern in statement["Action"]
    )


def needed_for(kind: str) -> set[str]:
    """Return what CloudFormation's own handlers of a type call, as its schema declares."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    handlers = schema.get("handlers", {})
    return {
        permission
        for verb in ("create", "read", "update", "delete")
        for permission in handlers.get(verb, {}).get("permissions", [])
    }


@pytest.mark.parametrize("kind", sorted({it["Type"] for it in TEMPLATE["Resources"].values()}))
def test_who_deploys_may_make_change_and_remove_every_type_of_the_template(kind: str) -> None:
    missing = {
        action
        for action in needed_for(kind)
        if action.split(":")[0].lower() not in _OTHER_SERVICES
        and not _OTHER_PROPERTIES.fullmatch(action)
        and not allowed(action, "DeployPolicy")
    }

    assert missing == set()


def calls_of_the_script() -> Iterator[str]:
    """Every call of the AWS command line in the script, as service and operation."""
    for service, operation in re.findall(r"\baws ([a-z0-9]+) ([a-z-]+)", SCRIPT):
        if (service, operation) in {("configure", "get"), ("sts", "get-caller-identity")}:
            continue
        if operation != "wait":
            yield f"{service.removesuffix('api')}:{operation.replace('-', '')}"


_SPELLED = {
    "stepfunctions": "states",
    "cloudformation:deploy": "cloudformation:createchangeset",
    "ecr:getloginpassword": "ecr:getauthorizationtoken",
    "s3:deleteobjects": None,
    "s3:listobjectversions": "s3:listbucketversions",
}


def test_the_script_calls_nothing_that_its_user_may_not() -> None:
    missing = []
    for call in calls_of_the_script():
        service, operation = call.split(":")
        action = _SPELLED.get(call, f"{_SPELLED.get(service, service)}:{operation}")
        if action and not allowed(action, "DeployPolicy", "OperatePolicy"):
            missing.append(call)

    assert len(set(calls_of_the_script())) > 20
    assert missing == []


def test_who_deploys_reads_neither_the_lake_nor_the_vendors_key() -> None:
    for action in ("secretsmanager:GetSecretValue", "iam:AttachUserPolicy", "iam:CreateUser"):
        assert not allowed(action, "DeployPolicy", "OperatePolicy")
    (objects,) = [it for it in statements("DeployPolicy") if "s3:GetObject" in it["Action"]]
    assert objects["Resource"].endswith("/_deploy/*")


@pytest.mark.parametrize("policy", ["DeployPolicy", "OperatePolicy"])
def test_a_policy_is_short_enough_and_names_the_prefix_where_it_can(policy: str) -> None:
    document = resolved("ap-southeast-1")[policy]["Properties"]["PolicyDocument"]

    assert len(json.dumps(document, separators=(",", ":"))) <= 6144
    for statement in document["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            is_open = statement["Sid"] in {"RoleOfBatch", "Compute", "Network", "Look"}
            assert is_open or "condvest" in resource


def test_a_workflow_of_another_repository_or_branch_may_not_assume_the_role() -> None:
    role = resolved()["WorkflowRole"]["Properties"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    issuer = "token.actions.githubusercontent.com"

    assert statement["Condition"]["StringEquals"] == {
        f"{issuer}:aud": "sts.amazonaws.com",
        f"{issuer}:sub": "repo:somebody/fork:ref:refs/heads/main",
    }
    assert not role["RoleName"].startswith("condvest")
