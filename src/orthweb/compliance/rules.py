"""Prowler's checks for HIPAA on AWS, each with what a site made by Orthweb says to it.

The list is that of Prowler's compliance framework ``hipaa_aws`` (164.308 and 164.312 together).
https://github.com/prowler-cloud/prowler/blob/master/prowler/compliance/aws/hipaa_aws.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Answer = Literal["met", "choice", "deviation", "account", "absent"]

ANSWERS: Final[Mapping[Answer, str]] = {
    "met": "Met",
    "choice": "Met when chosen",
    "deviation": "Not met, on purpose",
    "account": "A matter of the account, not of a site",
    "absent": "Nothing of the kind in a site",
}
"""The kinds of answers, and their headings."""


@dataclass(frozen=True)
class Rule:
    """One check of Prowler's.

    Parameters
    ----------
    reason : by which argument it is met, or why it is not.
    resources : Terraform addresses that meet it.
    """

    check: str
    answer: Answer
    reason: str
    resources: tuple[str, ...] = ()


def _met(check: str, reason: str, *resources: str) -> Rule:
    return Rule(check, "met", reason, resources)


def _choice(check: str, reason: str, *resources: str) -> Rule:
    return Rule(check, "choice", reason, resources)


def _deviation(check: str, reason: str, *resources: str) -> Rule:
    return Rule(check, "deviation", reason, resources)


def _account(reason: str, *checks: str) -> tuple[Rule, ...]:
    return tuple(Rule(check, "account", reason) for check in checks)


def _absent(reason: str, *checks: str) -> tuple[Rule, ...]:
    return tuple(Rule(check, "absent", reason) for check in checks)


_TRAIL = "module.audit.aws_cloudtrail.this"
_DATABASE = "module.database.aws_db_instance.this"
_POLICY = "module.storage.aws_s3_bucket_policy.images"
_CLOSED = "module.storage.aws_s3_bucket_public_access_block.images"
_HOST = "module.compute.aws_iam_role_policy.host"
_INSTANCE = "module.compute.aws_instance.this"
_TEMPLATE = "module.compute.aws_launch_template.this"

RULES: Final = (
    _met(
        "cloudwatch_log_group_kms_encryption_enabled",
        "`kms_key_id` of every log group",
        "module.observability.aws_cloudwatch_log_group.this",
        "module.network.aws_cloudwatch_log_group.flow",
        "module.database.aws_cloudwatch_log_group.this",
    ),
    _met(
        "cloudwatch_log_group_retention_policy_specific_days_enabled",
        "`retention_in_days`, 400 by default",
        "module.observability.aws_cloudwatch_log_group.this",
    ),
    _met(
        "ec2_ebs_volume_encryption",
        "`encrypted` and `kms_key_id` of each disk",
        _INSTANCE,
        _TEMPLATE,
    ),
    _met("ec2_ebs_public_snapshot", "hosts hold nothing that is kept: nothing makes snapshots of their disks"),
    _met(
        "ec2_networkacl_allow_ingress_any_port",
        "the isolated subnets admit PostgreSQL from the VPC alone; the others keep AWS's default list, where security "
        "groups decide",
        "module.network.aws_network_acl.isolated",
    ),
    _met(
        "ec2_securitygroup_allow_ingress_from_internet_to_tcp_port_22",
        "no rule without `cli_cidr_block`, and that one refuses the whole Internet",
        "module.security.aws_vpc_security_group_ingress_rule.ssh",
    ),
    _met(
        "ec2_instance_managed_by_ssm",
        "the host's role lets Session Manager's agent work",
        _HOST,
    ),
    _met(
        "iam_inline_policy_no_administrative_privileges",
        "each statement names actions and resources",
        _HOST,
        "module.network.aws_iam_role_policy.flow",
        "module.audit.aws_iam_role_policy.this",
        "module.storage.aws_iam_role_policy.replication",
    ),
    _met(
        "iam_inline_policy_no_wildcard_marketplace_subscribe",
        "no statement names AWS Marketplace",
        _HOST,
    ),
    _met(
        "iam_aws_attached_policy_no_administrative_privileges",
        "of AWS's policies, roles of services alone have one: monitoring of RDS, and AWS Backup",
        "module.database.aws_iam_role_policy_attachment.monitoring",
        "module.backup.aws_iam_role_policy_attachment.backup",
    ),
    _met(
        "kms_cmk_rotation_enabled",
        "`enable_key_rotation`, every 365 days",
        "module.keys.aws_kms_key.data",
        "module.keys.aws_kms_key.logs",
    ),
    _met("rds_instance_backup_enabled", "`backup_retention_period`, 14 days by default", _DATABASE),
    _met(
        "rds_instance_integration_cloudwatch_logs",
        "`enabled_cloudwatch_logs_exports`: connections and errors, never statements",
        _DATABASE,
    ),
    _met("rds_instance_no_public_access", "`publicly_accessible = false`, in subnets without a way out", _DATABASE),
    _met("rds_instance_storage_encrypted", "`storage_encrypted` and `kms_key_id`", _DATABASE),
    _met(
        "rds_snapshots_public_access",
        "snapshots are encrypted with a customer-managed key, and such ones cannot be public",
        _DATABASE,
    ),
    _met(
        "s3_bucket_default_encryption",
        "SSE-KMS with a bucket key",
        "module.storage.aws_s3_bucket_server_side_encryption_configuration.images",
        "module.storage.aws_s3_bucket_server_side_encryption_configuration.logs",
    ),
    _met(
        "s3_bucket_object_versioning",
        '`status = "Enabled"`',
        "module.storage.aws_s3_bucket_versioning.images",
        "module.storage.aws_s3_bucket_versioning.logs",
    ),
    _met(
        "s3_bucket_secure_transport_policy",
        "statement `DenyWithoutTls`; TLS below 1.2 is denied too",
        _POLICY,
        "module.storage.aws_s3_bucket_policy.logs",
    ),
    _met(
        "s3_bucket_public_access",
        "all four blocks",
        _CLOSED,
        "module.storage.aws_s3_bucket_public_access_block.logs",
    ),
    _met("s3_bucket_policy_public_write_access", "no statement allows the public anything", _POLICY, _CLOSED),
    _met(
        "s3_bucket_server_access_logging_enabled",
        "of the image bucket into the logs bucket (whose own accesses would be logged into itself without end)",
        "module.storage.aws_s3_bucket_logging.images",
    ),
    _met(
        "sns_topics_kms_encryption_at_rest_enabled",
        "`kms_master_key_id`",
        "module.observability.aws_sns_topic.alarms",
    ),
    _met("vpc_flow_logs_enabled", "all traffic, to CloudWatch", "module.network.aws_flow_log.this"),
    _choice(
        "cloudtrail_s3_dataevents_read_enabled", "`aws.audit = true`: off by default, it costs by the event", _TRAIL
    ),
    _choice("cloudtrail_s3_dataevents_write_enabled", "`aws.audit = true`", _TRAIL),
    _choice("cloudtrail_multi_region_enabled", "`aws.audit = true`, unless the account has such a trail", _TRAIL),
    _choice("cloudtrail_cloudwatch_logging_enabled", "`aws.audit = true`", _TRAIL),
    _choice("cloudtrail_kms_encryption_enabled", "`aws.audit = true`", _TRAIL),
    _choice("cloudtrail_log_file_validation_enabled", "`aws.audit = true`", _TRAIL),
    _choice(
        "elbv2_deletion_protection",
        "`aws.production = true`, which is the default of `orthweb`",
        "module.compute.aws_lb.this",
    ),
    _choice("rds_instance_multi_az", "topology `ha`; `single` is the cheap one and has one zone", _DATABASE),
    _choice(
        "ec2_instance_public_ip",
        "topology `ha`: hosts are in private subnets. In `single` the host has the site's address itself, with two "
        "ports open to the ranges named",
        "module.compute.aws_autoscaling_group.this",
        "module.compute.aws_eip.this",
    ),
    _deviation(
        "elbv2_logging_enabled",
        "a Network Load Balancer logs the connections of TLS listeners alone, and these pass TCP through so that "
        "nobody but the hosts can decrypt: the edge's log and the flow logs have them",
        "module.compute.aws_lb.this",
        "module.network.aws_flow_log.this",
    ),
    _deviation(
        "secretsmanager_automatic_rotation_enabled",
        "the archive's database password is changed every `aws.rotation_days` by the hosts, not by a Lambda function "
        "that would have to reach the database; RDS changes the master's itself. The check sees neither",
        "module.secrets.aws_secretsmanager_secret.this",
    ),
    _deviation(
        "ssm_managed_compliant_patching",
        "Debian's unattended-upgrades installs security updates every day; Patch Manager is not set up beside it",
    ),
    _deviation(
        "ec2_instance_older_than_specific_days",
        "a host updates itself and is replaced when its owner changes it; `ha` replaces all, one after the other, with "
        "an instance refresh",
        "module.compute.aws_autoscaling_group.this",
    ),
    _deviation(
        "acm_certificates_expiration_check",
        "certificates lie on the hosts, not in ACM: the site's own CA renews them, and `tls.https_validity` proves it. "
        "An imported certificate is its owner's to renew",
    ),
    *_account(
        "set it once for the account (AWS Config, GuardDuty, Security Hub), not for each site",
        "config_recorder_all_regions_enabled",
        "guardduty_is_enabled",
        "guardduty_no_high_severity_findings",
        "securityhub_enabled",
    ),
    *_account(
        "alarms on changes of the account, fed by its own trail of management events",
        "cloudwatch_changes_to_network_acls_alarm_configured",
        "cloudwatch_changes_to_network_gateways_alarm_configured",
        "cloudwatch_changes_to_network_route_tables_alarm_configured",
        "cloudwatch_changes_to_vpcs_alarm_configured",
        "cloudwatch_log_metric_filter_authentication_failures",
        "cloudwatch_log_metric_filter_root_usage",
    ),
    *_account(
        "the account's root user, its people, their keys and passwords; Orthweb makes no IAM users",
        "iam_no_root_access_key",
        "iam_password_policy_lowercase",
        "iam_password_policy_minimum_length_14",
        "iam_password_policy_number",
        "iam_password_policy_reuse_24",
        "iam_password_policy_symbol",
        "iam_password_policy_uppercase",
        "iam_root_hardware_mfa_enabled",
        "iam_root_mfa_enabled",
        "iam_rotate_access_key_90_days",
        "iam_user_accesskey_unused",
        "iam_user_console_access_unused",
        "iam_user_mfa_enabled_console_access",
    ),
    *_account(
        "a default of the account and region; each disk and bucket of a site says it for itself",
        "ec2_ebs_default_encryption",
        "s3_account_level_public_access_blocks",
    ),
    *_account(
        "policies that the account's people made; the one for the person who deploys is in "
        "[aws-permissions.md](aws-permissions.md)",
        "iam_customer_attached_policy_no_administrative_privileges",
        "iam_policy_no_wildcard_marketplace_subscribe",
    ),
    *_absent(
        "no API Gateway, Lambda, CloudFront",
        "apigateway_restapi_logging_enabled",
        "awslambda_function_not_publicly_accessible",
        "awslambda_function_url_public",
        "cloudfront_distributions_https_enabled",
    ),
    *_absent("no Bedrock", "cloudtrail_bedrock_logging_enabled"),
    *_absent(
        "no DynamoDB, EFS, OpenSearch or Redshift: the index is RDS, the store S3",
        "dynamodb_accelerator_cluster_encryption_enabled",
        "dynamodb_tables_kms_cmk_encryption_enabled",
        "dynamodb_tables_pitr_enabled",
        "efs_encryption_at_rest_enabled",
        "efs_have_backup_enabled",
        "opensearch_service_domains_encryption_at_rest_enabled",
        "opensearch_service_domains_node_to_node_encryption_enabled",
        "redshift_cluster_audit_logging",
        "redshift_cluster_automated_snapshot",
        "redshift_cluster_public_access",
    ),
    *_absent(
        "no EKS, EMR or SageMaker",
        "eks_cluster_kms_cmk_encryption_in_secrets_enabled",
        "emr_cluster_master_nodes_no_public_ip",
        "sagemaker_notebook_instance_encryption_enabled",
        "sagemaker_notebook_instance_without_direct_internet_access_configured",
    ),
    *_absent(
        "no Classic Load Balancer",
        "elb_logging_enabled",
        "elb_ssl_listeners",
    ),
    *_absent(
        "no Nitro Enclaves",
        "ec2_confidential_workload_host_imdsv2_not_enforced",
        "ec2_confidential_workload_host_public_ip",
        "ec2_confidential_workload_host_unrestricted_ingress",
        "ec2_confidential_workload_host_vsock_proxy_exposed",
        "kms_key_enclave_attestation_bypassable_path",
        "kms_key_enclave_attestation_not_enforced",
        "kms_key_enclave_attestation_pcr_mismatch",
        "kms_key_enclave_attestation_unknown_image",
        "kms_key_enclave_debug_attestation_detected",
    ),
)
"""All checks of the framework, each once."""
