"""Networks."""

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
    simple,
)


def _tagged(kind: str, properties: Properties) -> Properties:
    tags = properties.get("Tags")
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]} if tags else {}


def _vpc(client: Client, properties: Properties) -> Made:
    ec2, take = client("ec2"), Taken(properties)
    tags = _tagged("vpc", {"Tags": take("Tags")})
    vpc = ec2.create_vpc(CidrBlock=take("CidrBlock"), **tags)["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": take("EnableDnsHostnames")})
    take.require_none_left()
    return Made(vpc)


def _gateway_attachment(client: Client, properties: Properties) -> Made:
    client("ec2").attach_internet_gateway(**properties)
    return Made(f"{properties['InternetGatewayId']}|{properties['VpcId']}")


def _security_group(client: Client, properties: Properties) -> Made:
    ec2, take = client("ec2"), Taken(properties)
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


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::EC2::VPC": Kind(_vpc, by_api("ec2", "delete_vpc", "VpcId")),
    "AWS::EC2::InternetGateway": Kind(
        simple("ec2", "create_internet_gateway", "InternetGateway", "InternetGatewayId"),
        by_api("ec2", "delete_internet_gateway", "InternetGatewayId"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind(
        _gateway_attachment,
        lambda client, _ref, properties: client("ec2").detach_internet_gateway(**properties),
    ),
    "AWS::EC2::RouteTable": Kind(
        simple("ec2", "create_route_table", "RouteTable", "RouteTableId"),
        by_api("ec2", "delete_route_table", "RouteTableId"),
    ),
    "AWS::EC2::Route": Kind(
        simple("ec2", "create_route", "Return"),
        lambda client, _ref, properties: client("ec2").delete_route(
            RouteTableId=properties["RouteTableId"],
            DestinationCidrBlock=properties["DestinationCidrBlock"],
        ),
    ),
    "AWS::EC2::Subnet": Kind(
        simple("ec2", "create_subnet", "Subnet", "SubnetId"),
        by_api("ec2", "delete_subnet", "SubnetId"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(
        simple("ec2", "associate_route_table", "AssociationId"),
        by_api("ec2", "disassociate_route_table", "AssociationId"),
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        _endpoint,
        lambda client, ref, _properties: client("ec2").delete_vpc_endpoints(VpcEndpointIds=[ref]),
    ),
    "AWS::EC2::SecurityGroup": Kind(
        _security_group, by_api("ec2", "delete_security_group", "GroupId")
    ),
}
