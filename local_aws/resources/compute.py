"""Lambda and Batch, with the roles and log groups of what runs there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from local_aws.resources import api
from local_aws.resources.api import Client, Kind, Made, Properties


def _role(client: Client, properties: Properties) -> Made:
    own = api.without(properties, "Policies", "ManagedPolicyArns")
    role = api.send(client, "iam", "CreateRole", own)["Role"]
    for policy in properties.get("ManagedPolicyArns", []):
        client("iam").attach_role_policy(RoleName=role["RoleName"], PolicyArn=policy)
    return _update_role(client, Made(role["RoleName"], {"Arn": role["Arn"]}), properties)


def _update_role(client: Client, made: Made, properties: Properties) -> Made:
    name = {"RoleName": made.ref}
    trust = api.without(properties, "Policies", "ManagedPolicyArns", "AssumeRolePolicyDocument")
    trust["PolicyDocument"] = properties["AssumeRolePolicyDocument"]
    api.send(client, "iam", "UpdateAssumeRolePolicy", trust)
    wanted = properties.get("Policies", [])
    before = client("iam").list_role_policies(**name)["PolicyNames"]
    for old in set(before) - {policy["PolicyName"] for policy in wanted}:
        client("iam").delete_role_policy(**name, PolicyName=old)
    for policy in wanted:
        api.send(client, "iam", "PutRolePolicy", {**name, **policy})
    return made


def _delete_role(client: Client, ref: str, _properties: Properties) -> None:
    iam = client("iam")
    for policy in iam.list_role_policies(RoleName=ref)["PolicyNames"]:
        iam.delete_role_policy(RoleName=ref, PolicyName=policy)
    for attached in iam.list_attached_role_policies(RoleName=ref)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=ref, PolicyArn=attached["PolicyArn"])
    iam.delete_role(RoleName=ref)


def _managed_policy(client: Client, properties: Properties) -> Made:
    request = api.renamed(properties, ManagedPolicyName="PolicyName")
    return Made(api.send(client, "iam", "CreatePolicy", request)["Policy"]["Arn"])


def _identity_provider(client: Client, properties: Properties) -> Made:
    request = api.renamed(properties, ClientIdList="ClientIDList")
    made = api.send(client, "iam", "CreateOpenIDConnectProvider", request)
    return Made(made["OpenIDConnectProviderArn"])


def _log_group(client: Client, properties: Properties) -> Made:
    name = properties["LogGroupName"]
    api.send(client, "logs", "CreateLogGroup", api.without(properties, "RetentionInDays"))
    found = client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    return _set_retention(client, Made(name, {"Arn": found["arn"]}), properties)


_set_retention = api.updated_by("logs", "PutRetentionPolicy")


def _update_function(client: Client, made: Made, properties: Properties) -> Made:
    code = {"FunctionName": made.ref, **properties["Code"]}
    api.send(client, "lambda", "UpdateFunctionCode", code)
    configuration = api.without(properties, "Code", "PackageType")
    api.send(client, "lambda", "UpdateFunctionConfiguration", configuration)
    return made


def _compute_environment(client: Client, properties: Properties) -> Made:
    kind = properties["ComputeResources"]["Type"]
    if kind not in {"FARGATE", "FARGATE_SPOT"}:
        raise api.ResourceError(f"compute of type {kind}: only Fargate is known here")
    own = api.without(properties, "ReplaceComputeEnvironment")
    own.setdefault("ComputeEnvironmentName", f"compute-{uuid4().hex[:12]}")
    own["ServiceRole"] = _service_linked_role(client)
    made = api.send(client, "batch", "CreateComputeEnvironment", own)
    return Made(made["computeEnvironmentArn"])


def _service_linked_role(client: Client) -> str:
    """Return the role that AWS makes by itself when none is named."""
    iam, name = client("iam"), "AWSServiceRoleForBatch"
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        return str(made["Role"]["Arn"])


def _delete_compute_environment(client: Client, ref: str, _properties: Properties) -> None:
    client("batch").update_compute_environment(computeEnvironment=ref, state="DISABLED")
    client("batch").delete_compute_environment(computeEnvironment=ref)


def _delete_queue(client: Client, ref: str, _properties: Properties) -> None:
    client("batch").update_job_queue(jobQueue=ref, state="DISABLED")
    client("batch").delete_job_queue(jobQueue=ref)


FARGATE_MIB: Final = {
    "0.25": range(512, 2049, 512),
    "0.5": range(1024, 4097, 1024),
    "1": range(2048, 8193, 1024),
    "2": range(4096, 16385, 1024),
    "4": range(8192, 30721, 1024),
    "8": range(16384, 61441, 4096),
    "16": range(32768, 122881, 8192),
}
"""Memory that Fargate offers for each number of vCPUs.

https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html
"""

_register = api.created_by("batch", "RegisterJobDefinition", "jobDefinitionArn")


def _job_definition(client: Client, properties: Properties) -> Made:
    needs: list[dict[str, Any]] = properties["ContainerProperties"]["ResourceRequirements"]
    size = {need["Type"]: need["Value"] for need in needs}
    if int(size["MEMORY"]) not in FARGATE_MIB.get(size["VCPU"], ()):
        raise api.ResourceError(f"Fargate has no {size['VCPU']} vCPU with {size['MEMORY']} MiB")
    return _register(client, api.without(properties, "ResourceRetentionPolicy"))


def _update_job_definition(client: Client, old: Made, properties: Properties) -> Made:
    """Register a new revision; the old one cannot be submitted any more unless it is retained."""
    new = _job_definition(client, properties)
    if not properties.get("ResourceRetentionPolicy", {}).get("SkipDeregisterOnUpdate"):
        client("batch").deregister_job_definition(jobDefinition=old.ref)
    return new


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::IAM::Role": Kind(_role, _delete_role, _update_role, frozenset({"RoleName"})),
    "AWS::IAM::ManagedPolicy": Kind(
        _managed_policy, api.deleted_by("iam", "DeletePolicy", PolicyArn="Ref")
    ),
    "AWS::IAM::OIDCProvider": Kind(
        _identity_provider,
        api.deleted_by("iam", "DeleteOpenIDConnectProvider", OpenIDConnectProviderArn="Ref"),
    ),
    "AWS::Logs::LogGroup": Kind(
        _log_group,
        api.deleted_by("logs", "DeleteLogGroup", logGroupName="Ref"),
        _set_retention,
        frozenset({"LogGroupName"}),
    ),
    "AWS::Lambda::Function": Kind(
        api.created_by("lambda", "CreateFunction", "FunctionName", Arn="FunctionArn"),
        api.deleted_by("lambda", "DeleteFunction", FunctionName="Ref"),
        _update_function,
        frozenset({"FunctionName", "PackageType"}),
    ),
    "AWS::Batch::ComputeEnvironment": Kind(_compute_environment, _delete_compute_environment),
    "AWS::Batch::JobQueue": Kind(
        api.created_by("batch", "CreateJobQueue", "jobQueueArn"),
        _delete_queue,
        api.updated_by("batch", "UpdateJobQueue", "JobQueueName", JobQueue="Ref"),
        frozenset({"JobQueueName"}),
    ),
    "AWS::Batch::JobDefinition": Kind(
        _job_definition,
        api.deleted_by("batch", "DeregisterJobDefinition", jobDefinition="Ref"),
        _update_job_definition,
        frozenset({"JobDefinitionName"}),
    ),
}
