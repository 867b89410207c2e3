"""S3, Secrets Manager and ECR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from local_aws.resources import api
from local_aws.resources.api import Client, Kind, Made, Properties


def _bucket(client: Client, properties: Properties) -> Made:
    name = properties["BucketName"]
    api.send(client, "s3", "CreateBucket", {"Bucket": name})
    return _configure_bucket(client, Made(name, {"Arn": f"arn:aws:s3:::{name}"}), properties)


def _configure_bucket(client: Client, made: Made, properties: Properties) -> Made:
    calls = {
        "OwnershipControls": "PutBucketOwnershipControls",
        "PublicAccessBlockConfiguration": "PutPublicAccessBlock",
        "VersioningConfiguration": "PutBucketVersioning",
        "LifecycleConfiguration": "PutBucketLifecycleConfiguration",
        "NotificationConfiguration": "PutBucketNotificationConfiguration",
        "ServerSideEncryptionConfiguration": "PutBucketEncryption",
    }
    wanted = api.without(properties, "BucketName", "BucketEncryption", "LifecycleConfiguration")
    if lifecycle := properties.get("LifecycleConfiguration"):
        rules = [_lifecycle_rule(rule) for rule in lifecycle["Rules"]]
        wanted["LifecycleConfiguration"] = {**lifecycle, "Rules": rules}
    # A template without the property takes the notifications away.
    wanted["NotificationConfiguration"] = _notifications(
        properties.get("NotificationConfiguration", {})
    )
    if encryption := properties.get("BucketEncryption"):
        spelling = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}
        rules = encryption["ServerSideEncryptionConfiguration"]
        wanted["ServerSideEncryptionConfiguration"] = {
            "Rules": [api.renamed(rule, **spelling) for rule in rules]
        }
    for setting, value in wanted.items():
        if setting not in calls:
            raise api.ResourceError(f"a bucket has no {setting}: not known here")
        api.send(client, "s3", calls[setting], {"Bucket": made.ref, setting: value})
    return made


def _notifications(configuration: Properties) -> dict[str, Any]:
    if unknown := configuration.keys() - {"EventBridgeConfiguration"}:
        raise api.ResourceError(f"notifications to {', '.join(sorted(unknown))}: not known here")
    bridge = configuration.get("EventBridgeConfiguration", {})
    is_on = str(bridge.get("EventBridgeEnabled", False)).lower() == "true"
    return {"EventBridgeConfiguration": {}} if is_on else {}


def _lifecycle_rule(rule: Properties) -> dict[str, Any]:
    wanted = {"Filter": {"Prefix": rule.get("Prefix", "")}}
    if days := rule.get("ExpirationInDays"):
        wanted["Expiration"] = {"Days": days}
    return {**api.without(rule, "Prefix", "ExpirationInDays"), **wanted}


def _bucket_policy(client: Client, properties: Properties) -> Made:
    api.send(client, "s3", "PutBucketPolicy", api.renamed(properties, PolicyDocument="Policy"))
    return Made(properties["Bucket"])


def _repository(client: Client, properties: Properties) -> Made:
    own = api.without(properties, "EmptyOnDelete", "LifecyclePolicy", "RepositoryPolicyText")
    made = api.send(client, "ecr", "CreateRepository", own)["repository"]
    name = made["repositoryName"]
    lifecycle = {"RepositoryName": name, **properties["LifecyclePolicy"]}
    api.send(client, "ecr", "PutLifecyclePolicy", lifecycle)
    if policy := properties.get("RepositoryPolicyText"):
        pull = {"RepositoryName": name, "PolicyText": policy}
        api.send(client, "ecr", "SetRepositoryPolicy", pull)
    return Made(name, {"Arn": made["repositoryArn"], "RepositoryUri": made["repositoryUri"]})


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::S3::Bucket": Kind(
        _bucket,
        api.deleted_by("s3", "DeleteBucket", Bucket="Ref"),
        _configure_bucket,
        frozenset({"BucketName"}),
    ),
    "AWS::S3::BucketPolicy": Kind(
        _bucket_policy,
        api.deleted_by("s3", "DeleteBucketPolicy", Bucket="Ref"),
        api.same_call(_bucket_policy),
        frozenset({"Bucket"}),
    ),
    "AWS::SecretsManager::Secret": Kind(
        api.created_by("secretsmanager", "CreateSecret", "ARN", Id="ARN"),
        api.deleted_by(
            "secretsmanager", "DeleteSecret", SecretId="Ref", ForceDeleteWithoutRecovery="`true`"
        ),
        api.updated_by("secretsmanager", "UpdateSecret", "Name", SecretId="Ref"),
        frozenset({"Name"}),
    ),
    "AWS::ECR::Repository": Kind(
        _repository,
        api.deleted_by("ecr", "DeleteRepository", repositoryName="Ref", force="EmptyOnDelete"),
    ),
}
