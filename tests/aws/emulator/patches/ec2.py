"""Amazon EC2: Debian's images; what moto forgets of rules, templates and flow logs; what it leaves behind."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import amis
from moto.ec2.models.instances import Instance
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.flow_logs import FlowLogs
from moto.ec2.responses.instances import InstanceResponse

from aws.emulator.patches import replaces

DEBIAN = "136693071363"
"""Debian's own account (wiki.debian.org/Cloud/AmazonEC2Image)."""

IMAGES = (
    ("ami-0deb1a13a0d640001", "debian-13-amd64-20251006-2257", "x86_64", "2025-10-06T22:57:00.000Z"),
    ("ami-0deb1a13a0d640002", "debian-13-amd64-20251117-2299", "x86_64", "2025-11-17T22:57:00.000Z"),
    ("ami-0deb1a13a0640003a", "debian-13-arm64-20251117-2299", "arm64", "2025-11-17T22:57:00.000Z"),
    ("ami-0deb1a12a0d640004", "debian-12-amd64-20251112-2294", "x86_64", "2025-11-12T22:57:00.000Z"),
)

# moto knows images of Amazon, Canonical and Microsoft alone.
amis.AMIS.extend(
    {
        "ami_id": identifier,
        "state": "available",
        "public": True,
        "owner_id": DEBIAN,
        "image_location": f"{DEBIAN}/{name}",
        "image_type": "machine",
        "name": name,
        "description": name,
        "architecture": architecture,
        "creation_date": created,
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "sriov": "simple",
    }
    for identifier, name, architecture, created in IMAGES
)


# moto returns the description of an address range and forgets that of a group or prefix list.
def _description(self: Any) -> str | None:
    return (self.ip_range or {}).get("Description") or (self.source_group or {}).get("Description")


setattr(SecurityGroupRule, "description", property(_description))  # noqa: B010  (mypy: it is no attribute yet)


# Tags of the template itself are no part of the template's data, so AWS does not return them with it.
@replaces(LaunchTemplate)
def create_version(former: Any, self: Any, data: dict[str, Any], description: str) -> Any:
    specified = [tags for tags in data.pop("TagSpecifications", []) if tags.get("ResourceType") != "launch-template"]
    return former(self, {**data, "TagSpecifications": specified} if specified else data, description)


# moto drops the format of flow logs that go to a bucket: the provider would replace them in every plan.
@replaces(FlowLogs)
def create_flow_logs(former: Any, self: Any) -> Any:
    before = set(self.ec2_backend.flow_logs)
    answer = former(self)
    options = self._get_param("DestinationOptions")
    for identifier in set(self.ec2_backend.flow_logs) - before if options else ():
        self.ec2_backend.flow_logs[identifier].destination_options = {
            "FileFormat": options.get("FileFormat", "plain-text"),
            **{
                name: str(options.get(name, False)).lower() == "true"
                for name in ("HiveCompatiblePartitions", "PerHourPartition")
            },
        }
    return answer


# moto keeps the protection of an instance when it is changed, and drops it when the instance is made.
@replaces(InstanceResponse)
def run_instances(former: Any, self: Any) -> Any:
    answer = former(self)
    for instance in answer.result.instances if str(self._get_param("DisableApiTermination")).lower() == "true" else ():
        instance.disable_api_termination = True
    return answer


# The interface that comes with an instance goes with it, and one that was made before is free; in moto both stay
# attached. (The instance keeps its own record of them: it is described for a while after its end.)
@replaces(Instance)
def terminate(former: Any, self: Any) -> Any:
    previous = former(self)
    for interface in self.nics.values():
        if interface.description == "Primary network interface" and not interface.delete_on_termination:
            interface.delete()
        elif not interface.delete_on_termination:
            interface.instance = interface.attachment_id = interface.attach_time = interface.device_index = None
            interface.status = "available"
    return previous


# A NAT gateway's interface goes with it.
@replaces(NatGatewayBackend)
def delete_nat_gateway(former: Any, self: Any, nat_gateway_id: str) -> Any:
    gone = former(self, nat_gateway_id)
    self.enis.pop(gone._eni.id, None)
    return gone


# A VPC's own network ACL goes with it.
@replaces(VPCBackend)
def delete_vpc(former: Any, self: Any, vpc_id: str) -> Any:
    gone = former(self, vpc_id)
    for identifier in [each.id for each in self.network_acls.values() if each.vpc_id == vpc_id]:
        del self.network_acls[identifier]
    return gone
