"""EC2: the network of the jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from local_aws.resources import api
from local_aws.resources.api import Client, Kind, Made, Properties


def _vpc(client: Client, properties: Properties) -> Made:
    own = api.without(properties, "EnableDnsHostnames", "Tags")
    if tags := properties.get("Tags"):
        own["TagSpecifications"] = [{"ResourceType": "vpc", "Tags": tags}]
    vpc = api.send(client, "ec2", "CreateVpc", own)["Vpc"]["VpcId"]
    hostnames = {"VpcId": vpc, "EnableDnsHostnames": {"Value": properties["EnableDnsHostnames"]}}
    api.send(client, "ec2", "ModifyVpcAttribute", hostnames)
    return Made(vpc)


def _security_group(client: Client, properties: Properties) -> Made:
    own = api.without(properties, "GroupDescription", "SecurityGroupEgress")
    own |= {
        "GroupName": f"jobs-{properties['VpcId']}",
        "Description": properties["GroupDescription"],
    }
    group = api.send(client, "ec2", "CreateSecurityGroup", own)["GroupId"]
    # A new group may call everywhere until that is taken away.
    made = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    if everywhere := made["IpPermissionsEgress"]:
        client("ec2").revoke_security_group_egress(GroupId=group, IpPermissions=everywhere)
    wanted = [_permission(rule) for rule in properties["SecurityGroupEgress"]]
    egress = {"GroupId": group, "IpPermissions": wanted}
    api.send(client, "ec2", "AuthorizeSecurityGroupEgress", egress)
    return Made(group, {"GroupId": group})


def _permission(rule: Properties) -> dict[str, Any]:
    addresses = {"CidrIp": rule["CidrIp"], "Description": rule["Description"]}
    return {**api.without(rule, *addresses), "IpRanges": [addresses]}


KINDS: Final[Mapping[str, Kind]] = {
    "AWS::EC2::VPC": Kind(_vpc, api.deleted_by("ec2", "DeleteVpc", VpcId="Ref")),
    "AWS::EC2::InternetGateway": Kind(
        api.created_by("ec2", "CreateInternetGateway", "InternetGateway.InternetGatewayId"),
        api.deleted_by("ec2", "DeleteInternetGateway", InternetGatewayId="Ref"),
    ),
    "AWS::EC2::VPCGatewayAttachment": Kind(
        api.created_by("ec2", "AttachInternetGateway", "join('|', [InternetGatewayId, VpcId])"),
        api.deleted_by(
            "ec2",
            "DetachInternetGateway",
            InternetGatewayId="InternetGatewayId",
            VpcId="VpcId",
        ),
    ),
    "AWS::EC2::RouteTable": Kind(
        api.created_by("ec2", "CreateRouteTable", "RouteTable.RouteTableId"),
        api.deleted_by("ec2", "DeleteRouteTable", RouteTableId="Ref"),
    ),
    "AWS::EC2::Route": Kind(
        api.created_by("ec2", "CreateRoute", "join('|', [RouteTableId, DestinationCidrBlock])"),
        api.deleted_by(
            "ec2",
            "DeleteRoute",
            RouteTableId="RouteTableId",
            DestinationCidrBlock="DestinationCidrBlock",
        ),
    ),
    "AWS::EC2::Subnet": Kind(
        api.created_by("ec2", "CreateSubnet", "Subnet.SubnetId"),
        api.deleted_by("ec2", "DeleteSubnet", SubnetId="Ref"),
    ),
    "AWS::EC2::SubnetRouteTableAssociation": Kind(
        api.created_by("ec2", "AssociateRouteTable", "AssociationId"),
        api.deleted_by("ec2", "DisassociateRouteTable", AssociationId="Ref"),
    ),
    "AWS::EC2::VPCEndpoint": Kind(
        api.created_by("ec2", "CreateVpcEndpoint", "VpcEndpoint.VpcEndpointId"),
        api.deleted_by("ec2", "DeleteVpcEndpoints", VpcEndpointIds="[Ref]"),
    ),
    "AWS::EC2::SecurityGroup": Kind(
        _security_group, api.deleted_by("ec2", "DeleteSecurityGroup", GroupId="Ref")
    ),
}
