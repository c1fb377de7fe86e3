"""What lies in an account: one listing for each type of resource, by the API that AWS has for it.

The types are Terraform's, so that a test can ask whether each type of a state is listed here (`LISTED`), or goes with
another that is (`CONTAINED`: a bucket's policy goes with the bucket).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Client = Callable[[str], Any]
Names = Iterable[str]

GONE = frozenset({"deleted", "deleting", "terminated", "shutting-down", "PendingDeletion"})
"""States of what AWS still lists for a while after it was deleted."""


def resources(client: Client) -> set[str]:
    """List everything as ``type name``; `client` gives a boto3 client of a service."""
    for service in ("autoscaling", "backup", "cloudtrail", "cloudwatch", "ec2", "ecr", "elbv2", "events", "iam", "kms"):
        client(service)  # boto3 makes clients in one thread at a time
    for service in ("lambda", "logs", "rds", "route53", "s3", "secretsmanager", "sns", "ssm", "acm"):
        client(service)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda item: {f"{item[0]} {name}" for name in item[1](client)}, LISTED.items())
    return set().union(*found)


def _all(service: str, operation: str, items: str, name: str, **arguments: Any) -> Callable[[Client], Names]:
    """List by one operation, through its paginator when it has one; what is in a state of `GONE` is left out."""

    def names(client: Client) -> Names:
        asked = client(service)
        if asked.can_paginate(operation):
            pages = list(asked.get_paginator(operation).paginate(**arguments))
        else:
            pages = [getattr(asked, operation)(**arguments)]
        for item in (item for page in pages for item in page.get(items, [])):
            if isinstance(item, str):
                yield item
            elif _state(item) not in GONE:
                yield str(item[name])

    return names


def _state(item: dict[str, Any]) -> str:
    state = item.get("State", item.get("Status", ""))
    return str(state.get("Name", state.get("Code", "")) if isinstance(state, dict) else state)


def _instances(client: Client) -> Names:
    for page in client("ec2").get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            yield from (each["InstanceId"] for each in reservation["Instances"] if each["State"]["Name"] not in GONE)


def _keys(client: Client) -> Names:
    kms = client("kms")
    for page in kms.get_paginator("list_keys").paginate():
        for each in page["Keys"]:
            key = kms.describe_key(KeyId=each["KeyId"])["KeyMetadata"]
            if key["KeyState"] not in GONE and key["KeyManager"] == "CUSTOMER":
                yield str(key["KeyId"])


def _aliases(client: Client) -> Names:
    for page in client("kms").get_paginator("list_aliases").paginate():
        yield from (each["AliasName"] for each in page["Aliases"] if not each["AliasName"].startswith("alias/aws/"))


def _snapshots(client: Client) -> Names:
    for page in client("rds").get_paginator("describe_db_snapshots").paginate(SnapshotType="manual"):
        yield from (each["DBSnapshotIdentifier"] for each in page["DBSnapshots"])


def _records(client: Client) -> Names:
    route53 = client("route53")
    for zone in route53.list_hosted_zones()["HostedZones"]:
        for record in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]:
            yield f"{zone['Id']} {record['Name']} {record['Type']}"


def _listeners(client: Client) -> Names:
    balancer = client("elbv2")
    for each in balancer.describe_load_balancers()["LoadBalancers"]:
        for listener in balancer.describe_listeners(LoadBalancerArn=each["LoadBalancerArn"])["Listeners"]:
            yield str(listener["ListenerArn"])


def _selections(client: Client) -> Names:
    backup = client("backup")
    for plan in backup.list_backup_plans()["BackupPlansList"]:
        for each in backup.list_backup_selections(BackupPlanId=plan["BackupPlanId"])["BackupSelectionsList"]:
            yield str(each["SelectionId"])


def _alarms(client: Client) -> Names:
    for page in client("cloudwatch").get_paginator("describe_alarms").paginate():
        yield from (each["AlarmName"] for each in page["MetricAlarms"] + page["CompositeAlarms"])


def _own(service: str, operation: str, items: str, name: str, **arguments: Any) -> Callable[[Client], Names]:
    """List as `_all` does, without what belongs to AWS or comes with every account by the name ``default``."""
    every = _all(service, operation, items, name, **arguments)

    def names(client: Client) -> Names:
        return (each for each in every(client) if not each.startswith(("default", "/aws/", "AWSServiceRole")))

    return names


LISTED: dict[str, Callable[[Client], Names]] = {
    "aws_acm_certificate": _all("acm", "list_certificates", "CertificateSummaryList", "CertificateArn"),
    "aws_ami": _all("ec2", "describe_images", "Images", "ImageId", Owners=["self"]),
    "aws_autoscaling_group": _all(
        "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"
    ),
    "aws_backup_plan": _all("backup", "list_backup_plans", "BackupPlansList", "BackupPlanId"),
    "aws_backup_selection": _selections,
    "aws_backup_vault": _all("backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName"),
    "aws_cloudtrail": _all("cloudtrail", "list_trails", "Trails", "TrailARN"),
    "aws_cloudwatch_dashboard": _all("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    "aws_cloudwatch_event_rule": _all("events", "list_rules", "Rules", "Name"),
    "aws_cloudwatch_log_group": _all("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "aws_cloudwatch_log_metric_filter": _all("logs", "describe_metric_filters", "metricFilters", "filterName"),
    "aws_cloudwatch_metric_alarm": _alarms,
    "aws_db_instance": _all("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    "aws_db_parameter_group": _own("rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName"),
    "aws_db_snapshot": _snapshots,
    "aws_db_subnet_group": _own("rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName"),
    "aws_ebs_volume": _all("ec2", "describe_volumes", "Volumes", "VolumeId"),
    "aws_ecr_repository": _all("ecr", "describe_repositories", "repositories", "repositoryName"),
    "aws_eip": _all("ec2", "describe_addresses", "Addresses", "AllocationId"),
    "aws_flow_log": _all("ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    "aws_iam_instance_profile": _all("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    "aws_iam_policy": _all("iam", "list_policies", "Policies", "Arn", Scope="Local"),
    "aws_iam_role": _own("iam", "list_roles", "Roles", "RoleName"),
    "aws_iam_user": _all("iam", "list_users", "Users", "UserName"),
    "aws_instance": _instances,
    "aws_internet_gateway": _all("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "aws_key_pair": _all("ec2", "describe_key_pairs", "KeyPairs", "KeyName"),
    "aws_kms_alias": _aliases,
    "aws_kms_key": _keys,
    "aws_lambda_function": _all("lambda", "list_functions", "Functions", "FunctionName"),
    "aws_launch_template": _all("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    "aws_lb": _all("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"),
    "aws_lb_listener": _listeners,
    "aws_lb_target_group": _all("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn"),
    "aws_nat_gateway": _all("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    "aws_network_acl": _all("ec2", "describe_network_acls", "NetworkAcls", "NetworkAclId"),
    "aws_network_interface": _all("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    "aws_route53_record": _records,
    "aws_route53_zone": _all("route53", "list_hosted_zones", "HostedZones", "Id"),
    "aws_route_table": _all("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    "aws_s3_bucket": _all("s3", "list_buckets", "Buckets", "Name"),
    "aws_secretsmanager_secret": _all("secretsmanager", "list_secrets", "SecretList", "Name"),
    "aws_security_group": _all("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    "aws_sns_topic": _all("sns", "list_topics", "Topics", "TopicArn"),
    "aws_sns_topic_subscription": _all("sns", "list_subscriptions", "Subscriptions", "SubscriptionArn"),
    "aws_ssm_parameter": _own("ssm", "describe_parameters", "Parameters", "Name"),
    "aws_subnet": _all("ec2", "describe_subnets", "Subnets", "SubnetId"),
    "aws_vpc": _all("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    "aws_vpc_endpoint": _all("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
}

CONTAINED: dict[str, str] = {
    "aws_autoscaling_lifecycle_hook": "aws_autoscaling_group",
    "aws_autoscaling_policy": "aws_autoscaling_group",
    "aws_backup_vault_lock_configuration": "aws_backup_vault",
    "aws_backup_vault_policy": "aws_backup_vault",
    "aws_cloudwatch_event_target": "aws_cloudwatch_event_rule",
    "aws_default_network_acl": "aws_vpc",
    "aws_default_route_table": "aws_vpc",
    "aws_default_security_group": "aws_vpc",
    "aws_ecr_lifecycle_policy": "aws_ecr_repository",
    "aws_eip_association": "aws_eip",
    "aws_iam_role_policy": "aws_iam_role",
    "aws_iam_role_policy_attachment": "aws_iam_role",
    "aws_kms_key_policy": "aws_kms_key",
    "aws_network_acl_rule": "aws_network_acl",
    "aws_route": "aws_route_table",
    "aws_route_table_association": "aws_route_table",
    "aws_secretsmanager_secret_policy": "aws_secretsmanager_secret",
    "aws_secretsmanager_secret_version": "aws_secretsmanager_secret",
    "aws_sns_topic_policy": "aws_sns_topic",
    "aws_vpc_endpoint_route_table_association": "aws_vpc_endpoint",
    "aws_vpc_security_group_egress_rule": "aws_security_group",
    "aws_vpc_security_group_ingress_rule": "aws_security_group",
    **{
        f"aws_s3_bucket_{part}": "aws_s3_bucket"
        for part in (
            "accelerate_configuration",
            "acl",
            "intelligent_tiering_configuration",
            "lifecycle_configuration",
            "logging",
            "notification",
            "object_lock_configuration",
            "ownership_controls",
            "policy",
            "public_access_block",
            "replication_configuration",
            "server_side_encryption_configuration",
            "versioning",
        )
    },
}
