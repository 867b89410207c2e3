"""Batch: compute environments, queues, job definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from local_aws.resources.kinds import (
    Client,
    Kind,
    Made,
    Properties,
    ResourceError,
    Taken,
    in_place,
    lower_first,
)


def _compute(client: Client, properties: Properties) -> Made:
    take = Taken(properties)
    take("ReplaceComputeEnvironment")
    resources = take("ComputeResources")
    if resources["Type"] not in {"FARGATE", "FARGATE_SPOT"}:
        raise ResourceError(f"compute of type {resources['Type']}: only Fargate is known here")
    resources["MaxvCpus"] = int(resources["MaxvCpus"])
    found = client("batch").create_compute_environment(
        computeEnvironmentName=take("ComputeEnvironmentName"),
        type=take("Type"),
        state=take("State"),
        computeResources=lower_first(resources),
        serviceRole=_service_linked_role(client),
    )
    take.require_none_left()
    return Made(found["computeEnvironmentArn"])


def _service_linked_role(client: Client) -> str:
    """Return the role that AWS makes by itself when none is named."""
    iam, name = client("iam"), "AWSServiceRoleForBatch"
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        return str(made["Role"]["Arn"])


def _delete_compute(client: Client, ref: str, _properties: Properties) -> None:
    batch = client("batch")
    batch.update_compute_environment(computeEnvironment=ref, state="DISABLED")
    batch.delete_compute_environment(computeEnvironment=ref)


def _queue(client: Client, properties: Properties) -> Made:
    found = client("batch").create_job_queue(**lower_first(properties))
    return Made(found["jobQueueArn"])


def _delete_queue(client: Client, ref: str, _properties: Properties) -> None:
    batch = client("batch")
    batch.update_job_queue(jobQueue=ref, state="DISABLED")
    batch.delete_job_queue(jobQueue=ref)


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


def _job_definition(client: Client, properties: Properties) -> Made:
    container = properties["ContainerProperties"]
    size = {need["Type"]: need["Value"] for need in container["ResourceRequirements"]}
    if int(size["MEMORY"]) not in FARGATE_MIB.get(size["VCPU"], ()):
        raise ResourceError(f"Fargate has no {size['VCPU']} vCPU with {size['MEMORY']} MiB")
    wanted = lower_first(properties)
    wanted["timeout"] = {name: int(value) for name, value in wanted["timeout"].items()}
    return Made(client("batch").register_job_definition(**wanted)["jobDefinitionArn"])


def _delete_job_definition(client: Client, ref: str, _properties: Properties) -> None:
    client("batch").deregister_job_definition(jobDefinition=ref)


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::Batch::ComputeEnvironment": Kind(_compute, _delete_compute),
    "AWS::Batch::JobQueue": Kind(_queue, _delete_queue),
    "AWS::Batch::JobDefinition": Kind(
        _job_definition, _delete_job_definition, in_place(_job_definition)
    ),
}
