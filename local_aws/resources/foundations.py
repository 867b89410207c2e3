"""Image repositories, roles and log groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from local_aws.resources.kinds import (
    Client,
    Kind,
    Made,
    Properties,
    Taken,
    by_api,
    lower_first,
    text,
)


def _repository(client: Client, properties: Properties) -> Made:
    ecr, take = client("ecr"), Taken(properties)
    take("EmptyOnDelete")
    name = take("RepositoryName")
    found = ecr.create_repository(
        repositoryName=name,
        imageTagMutability=take("ImageTagMutability"),
        imageScanningConfiguration=lower_first(take("ImageScanningConfiguration")),
    )["repository"]
    policy = take("LifecyclePolicy")["LifecyclePolicyText"]
    ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=policy)
    take.require_none_left()
    return Made(name, {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]})


def _role(client: Client, properties: Properties) -> Made:
    name = properties["RoleName"]
    found = client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=text(properties["AssumeRolePolicyDocument"])
    )["Role"]
    return _set_policies(client, Made(name, {"Arn": found["Arn"]}), properties)


def _set_policies(client: Client, made: Made, properties: Properties) -> Made:
    iam, take = client("iam"), Taken(properties)
    name = take("RoleName")
    trust = text(take("AssumeRolePolicyDocument"))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    wanted = {policy["PolicyName"]: policy["PolicyDocument"] for policy in take("Policies", [])}
    for old in set(iam.list_role_policies(RoleName=name)["PolicyNames"]) - wanted.keys():
        iam.delete_role_policy(RoleName=name, PolicyName=old)
    for policy, document in wanted.items():
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=text(document))
    take.require_none_left()
    return made


def _delete_role(client: Client, ref: str, _properties: Properties) -> None:
    iam = client("iam")
    for policy in iam.list_role_policies(RoleName=ref)["PolicyNames"]:
        iam.delete_role_policy(RoleName=ref, PolicyName=policy)
    iam.delete_role(RoleName=ref)


def _log_group(client: Client, properties: Properties) -> Made:
    logs, name = client("logs"), properties["LogGroupName"]
    logs.create_log_group(logGroupName=name)
    found = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    return _set_retention(client, Made(name, {"Arn": found["arn"]}), properties)


def _set_retention(client: Client, made: Made, properties: Properties) -> Made:
    take = Taken(properties)
    client("logs").put_retention_policy(
        logGroupName=take("LogGroupName"), retentionInDays=int(take("RetentionInDays"))
    )
    take.require_none_left()
    return made


def _delete_repository(client: Client, ref: str, properties: Properties) -> None:
    client("ecr").delete_repository(repositoryName=ref, force=properties["EmptyOnDelete"])


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::ECR::Repository": Kind(_repository, _delete_repository),
    "AWS::IAM::Role": Kind(_role, _delete_role, _set_policies, frozenset({"RoleName"})),
    "AWS::Logs::LogGroup": Kind(
        _log_group,
        by_api("logs", "delete_log_group", "logGroupName"),
        _set_retention,
        frozenset({"LogGroupName"}),
    ),
}
