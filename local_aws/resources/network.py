"""EC2: the network of the jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from local_aws.resources.kinds import (
    Client,
    Kind,
    Made,
    Properties,
    created_by,
    deleted_by,
    send,
    without,
)


def _vpc(client: Client, properties: Properties) -> Made:
    own = without(properties, "EnableDnsHostnames", "Tags")
    if tags := properties.get("Tags"):
        own["TagSpecifications"] = [{"ResourceType": "vpc", "Tags": tags}]
    vpc = send(client, "ec2", "CreateVpc", own)["Vpc"]["VpcId"]
    hostnames = {"VpcId": vpc, "EnableDnsHostnames": {"Value": properties["EnableDnsHostnames"]}}
    send(client, "ec2", "ModifyVpcAttribute", hostnames)
    return Made(vpc)


def _security_group(client: Client, properties: Properties) -> Made:
    own = without(properties, "GroupDescription", "SecurityGroupEgress")
    own |= {
        "GroupName": f"jobs-{properties['VpcId']}",
        "Description": properties["GroupDescription"],
    }
    group = send(client, "ec2", "CreateSecurityGroup", own)["GroupId"]
    # A new group may call everywhere until that is taken away.
    made = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    if everywhere := made["IpPermissionsEgress"]:
        client("ec2").revoke_security_group_egress(GroupId=group, IpPermissions=everywhere)
    wanted = [_permission(rule) for rule in properties["SecurityGroupEgress"]]
    egress = {"GroupId": group, "IpPermissions": wanted}
    send(client, "ec2", "AuthorizeSecurityGroupEgress", egress)
    return Made(group, {"GroupId": group})


def _permission(rule: Properties) -> dict[str, Any]:
    addresses = {"CidrIp": rule["CidrIp"], "Description": rule["Description"]}
    return {**without(rule, *addresses), "IpRanges": [addresses]}


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::EC2::VPC": Kind(_vpc, deleted_by("ec2", "DeleteVpc", VpcId="Ref")),
    "AWS::EC2::InternetGateway": Kind(
        created_by("ec2", "CreateInternetGateway", "InternetGateway.InternetGatewayId"),
        deleted_by("ec2", "DeleteInternetGateway", InternetGatewayId="Ref"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind(
        created_by("ec2", "AttachInternetGateway", "join('|', [InternetGatewayId, VpcId])"),
        deleted_by(
            "ec2",
            "DetachInternetGateway",
            InternetGatewayId="InternetGatewayId",
            VpcId="VpcId",
        ),
    ),
    "AWS::EC2::RouteTable": Kind(
        created_by("ec2", "CreateRouteTable", "RouteTable.RouteTableId"),
        deleted_by("ec2", "DeleteRouteTable", RouteTableId="Ref"),
    ),
    "AWS::EC2::Route": Kind(
        created_by("ec2", "CreateRoute", "join('|', [RouteTableId, DestinationCidrBlock])"),
        deleted_by(
            "ec2",
            "DeleteRoute",
            RouteTableId="RouteTableId",
            DestinationCidrBlock="DestinationCidrBlock",
        ),
    ),
    "AWS::EC2::Subnet": Kind(
        created_by("ec2", "CreateSubnet", "Subnet.SubnetId"),
        deleted_by("ec2", "DeleteSubnet", SubnetId="Ref"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(
        created_by("ec2", "AssociateRouteTable", "AssociationId"),
        deleted_by("ec2", "DisassociateRouteTable", AssociationId="Ref"),
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        created_by("ec2", "CreateVpcEndpoint", "VpcEndpoint.VpcEndpointId"),
        deleted_by("ec2", "DeleteVpcEndpoints", VpcEndpointIds="[Ref]"),
    ),
    "AWS::EC2::SecurityGroup": Kind(
        _security_group, deleted_by("ec2", "DeleteSecurityGroup", GroupId="Ref")
    ),
}
