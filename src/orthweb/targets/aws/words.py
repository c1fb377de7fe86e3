"""What resources are called when a person is told of them."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = {
    "aws_ami_copy": "machine image",
    "aws_autoscaling_group": "group of hosts",
    "aws_backup_plan": "backup plan",
    "aws_backup_selection": "backup plan's resources",
    "aws_backup_vault": "backup vault",
    "aws_backup_vault_lock_configuration": "backup vault's lock",
    "aws_backup_vault_policy": "backup vault's policy",
    "aws_cloudtrail": "CloudTrail trail",
    "aws_cloudwatch_dashboard": "dashboard",
    "aws_cloudwatch_log_group": "log group",
    "aws_cloudwatch_log_metric_filter": "log metric",
    "aws_cloudwatch_metric_alarm": "alarm",
    "aws_db_instance": "database",
    "aws_db_parameter_group": "database settings",
    "aws_db_subnet_group": "database subnets",
    "aws_default_network_acl": "default network ACL",
    "aws_default_route_table": "default route table",
    "aws_default_security_group": "default security group",
    "aws_ec2_client_vpn_endpoint": "VPN endpoint",
    "aws_ecr_lifecycle_policy": "lifecycle rule of image repository",
    "aws_ecr_repository": "image repository",
    "aws_eip": "Elastic IP address",
    "aws_eip_association": "Elastic IP address of the host",
    "aws_flow_log": "flow log",
    "aws_iam_instance_profile": "instance profile",
    "aws_iam_role": "IAM role",
    "aws_iam_role_policy": "IAM policy",
    "aws_iam_role_policy_attachment": "AWS managed policy",
    "aws_instance": "host",
    "aws_internet_gateway": "internet gateway",
    "aws_key_pair": "SSH key",
    "aws_kms_alias": "KMS alias",
    "aws_kms_key": "KMS key",
    "aws_kms_key_policy": "KMS key's policy",
    "aws_launch_template": "launch template",
    "aws_lb": "load balancer",
    "aws_lb_listener": "load balancer's port",
    "aws_lb_target_group": "load balancer's targets",
    "aws_nat_gateway": "NAT gateway",
    "aws_network_acl": "network ACL",
    "aws_network_interface": "network interface",
    "aws_route": "route",
    "aws_route53_record": "DNS record",
    "aws_route_table": "route table",
    "aws_route_table_association": "subnet's route table",
    "aws_s3_bucket": "bucket",
    "aws_secretsmanager_secret": "secret",
    "aws_secretsmanager_secret_version": "value of secret",
    "aws_security_group": "security group",
    "aws_sns_topic": "alarm topic",
    "aws_sns_topic_policy": "alarm topic's policy",
    "aws_sns_topic_subscription": "alarm address",
    "aws_ssm_parameter": "parameter of the hosts",
    "aws_subnet": "subnet",
    "aws_vpc": "network (VPC)",
    "aws_vpc_endpoint": "VPC endpoint",
    "aws_vpc_security_group_egress_rule": "firewall rule (out)",
    "aws_vpc_security_group_ingress_rule": "firewall rule (in)",
    "terraform_data": "note of Terraform",
}

_PLURALS: Final = {
    "database settings": "database settings",
    "database subnets": "database subnets",
    "load balancer's targets": "load balancer's targets",
    "backup plan's resources": "backup plan's resources",
    "network (VPC)": "networks (VPC)",
    "alarm address": "alarm addresses",
    "Elastic IP address": "Elastic IP addresses",
    "group of hosts": "groups of hosts",
    "note of Terraform": "notes of Terraform",
    "parameter of the hosts": "parameters of the hosts",
    "IAM policy": "IAM policies",
    "AWS managed policy": "AWS managed policies",
    "KMS key's policy": "KMS keys' policies",
    "value of secret": "values of secrets",
    "KMS alias": "KMS aliases",
    "subnet's route table": "subnets' route tables",
    "bucket's setting": "buckets' settings",
    "image repository": "image repositories",
    "lifecycle rule of image repository": "lifecycle rules of image repositories",
    "load balancer's port": "load balancer's ports",
    "firewall rule (in)": "firewall rules (in)",
    "firewall rule (out)": "firewall rules (out)",
}

_BUCKETS: Final = "aws_s3_bucket_"
"""What the types of a bucket's settings begin with."""

_NAMELESS: Final = ("this", "host", "alarms", "closed")
"""Names in the configuration that add nothing to what a thing is."""

SLOW: Final = {
    "aws_db_instance": "usually about 10 minutes",
    "aws_nat_gateway": "usually 2 minutes",
    "aws_lb": "usually 3 minutes",
    "aws_ec2_client_vpn_network_association": "usually 10 minutes",
    "aws_ec2_client_vpn_endpoint": "usually a minute",
}
"""How long AWS takes for what it takes long for."""


def kind(type_: str) -> str:
    """Name what a resource type is."""
    if type_ in _WORDS:
        return _WORDS[type_]
    if type_.startswith(_BUCKETS):
        return "bucket's setting"
    return type_.removeprefix("aws_").replace("_", " ")


def counted(number: int, words: str) -> str:
    """Write a number of things of a kind."""
    if number == 1:
        return words
    return f"{number} {_PLURALS.get(words, f'{words}s')}"


def named(type_: str, address: str) -> str:
    """Name one resource: its kind, and its own name where there are several."""
    words = kind(type_)
    if type_.startswith(_BUCKETS):
        words = f"bucket's {type_.removeprefix(_BUCKETS).replace('_', ' ')}"
    # A key may have dots of its own: it is what stands in brackets at the end.
    found = re.search(r'([\w-]+)(?:\["?(.*?)"?])?$', address)
    name, key = (found[1], found[2] or "") if found else ("", "")
    own = key if key and not key.isdigit() else ("" if name in _NAMELESS else name.replace("_", " "))
    return f"{words} {own}" if own else words
