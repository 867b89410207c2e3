"""Buckets and secrets."""

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
    in_place,
    text,
)


def _bucket(client: Client, properties: Properties) -> Made:
    s3 = client("s3")
    name = properties["BucketName"]
    region = s3.meta.region_name
    where = {} if region == "us-east-1" else {"LocationConstraint": region}
    s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))
    return _configure_bucket(client, Made(name), properties)


def _configure_bucket(client: Client, made: Made, properties: Properties) -> Made:
    s3, take = client("s3"), Taken(properties)
    name = take("BucketName")
    encryption = take("BucketEncryption")["ServerSideEncryptionConfiguration"]
    rules = [
        {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
        for rule in encryption
    ]
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=take("OwnershipControls"))
    s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=take("PublicAccessBlockConfiguration")
    )
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=take("VersioningConfiguration"))
    rules = [_lifecycle_rule(rule) for rule in take("LifecycleConfiguration")["Rules"]]
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    take.require_none_left()
    return Made(name, {"Arn": f"arn:aws:s3:::{name}"})


def _lifecycle_rule(rule: Properties) -> Properties:
    take = Taken(rule)
    made = {"ID": take("Id"), "Status": take("Status"), "Filter": {"Prefix": take("Prefix", "")}}
    if days := take("ExpirationInDays"):
        made["Expiration"] = {"Days": int(days)}
    for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
        if part := take(name):
            made[name] = {key: int(value) for key, value in part.items()}
    take.require_none_left()
    return made


def _bucket_policy(client: Client, properties: Properties) -> Made:
    bucket = properties["Bucket"]
    client("s3").put_bucket_policy(Bucket=bucket, Policy=text(properties["PolicyDocument"]))
    return Made(bucket)


def _secret(client: Client, properties: Properties) -> Made:
    arn = client("secretsmanager").create_secret(**properties)["ARN"]
    return Made(arn, {"Id": arn})


def _update_secret(client: Client, made: Made, properties: Properties) -> Made:
    client("secretsmanager").update_secret(SecretId=made.ref, Description=properties["Description"])
    return made


def _delete_secret(client: Client, ref: str, _properties: Properties) -> None:
    client("secretsmanager").delete_secret(SecretId=ref, ForceDeleteWithoutRecovery=True)


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::S3::Bucket": Kind(
        _bucket,
        by_api("s3", "delete_bucket", "Bucket"),
        _configure_bucket,
        frozenset({"BucketName"}),
    ),
    "AWS::S3::BucketPolicy": Kind(
        _bucket_policy,
        by_api("s3", "delete_bucket_policy", "Bucket"),
        in_place(_bucket_policy),
        frozenset({"Bucket"}),
    ),
    "AWS::SecretsManager::Secret": Kind(
        _secret, _delete_secret, _update_secret, frozenset({"Name"})
    ),
}
