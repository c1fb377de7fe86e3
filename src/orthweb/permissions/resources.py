"""Which IAM actions each type of resource in ``terraform/`` takes.

The names are those of AWS's Service Authorization Reference; where an API operation asks for an action of another name
(``s3:PutBucketEncryption`` asks for ``s3:PutEncryptionConfiguration``), the action's name stands here. Tests hold the
table against the resource types of real plans, and against every call that Terraform made in whole deployments.
https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orthweb.permissions.needs import Needs, needs

TYPES: Final[Mapping[str, Needs]] = {
    "aws_autoscaling_group": needs(
        create="autoscaling:CreateAutoScalingGroup EnableMetricsCollection PutLifecycleHook UpdateAutoScalingGroup",
        read="autoscaling:DescribeAutoScalingGroups",
        update="autoscaling:AttachLoadBalancerTargetGroups CancelInstanceRefresh DeleteTags "
        "DescribeInstanceRefreshes DetachLoadBalancerTargetGroups DisableMetricsCollection "
        "StartInstanceRefresh",
        delete="autoscaling:DeleteAutoScalingGroup",
        beside="autoscaling:CreateOrUpdateTags ec2:CreateTags RunInstances iam:CreateServiceLinkedRole PassRole",
    ),
    "aws_backup_plan": needs(
        create="backup:CreateBackupPlan",
        read="backup:GetBackupPlan ListTags",
        update="backup:UpdateBackupPlan UntagResource",
        delete="backup:DeleteBackupPlan",
        beside="backup:TagResource",
    ),
    "aws_backup_selection": needs(
        create="backup:CreateBackupSelection",
        read="backup:GetBackupSelection",
        delete="backup:DeleteBackupSelection",
        beside="iam:CreateServiceLinkedRole PassRole",
    ),
    "aws_backup_vault": needs(
        create="backup:CreateBackupVault",
        read="backup:DescribeBackupVault ListTags",
        update="backup:UntagResource",
        delete="backup:DeleteBackupVault ListRecoveryPointsByBackupVault DeleteRecoveryPoint",
        beside="backup-storage:MountCapsule backup:TagResource kms:CreateGrant Decrypt DescribeKey "
        "GenerateDataKey RetireGrant",
    ),
    "aws_backup_vault_lock_configuration": needs(
        create="backup:PutBackupVaultLockConfiguration",
        read="backup:DescribeBackupVault",
        delete="backup:DeleteBackupVaultLockConfiguration",
    ),
    "aws_cloudtrail": needs(
        create="cloudtrail:CreateTrail PutEventSelectors StartLogging",
        read="cloudtrail:DescribeTrails GetEventSelectors GetTrailStatus ListTags",
        update="cloudtrail:RemoveTags StopLogging UpdateTrail",
        delete="cloudtrail:DeleteTrail",
        beside="cloudtrail:AddTags iam:PassRole",
    ),
    "aws_cloudwatch_dashboard": needs(
        create="cloudwatch:PutDashboard", read="cloudwatch:GetDashboard", delete="cloudwatch:DeleteDashboards"
    ),
    "aws_cloudwatch_log_group": needs(
        create="logs:CreateLogGroup PutRetentionPolicy",
        read="logs:DescribeLogGroups ListTagsForResource",
        update="logs:AssociateKmsKey DeleteRetentionPolicy DisassociateKmsKey UntagResource",
        delete="logs:DeleteLogGroup",
        beside="logs:TagResource",
    ),
    "aws_cloudwatch_log_metric_filter": needs(
        create="logs:PutMetricFilter", read="logs:DescribeMetricFilters", delete="logs:DeleteMetricFilter"
    ),
    "aws_cloudwatch_log_stream": needs(
        create="logs:CreateLogStream", read="logs:DescribeLogStreams", delete="logs:DeleteLogStream"
    ),
    "aws_cloudwatch_metric_alarm": needs(
        create="cloudwatch:PutMetricAlarm",
        read="cloudwatch:DescribeAlarms ListTagsForResource",
        update="cloudwatch:UntagResource",
        delete="cloudwatch:DeleteAlarms",
        beside="cloudwatch:TagResource iam:CreateServiceLinkedRole",
    ),
    "aws_db_instance": needs(
        create="rds:CreateDBInstance",
        read="rds:DescribeDBInstances ListTagsForResource",
        update="rds:ModifyDBInstance RebootDBInstance RemoveTagsFromResource RestoreDBInstanceFromDBSnapshot",
        delete="rds:DeleteDBInstance",
        beside="iam:CreateServiceLinkedRole PassRole kms:CreateGrant Decrypt DescribeKey GenerateDataKey "
        "rds:AddTagsToResource CreateDBSnapshot secretsmanager:CreateSecret RotateSecret TagResource",
    ),
    "aws_db_parameter_group": needs(
        create="rds:CreateDBParameterGroup ModifyDBParameterGroup",
        read="rds:DescribeDBParameterGroups DescribeDBParameters ListTagsForResource",
        update="rds:ResetDBParameterGroup RemoveTagsFromResource",
        delete="rds:DeleteDBParameterGroup",
        beside="rds:AddTagsToResource",
    ),
    "aws_db_subnet_group": needs(
        create="rds:CreateDBSubnetGroup",
        read="rds:DescribeDBSubnetGroups ListTagsForResource",
        update="rds:ModifyDBSubnetGroup RemoveTagsFromResource",
        delete="rds:DeleteDBSubnetGroup",
        beside="rds:AddTagsToResource",
    ),
    "aws_default_security_group": needs(
        create="ec2:CreateTags RevokeSecurityGroupEgress RevokeSecurityGroupIngress",
        read="ec2:DescribeSecurityGroups",
        update="ec2:DeleteTags",
    ),
    "aws_ec2_client_vpn_authorization_rule": needs(
        create="ec2:AuthorizeClientVpnIngress",
        read="ec2:DescribeClientVpnAuthorizationRules",
        delete="ec2:RevokeClientVpnIngress",
    ),
    "aws_ec2_client_vpn_endpoint": needs(
        create="ec2:ApplySecurityGroupsToClientVpnTargetNetwork CreateClientVpnEndpoint",
        read="ec2:DescribeClientVpnEndpoints",
        update="ec2:DeleteTags ModifyClientVpnEndpoint",
        delete="ec2:DeleteClientVpnEndpoint",
        beside="acm:DescribeCertificate ListCertificates ec2:CreateTags iam:CreateServiceLinkedRole",
    ),
    "aws_ec2_client_vpn_network_association": needs(
        create="ec2:AssociateClientVpnTargetNetwork",
        read="ec2:DescribeClientVpnTargetNetworks",
        delete="ec2:DisassociateClientVpnTargetNetwork",
    ),
    "aws_ecr_lifecycle_policy": needs(
        create="ecr:PutLifecyclePolicy", read="ecr:GetLifecyclePolicy", delete="ecr:DeleteLifecyclePolicy"
    ),
    "aws_ecr_repository": needs(
        create="ecr:CreateRepository",
        read="ecr:DescribeRepositories ListTagsForResource",
        update="ecr:PutImageScanningConfiguration PutImageTagMutability UntagResource",
        delete="ecr:DeleteRepository",
        beside="ecr:TagResource kms:CreateGrant Decrypt DescribeKey GenerateDataKey RetireGrant",
    ),
    "aws_eip": needs(
        create="ec2:AllocateAddress",
        read="ec2:DescribeAddresses DescribeAddressesAttribute",
        update="ec2:DeleteTags",
        delete="ec2:DisassociateAddress ReleaseAddress",
        beside="ec2:CreateTags",
    ),
    "aws_eip_association": needs(
        create="ec2:AssociateAddress", read="ec2:DescribeAddresses", delete="ec2:DisassociateAddress"
    ),
    "aws_flow_log": needs(
        create="ec2:CreateFlowLogs",
        read="ec2:DescribeFlowLogs",
        update="ec2:DeleteTags",
        delete="ec2:DeleteFlowLogs",
        beside="ec2:CreateTags iam:PassRole logs:CreateLogDelivery DeleteLogDelivery",
    ),
    "aws_iam_instance_profile": needs(
        create="iam:AddRoleToInstanceProfile CreateInstanceProfile",
        read="iam:GetInstanceProfile",
        update="iam:UntagInstanceProfile",
        delete="iam:DeleteInstanceProfile RemoveRoleFromInstanceProfile",
        beside="iam:PassRole TagInstanceProfile",
    ),
    "aws_iam_role": needs(
        create="iam:CreateRole",
        read="iam:GetRole ListAttachedRolePolicies ListRolePolicies",
        update="iam:UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription",
        delete="iam:DeleteRole ListInstanceProfilesForRole",
        beside="iam:TagRole",
    ),
    "aws_iam_role_policy": needs(create="iam:PutRolePolicy", read="iam:GetRolePolicy", delete="iam:DeleteRolePolicy"),
    "aws_iam_role_policy_attachment": needs(
        create="iam:AttachRolePolicy", read="iam:ListAttachedRolePolicies", delete="iam:DetachRolePolicy"
    ),
    "aws_instance": needs(
        create="ec2:RunInstances",
        read="ec2:DescribeInstanceAttribute DescribeInstanceCreditSpecifications DescribeInstanceTypes "
        "DescribeInstances DescribeTags DescribeVolumes DescribeVpcs",
        update="ec2:DeleteTags ModifyInstanceAttribute ModifyInstanceCreditSpecification "
        "ModifyInstanceMetadataOptions ModifyVolume DescribeVolumesModifications StartInstances "
        "StopInstances",
        delete="ec2:TerminateInstances",
        beside="ec2:CreateTags iam:PassRole kms:CreateGrant Decrypt DescribeKey GenerateDataKey "
        "GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo",
    ),
    "aws_internet_gateway": needs(
        create="ec2:AttachInternetGateway CreateInternetGateway",
        read="ec2:DescribeInternetGateways",
        update="ec2:DeleteTags",
        delete="ec2:DeleteInternetGateway DetachInternetGateway",
        beside="ec2:CreateTags",
    ),
    "aws_key_pair": needs(
        create="ec2:ImportKeyPair",
        read="ec2:DescribeKeyPairs",
        update="ec2:DeleteTags",
        delete="ec2:DeleteKeyPair",
        beside="ec2:CreateTags",
    ),
    "aws_kms_alias": needs(
        create="kms:CreateAlias", read="kms:ListAliases", update="kms:UpdateAlias", delete="kms:DeleteAlias"
    ),
    "aws_kms_key": needs(
        create="kms:CreateKey EnableKeyRotation",
        read="kms:DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags",
        update="kms:PutKeyPolicy UntagResource UpdateKeyDescription",
        delete="kms:ScheduleKeyDeletion",
        beside="kms:TagResource",
    ),
    "aws_launch_template": needs(
        create="ec2:CreateLaunchTemplate",
        read="ec2:DescribeLaunchTemplateVersions DescribeLaunchTemplates",
        update="ec2:CreateLaunchTemplateVersion DeleteTags ModifyLaunchTemplate",
        delete="ec2:DeleteLaunchTemplate",
        beside="ec2:CreateTags",
    ),
    "aws_lb": needs(
        create="elasticloadbalancing:CreateLoadBalancer ModifyLoadBalancerAttributes",
        read="elasticloadbalancing:DescribeLoadBalancerAttributes DescribeLoadBalancers DescribeTags "
        "ec2:DescribeNetworkInterfaces elasticloadbalancing:DescribeCapacityReservation",
        update="elasticloadbalancing:RemoveTags SetSecurityGroups SetSubnets",
        delete="elasticloadbalancing:DeleteLoadBalancer",
        beside="elasticloadbalancing:AddTags iam:CreateServiceLinkedRole",
    ),
    "aws_lb_listener": needs(
        create="elasticloadbalancing:CreateListener ModifyListenerAttributes",
        read="elasticloadbalancing:DescribeListenerAttributes DescribeListeners DescribeTags",
        update="elasticloadbalancing:ModifyListener RemoveTags",
        delete="elasticloadbalancing:DeleteListener",
        beside="elasticloadbalancing:AddTags",
    ),
    "aws_lb_target_group": needs(
        create="elasticloadbalancing:CreateTargetGroup ModifyTargetGroupAttributes",
        read="elasticloadbalancing:DescribeTags DescribeTargetGroupAttributes DescribeTargetGroups",
        update="elasticloadbalancing:ModifyTargetGroup RemoveTags",
        delete="elasticloadbalancing:DeleteTargetGroup",
        beside="elasticloadbalancing:AddTags",
    ),
    "aws_nat_gateway": needs(
        create="ec2:CreateNatGateway",
        read="ec2:DescribeNatGateways",
        update="ec2:DeleteTags",
        delete="ec2:DeleteNatGateway",
        beside="ec2:CreateTags",
    ),
    "aws_network_acl": needs(
        create="ec2:CreateNetworkAcl CreateNetworkAclEntry ReplaceNetworkAclAssociation",
        read="ec2:DescribeNetworkAcls",
        update="ec2:DeleteNetworkAclEntry DeleteTags",
        delete="ec2:DeleteNetworkAcl",
        beside="ec2:CreateTags",
    ),
    "aws_network_interface": needs(
        create="ec2:CreateNetworkInterface",
        read="ec2:DescribeNetworkInterfaces",
        update="ec2:AssignPrivateIpAddresses DeleteTags DetachNetworkInterface ModifyNetworkInterfaceAttribute "
        "UnassignPrivateIpAddresses",
        delete="ec2:DeleteNetworkInterface",
        beside="ec2:CreateTags",
    ),
    "aws_route": needs(
        create="ec2:CreateRoute", read="ec2:DescribeRouteTables", update="ec2:ReplaceRoute", delete="ec2:DeleteRoute"
    ),
    "aws_route53_record": needs(
        create="route53:ChangeResourceRecordSets", read="route53:GetChange GetHostedZone ListResourceRecordSets"
    ),
    "aws_route_table": needs(
        create="ec2:CreateRouteTable",
        read="ec2:DescribeRouteTables",
        update="ec2:DeleteTags",
        delete="ec2:DeleteRouteTable",
        beside="ec2:CreateTags",
    ),
    "aws_route_table_association": needs(
        create="ec2:AssociateRouteTable",
        read="ec2:DescribeRouteTables",
        update="ec2:ReplaceRouteTableAssociation",
        delete="ec2:DisassociateRouteTable",
    ),
    "aws_s3_bucket": needs(
        create="s3:CreateBucket PutBucketTagging",
        read="s3:GetAccelerateConfiguration GetBucketAcl GetBucketCORS GetBucketLogging "
        "GetBucketObjectLockConfiguration GetBucketPolicy GetBucketRequestPayment GetBucketTagging "
        "GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration GetLifecycleConfiguration "
        "GetReplicationConfiguration ListBucket",
        update="s3:PutBucketObjectLockConfiguration",
        delete="s3:BypassGovernanceRetention DeleteBucket DeleteObject DeleteObjectVersion ListBucketVersions "
        "PutObjectLegalHold",
    ),
    "aws_s3_bucket_lifecycle_configuration": needs(
        create="s3:PutLifecycleConfiguration",
        read="s3:GetLifecycleConfiguration",
        delete="s3:PutLifecycleConfiguration",
    ),
    "aws_s3_bucket_logging": needs(create="s3:PutBucketLogging", read="s3:GetBucketLogging"),
    "aws_s3_bucket_object_lock_configuration": needs(
        create="s3:PutBucketObjectLockConfiguration", read="s3:GetBucketObjectLockConfiguration"
    ),
    "aws_s3_bucket_ownership_controls": needs(
        create="s3:PutBucketOwnershipControls", read="s3:GetBucketOwnershipControls"
    ),
    "aws_s3_bucket_policy": needs(
        create="s3:PutBucketPolicy", read="s3:GetBucketPolicy", delete="s3:DeleteBucketPolicy"
    ),
    "aws_s3_bucket_public_access_block": needs(
        create="s3:PutBucketPublicAccessBlock", read="s3:GetBucketPublicAccessBlock"
    ),
    "aws_s3_bucket_replication_configuration": needs(
        create="s3:PutReplicationConfiguration", read="s3:GetReplicationConfiguration", beside="iam:PassRole"
    ),
    "aws_s3_bucket_server_side_encryption_configuration": needs(
        create="s3:PutEncryptionConfiguration", read="s3:GetEncryptionConfiguration"
    ),
    "aws_s3_bucket_versioning": needs(create="s3:PutBucketVersioning", read="s3:GetBucketVersioning"),
    "aws_secretsmanager_secret": needs(
        create="secretsmanager:CreateSecret",
        read="secretsmanager:DescribeSecret GetResourcePolicy",
        update="secretsmanager:UntagResource UpdateSecret",
        delete="secretsmanager:DeleteSecret",
        beside="secretsmanager:TagResource",
    ),
    "aws_secretsmanager_secret_version": needs(
        create="secretsmanager:PutSecretValue",
        read="secretsmanager:DescribeSecret GetSecretValue",
        update="secretsmanager:UpdateSecretVersionStage",
        beside="kms:Decrypt GenerateDataKey",
    ),
    "aws_security_group": needs(
        create="ec2:CreateSecurityGroup RevokeSecurityGroupEgress",
        read="ec2:DescribeSecurityGroups",
        update="ec2:DeleteTags",
        delete="ec2:DeleteSecurityGroup DescribeNetworkInterfaces",
        beside="ec2:CreateTags",
    ),
    "aws_sns_topic": needs(
        create="sns:CreateTopic SetTopicAttributes",
        read="sns:GetTopicAttributes ListTagsForResource",
        update="sns:UntagResource",
        delete="sns:DeleteTopic",
        beside="sns:TagResource",
    ),
    "aws_sns_topic_policy": needs(create="sns:SetTopicAttributes", read="sns:GetTopicAttributes"),
    "aws_sns_topic_subscription": needs(
        create="sns:Subscribe",
        read="sns:GetSubscriptionAttributes",
        update="sns:SetSubscriptionAttributes",
        delete="sns:Unsubscribe",
    ),
    "aws_ssm_parameter": needs(
        create="ssm:PutParameter",
        read="ssm:DescribeParameters GetParameter ListTagsForResource",
        update="ssm:RemoveTagsFromResource",
        delete="ssm:DeleteParameter",
        beside="ssm:AddTagsToResource",
    ),
    "aws_subnet": needs(
        create="ec2:CreateSubnet",
        read="ec2:DescribeSubnets",
        update="ec2:DeleteTags ModifySubnetAttribute",
        delete="ec2:DeleteSubnet",
        beside="ec2:CreateTags",
    ),
    "aws_vpc": needs(
        create="ec2:CreateVpc ModifyVpcAttribute",
        read="ec2:DescribeNetworkAcls DescribeRouteTables DescribeSecurityGroups DescribeVpcAttribute DescribeVpcs",
        update="ec2:DeleteTags",
        delete="ec2:DeleteVpc",
        beside="ec2:CreateTags",
    ),
    "aws_vpc_endpoint": needs(
        create="ec2:CreateVpcEndpoint",
        read="ec2:DescribePrefixLists DescribeVpcEndpoints",
        update="ec2:DeleteTags ModifyVpcEndpoint",
        delete="ec2:DeleteVpcEndpoints",
        beside="ec2:CreateTags route53:AssociateVPCWithHostedZone",
    ),
    "aws_vpc_security_group_egress_rule": needs(
        create="ec2:AuthorizeSecurityGroupEgress",
        read="ec2:DescribeSecurityGroupRules",
        update="ec2:DeleteTags ModifySecurityGroupRules",
        delete="ec2:RevokeSecurityGroupEgress",
        beside="ec2:CreateTags",
    ),
    "aws_vpc_security_group_ingress_rule": needs(
        create="ec2:AuthorizeSecurityGroupIngress",
        read="ec2:DescribeSecurityGroupRules",
        update="ec2:DeleteTags ModifySecurityGroupRules",
        delete="ec2:RevokeSecurityGroupIngress",
        beside="ec2:CreateTags",
    ),
}
"""What the resource types of ``terraform/`` take."""
