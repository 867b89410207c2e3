"""How each resource type of a template is made, changed and removed: by the API of its service.

A type or a property that is not known here is an error, never passed over: what a
deployment did not apply must not look applied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

Properties = dict[str, Any]
Client = Callable[[str], Any]


class ResourceError(Exception):
    """A resource cannot be made or changed as the template says."""


@dataclass(frozen=True, slots=True)
class Made:
    """A resource that is there.

    Attributes:
        ref: What ``Ref`` gives.
        attributes: What ``Fn::GetAtt`` gives, by attribute.
    """

    ref: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource type.

    Attributes:
        create: Makes a resource from its properties.
        delete: Removes it, given its ``Ref`` and its properties.
        update: Changes it in place; None makes every change a replacement.
        replaced_by: Properties whose change makes a new resource.
    """

    create: Callable[[Client, Properties], Made]
    delete: Callable[[Client, str, Properties], None]
    update: Callable[[Client, Made, Properties], Made] | None = None
    replaced_by: frozenset[str] = frozenset()


class _Taken:
    """Properties, each of which has to be used."""

    def __init__(self, properties: Properties) -> None:
        self._left = dict(properties)

    def __call__(self, name: str, default: Any = None) -> Any:
        return self._left.pop(name, default)

    def require_none_left(self) -> None:
        if self._left:
            raise ResourceError(f"properties not known here: {', '.join(sorted(self._left))}")


def lower_first(value: Any) -> Any:
    """Return a template's properties in the spelling of the APIs that start in lower case."""
    if isinstance(value, list):
        return [lower_first(item) for item in value]
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: lower_first(item) for key, item in value.items()}
    return value


def _text(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _nothing(_client: Client, _ref: str, _properties: Properties) -> None:
    """Remove nothing: it goes with what it belongs to."""


# S3 and Secrets Manager


def _bucket(client: Client, properties: Properties) -> Made:
    s3 = client("s3")
    name = properties["BucketName"]
    region = s3.meta.region_name
    where = {} if region == "us-east-1" else {"LocationConstraint": region}
    s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))
    return _configure_bucket(client, Made(name), properties)


def _configure_bucket(client: Client, made: Made, properties: Properties) -> Made:
    s3, take = client("s3"), _Taken(properties)
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
    take = _Taken(rule)
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
    client("s3").put_bucket_policy(Bucket=bucket, Policy=_text(properties["PolicyDocument"]))
    return Made(bucket)


def _secret(client: Client, properties: Properties) -> Made:
    arn = client("secretsmanager").create_secret(**properties)["ARN"]
    return Made(arn, {"Id": arn})


def _update_secret(client: Client, made: Made, properties: Properties) -> Made:
    client("secretsmanager").update_secret(SecretId=made.ref, Description=properties["Description"])
    return made


# Images, roles, logs


def _repository(client: Client, properties: Properties) -> Made:
    ecr, take = client("ecr"), _Taken(properties)
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
        RoleName=name, AssumeRolePolicyDocument=_text(properties["AssumeRolePolicyDocument"])
    )["Role"]
    return _set_policies(client, Made(name, {"Arn": found["Arn"]}), properties)


def _set_policies(client: Client, made: Made, properties: Properties) -> Made:
    iam, take = client("iam"), _Taken(properties)
    name = take("RoleName")
    trust = _text(take("AssumeRolePolicyDocument"))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
    wanted = {policy["PolicyName"]: policy["PolicyDocument"] for policy in take("Policies", [])}
    for old in set(iam.list_role_policies(RoleName=name)["PolicyNames"]) - wanted.keys():
        iam.delete_role_policy(RoleName=name, PolicyName=old)
    for policy, document in wanted.items():
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=_text(document))
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
    take = _Taken(properties)
    client("logs").put_retention_policy(
        logGroupName=take("LogGroupName"), retentionInDays=int(take("RetentionInDays"))
    )
    take.require_none_left()
    return made


# Functions


def _function(client: Client, properties: Properties) -> Made:
    wanted = {**properties, "MemorySize": int(properties["MemorySize"])}
    wanted["Timeout"] = int(properties["Timeout"])
    wanted["Environment"] = _environment(properties)
    found = client("lambda").create_function(**wanted)
    return Made(found["FunctionName"], {"Arn": found["FunctionArn"]})


def _environment(properties: Properties) -> Properties:
    variables = properties["Environment"]["Variables"]
    return {"Variables": {name: str(value) for name, value in variables.items()}}


def _update_function(client: Client, made: Made, properties: Properties) -> Made:
    take, functions = _Taken(properties), client("lambda")
    name = take("FunctionName")
    functions.update_function_code(FunctionName=name, ImageUri=take("Code")["ImageUri"])
    functions.update_function_configuration(
        FunctionName=name,
        Role=take("Role"),
        ImageConfig=take("ImageConfig"),
        MemorySize=int(take("MemorySize")),
        Timeout=int(take("Timeout")),
        TracingConfig=take("TracingConfig"),
        LoggingConfig=take("LoggingConfig"),
        Environment=_environment({"Environment": take("Environment")}),
    )
    take("PackageType")
    take.require_none_left()
    return made


# Network


def _tagged(kind: str, properties: Properties) -> Properties:
    tags = properties.get("Tags")
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}


def _vpc(client: Client, properties: Properties) -> Made:
    ec2, take = client("ec2"), _Taken(properties)
    tags = _tagged("vpc", {"Tags": take("Tags")})
    vpc = ec2.create_vpc(CidrBlock=take("CidrBlock"), **tags)["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": take("EnableDnsHostnames")})
    take.require_none_left()
    return Made(vpc)


def _gateway_attachment(client: Client, properties: Properties) -> Made:
    client("ec2").attach_internet_gateway(**properties)
    return Made(f"{properties['InternetGatewayId']}|{properties['VpcId']}")


def _security_group(client: Client, properties: Properties) -> Made:
    ec2, take = client("ec2"), _Taken(properties)
    vpc = take("VpcId")
    group = ec2.create_security_group(
        GroupName=f"jobs-{vpc}", Description=take("GroupDescription"), VpcId=vpc
    )["GroupId"]
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    if found["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=found["IpPermissionsEgress"])
    ec2.authorize_security_group_egress(
        GroupId=group, IpPermissions=[_permission(rule) for rule in take("SecurityGroupEgress")]
    )
    take.require_none_left()
    return Made(group, {"GroupId": group})


def _permission(rule: Properties) -> Properties:
    return {
        "IpProtocol": rule["IpProtocol"],
        "FromPort": int(rule["FromPort"]),
        "ToPort": int(rule["ToPort"]),
        "IpRanges": [{"CidrIp": rule["CidrIp"], "Description": rule["Description"]}],
    }


def _endpoint(client: Client, properties: Properties) -> Made:
    found = client("ec2").create_vpc_endpoint(**properties)["VpcEndpoint"]
    return Made(found["VpcEndpointId"])


# Batch


def _compute(client: Client, properties: Properties) -> Made:
    take = _Taken(properties)
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


# Alerts


def _topic(client: Client, properties: Properties) -> Made:
    take = _Taken(properties)
    name = take("TopicName")
    attributes = {"DisplayName": take("DisplayName")}
    arn = client("sns").create_topic(Name=name, Attributes=attributes)["TopicArn"]
    take.require_none_left()
    return Made(arn, {"TopicName": name})


def _update_topic(client: Client, made: Made, properties: Properties) -> Made:
    client("sns").set_topic_attributes(
        TopicArn=made.ref, AttributeName="DisplayName", AttributeValue=properties["DisplayName"]
    )
    return made


def _topic_policy(client: Client, properties: Properties) -> Made:
    for topic in properties["Topics"]:
        client("sns").set_topic_attributes(
            TopicArn=topic,
            AttributeName="Policy",
            AttributeValue=_text(properties["PolicyDocument"]),
        )
    return Made("-".join(properties["Topics"]))


def _subscription(client: Client, properties: Properties) -> Made:
    found = client("sns").subscribe(**properties, ReturnSubscriptionArn=True)
    return Made(found["SubscriptionArn"])


def _sqs_queue(client: Client, properties: Properties) -> Made:
    sqs, take = client("sqs"), _Taken(properties)
    name = take("QueueName")
    attributes = {
        "MessageRetentionPeriod": str(take("MessageRetentionPeriod")),
        "SqsManagedSseEnabled": str(take("SqsManagedSseEnabled")).lower(),
    }
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    take.require_none_left()
    return Made(url, {"Arn": found["QueueArn"], "QueueName": name})


def _queue_policy(client: Client, properties: Properties) -> Made:
    for queue in properties["Queues"]:
        client("sqs").set_queue_attributes(
            QueueUrl=queue, Attributes={"Policy": _text(properties["PolicyDocument"])}
        )
    return Made("-".join(properties["Queues"]))


def _rule(client: Client, properties: Properties) -> Made:
    events, take = client("events"), _Taken(properties)
    name = take("Name")
    arn = events.put_rule(
        Name=name,
        Description=take("Description"),
        State=take("State"),
        EventPattern=_text(take("EventPattern")),
    )["RuleArn"]
    answer = events.put_targets(Rule=name, Targets=take("Targets"))
    if answer["FailedEntryCount"]:
        raise ResourceError(f"targets of {name}: {answer['FailedEntries']}")
    take.require_none_left()
    return Made(name, {"Arn": arn})


def _delete_rule(client: Client, ref: str, _properties: Properties) -> None:
    events = client("events")
    targets = events.list_targets_by_rule(Rule=ref)["Targets"]
    events.remove_targets(Rule=ref, Ids=[target["Id"] for target in targets])
    events.delete_rule(Name=ref)


def _alarm(client: Client, properties: Properties) -> Made:
    wanted = dict(properties)
    for name in ("EvaluationPeriods", "DatapointsToAlarm"):
        wanted[name] = int(wanted[name])
    wanted["Threshold"] = float(wanted["Threshold"])
    period = max(
        metric["MetricStat"]["Period"] for metric in wanted["Metrics"] if "MetricStat" in metric
    )
    if period * wanted["EvaluationPeriods"] > (604_800 if period >= 3600 else 86_400):
        raise ResourceError("an alarm looks back a day, or a week with periods of an hour or more")
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_alarm(**wanted)
    name = wanted["AlarmName"]
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return Made(name, {"Arn": found["AlarmArn"]})


def _dashboard(client: Client, properties: Properties) -> Made:
    json.loads(properties["DashboardBody"])
    client("cloudwatch").put_dashboard(**properties)
    return Made(properties["DashboardName"])


# The pipeline


def _definition(client: Client, take: _Taken) -> str:
    where = take("DefinitionS3Location")
    if not isinstance(where, dict):
        raise ResourceError(
            f"DefinitionS3Location {where!r}: the template has to be packaged first"
        )
    text = client("s3").get_object(**where)["Body"].read().decode()
    for name, value in take("DefinitionSubstitutions", {}).items():
        if f"${{{name}}}" not in text:
            raise ResourceError(f"the definition has no place for ${{{name}}}")
        text = text.replace(f"${{{name}}}", json.dumps(value)[1:-1])
    if "${" in text:
        raise ResourceError(f"not filled in: {text[text.index('${') :].split('}')[0]}}}")
    return str(text)


def _state_machine(client: Client, properties: Properties) -> Made:
    take = _Taken(properties)
    name = take("StateMachineName")
    arn = client("stepfunctions").create_state_machine(
        name=name,
        type=take("StateMachineType"),
        roleArn=take("RoleArn"),
        definition=_definition(client, take),
        loggingConfiguration=_logging(take),
        tracingConfiguration=lower_first(take("TracingConfiguration")),
    )["stateMachineArn"]
    take.require_none_left()
    return Made(arn, {"Arn": arn, "Name": name})


def _logging(take: _Taken) -> Properties:
    configuration: Properties = lower_first(take("LoggingConfiguration"))
    for destination in configuration["destinations"]:
        group = destination["cloudWatchLogsLogGroup"]
        if not group["logGroupArn"].endswith(":*"):
            group["logGroupArn"] += ":*"
    return configuration


def _update_state_machine(client: Client, made: Made, properties: Properties) -> Made:
    take = _Taken(properties)
    take("StateMachineName")
    take("StateMachineType")
    client("stepfunctions").update_state_machine(
        stateMachineArn=made.ref,
        roleArn=take("RoleArn"),
        definition=_definition(client, take),
        loggingConfiguration=_logging(take),
        tracingConfiguration=lower_first(take("TracingConfiguration")),
    )
    take.require_none_left()
    return made


def _schedule(client: Client, properties: Properties) -> Made:
    client("scheduler").create_schedule(**_schedule_properties(properties))
    return Made(properties["Name"])


def _update_schedule(client: Client, made: Made, properties: Properties) -> Made:
    client("scheduler").update_schedule(**_schedule_properties(properties))
    return made


def _schedule_properties(properties: Properties) -> Properties:
    target = dict(properties["Target"])
    target["RetryPolicy"] = {name: int(value) for name, value in target["RetryPolicy"].items()}
    return {**properties, "Target": target}


def _by_api(service: str, call: str, parameter: str) -> Callable[[Client, str, Properties], None]:
    """Return a removal by one call that takes the ``Ref``."""

    def delete(client: Client, ref: str, _properties: Properties) -> None:
        try:
            getattr(client(service), call)(**{parameter: ref})
        except ClientError as err:
            missing = {
                "NoSuchEntity",
                "ResourceNotFoundException",
                "NotFound",
                "NoSuchBucketPolicy",
            }
            if err.response["Error"]["Code"] not in missing:
                raise

    return delete


def _in_place(
    create: Callable[[Client, Properties], Made],
) -> Callable[[Client, Made, Properties], Made]:
    """Return a change by the same call that creates."""
    return lambda client, _made, properties: create(client, properties)


def _simple(service: str, call: str, *path: str) -> Callable[[Client, Properties], Made]:
    """Return a creation by one call; the path leads to the ``Ref`` in its answer."""

    def create(client: Client, properties: Properties) -> Made:
        found = getattr(client(service), call)(**properties)
        for name in path:
            found = found[name]
        return Made(str(found))

    return create


def _delete_secret(client: Client, ref: str, _properties: Properties) -> None:
    client("secretsmanager").delete_secret(SecretId=ref, ForceDeleteWithoutRecovery=True)


def _delete_repository(client: Client, ref: str, properties: Properties) -> None:
    client("ecr").delete_repository(repositoryName=ref, force=properties["EmptyOnDelete"])


def _delete_dashboard(client: Client, ref: str, _properties: Properties) -> None:
    client("cloudwatch").delete_dashboards(DashboardNames=[ref])


def _delete_alarm(client: Client, ref: str, _properties: Properties) -> None:
    client("cloudwatch").delete_alarms(AlarmNames=[ref])


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::S3::Bucket": Kind(
        _bucket,
        _by_api("s3", "delete_bucket", "Bucket"),
        _configure_bucket,
        frozenset({"BucketName"}),
    ),
    "AWS::S3::BucketPolicy": Kind(
        _bucket_policy,
        _by_api("s3", "delete_bucket_policy", "Bucket"),
        _in_place(_bucket_policy),
        frozenset({"Bucket"}),
    ),
    "AWS::SecretsManager::Secret": Kind(
        _secret, _delete_secret, _update_secret, frozenset({"Name"})
    ),
    "AWS::ECR::Repository": Kind(_repository, _delete_repository),
    "AWS::IAM::Role": Kind(_role, _delete_role, _set_policies, frozenset({"RoleName"})),
    "AWS::Logs::LogGroup": Kind(
        _log_group,
        _by_api("logs", "delete_log_group", "logGroupName"),
        _set_retention,
        frozenset({"LogGroupName"}),
    ),
    "AWS::Lambda::Function": Kind(
        _function,
        _by_api("lambda", "delete_function", "FunctionName"),
        _update_function,
        frozenset({"FunctionName", "PackageType"}),
    ),
    "AWS::EC2::VPC": Kind(_vpc, _by_api("ec2", "delete_vpc", "VpcId")),
    "AWS::EC2::InternetGateway": Kind(
        _simple("ec2", "create_internet_gateway", "InternetGateway", "InternetGatewayId"),
        _by_api("ec2", "delete_internet_gateway", "InternetGatewayId"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind(
        _gateway_attachment,
        lambda client, _ref, properties: client("ec2").detach_internet_gateway(**properties),
    ),
    "AWS::EC2::RouteTable": Kind(
        _simple("ec2", "create_route_table", "RouteTable", "RouteTableId"),
        _by_api("ec2", "delete_route_table", "RouteTableId"),
    ),
    "AWS::EC2::Route": Kind(
        _simple("ec2", "create_route", "Return"),
        lambda client, _ref, properties: client("ec2").delete_route(
            RouteTableId=properties["RouteTableId"],
            DestinationCidrBlock=properties["DestinationCidrBlock"],
        ),
    ),
    "AWS::EC2::Subnet": Kind(
        _simple("ec2", "create_subnet", "Subnet", "SubnetId"),
        _by_api("ec2", "delete_subnet", "SubnetId"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(
        _simple("ec2", "associate_route_table", "AssociationId"),
        _by_api("ec2", "disassociate_route_table", "AssociationId"),
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        _endpoint,
        lambda client, ref, _properties: client("ec2").delete_vpc_endpoints(VpcEndpointIds=[ref]),
    ),
    "AWS::EC2::SecurityGroup": Kind(
        _security_group, _by_api("ec2", "delete_security_group", "GroupId")
    ),
    "AWS::Batch::ComputeEnvironment": Kind(_compute, _delete_compute),
    "AWS::Batch::JobQueue": Kind(_queue, _delete_queue),
    "AWS::Batch::JobDefinition": Kind(
        _job_definition, _delete_job_definition, _in_place(_job_definition)
    ),
    "AWS::SNS::Topic": Kind(
        _topic,
        _by_api("sns", "delete_topic", "TopicArn"),
        _update_topic,
        frozenset({"TopicName"}),
    ),
    "AWS::SNS::TopicPolicy": Kind(_topic_policy, _nothing, _in_place(_topic_policy)),
    "AWS::SNS::Subscription": Kind(_subscription, _by_api("sns", "unsubscribe", "SubscriptionArn")),
    "AWS::SQS::Queue": Kind(_sqs_queue, _by_api("sqs", "delete_queue", "QueueUrl")),
    "AWS::SQS::QueuePolicy": Kind(_queue_policy, _nothing, _in_place(_queue_policy)),
    "AWS::Events::Rule": Kind(_rule, _delete_rule, _in_place(_rule), frozenset({"Name"})),
    "AWS::CloudWatch::Alarm": Kind(
        _alarm, _delete_alarm, _in_place(_alarm), frozenset({"AlarmName"})
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        _dashboard, _delete_dashboard, _in_place(_dashboard), frozenset({"DashboardName"})
    ),
    "AWS::StepFunctions::StateMachine": Kind(
        _state_machine,
        _by_api("stepfunctions", "delete_state_machine", "stateMachineArn"),
        _update_state_machine,
        frozenset({"StateMachineName", "StateMachineType"}),
    ),
    "AWS::Scheduler::Schedule": Kind(
        _schedule,
        _by_api("scheduler", "delete_schedule", "Name"),
        _update_schedule,
        frozenset({"Name"}),
    ),
}
