terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# Two keys, and not one for each service: a key costs a dollar a month, and another one after each of its first two
# rotations. The line runs where people differ. Whoever reads images, the index or a secret has patients' data at
# hand, so one key covers them; whoever audits logs must not be able to open any of it, and AWS services have to write
# logs by themselves, which the other key's policy allows them and this one's does not.

locals {
  log_group_prefix = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group"
  trail_arn        = "arn:${var.partition}:cloudtrail:${var.region}:${var.account_id}:trail/${var.name}"

  auto_scaling_role = join("/", [
    "arn:${var.partition}:iam::${var.account_id}:role",
    "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
  ])

  # What AWS documents for services that encrypt with a customer's key, without its wildcards.
  use_key = [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
  ]

  # What a key encrypted is lost with it, the final snapshot of the index above all: keys can be called back as long as AWS
  # allows. Waiting costs nothing, and the names of keys are free at once.
  deletion_window_in_days = 30
}

data "aws_iam_policy_document" "data" {
  #checkov:skip=CKV_AWS_109:A key's policy must let the account administer it, or IAM policies could not and the key would be lost.
  #checkov:skip=CKV_AWS_111:In a key's policy the resource "*" is this key.
  #checkov:skip=CKV_AWS_356:In a key's policy the resource "*" is this key.

  statement {
    sid       = "AccountAdministers"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${var.partition}:iam::${var.account_id}:root"]
    }
  }

  # Auto Scaling starts hosts with its service-linked role, which has no IAM permission for a customer's key and may not
  # exist yet when the key is made: it is therefore named in a condition and not as the principal.
  dynamic "statement" {
    for_each = var.topology == "ha" ? ["encrypted disks of hosts that Auto Scaling starts"] : []

    content {
      sid       = "AutoScalingStartsHosts"
      actions   = local.use_key
      resources = ["*"]

      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
      condition {
        test     = "StringEquals"
        variable = "kms:CallerAccount"
        values   = [var.account_id]
      }
      condition {
        test     = "ArnEquals"
        variable = "aws:PrincipalArn"
        values   = [local.auto_scaling_role]
      }
    }
  }

  dynamic "statement" {
    for_each = var.topology == "ha" ? ["encrypted disks of hosts that Auto Scaling starts"] : []

    content {
      sid       = "AutoScalingGrantsDisks"
      actions   = ["kms:CreateGrant"]
      resources = ["*"]

      principals {
        type        = "AWS"
        identifiers = ["*"]
      }
      condition {
        test     = "StringEquals"
        variable = "kms:CallerAccount"
        values   = [var.account_id]
      }
      condition {
        test     = "ArnEquals"
        variable = "aws:PrincipalArn"
        values   = [local.auto_scaling_role]
      }
      condition {
        test     = "Bool"
        variable = "kms:GrantIsForAWSResource"
        values   = ["true"]
      }
    }
  }
}

resource "aws_kms_key" "data" {
  description             = "${var.name}: images, index, disks, secrets, container images, backups"
  policy                  = data.aws_iam_policy_document.data.json
  enable_key_rotation     = true
  rotation_period_in_days = 365
  deletion_window_in_days = local.deletion_window_in_days
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name}-data"
  target_key_id = aws_kms_key.data.key_id
}

data "aws_iam_policy_document" "logs" {
  #checkov:skip=CKV_AWS_109:A key's policy must let the account administer it, or IAM policies could not and the key would be lost.
  #checkov:skip=CKV_AWS_111:In a key's policy the resource "*" is this key.
  #checkov:skip=CKV_AWS_356:In a key's policy the resource "*" is this key.

  statement {
    sid       = "AccountAdministers"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${var.partition}:iam::${var.account_id}:root"]
    }
  }

  statement {
    sid       = "LogGroupsOfTheSite"
    actions   = local.use_key
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }
    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values = [
        "${local.log_group_prefix}:/orthweb/${var.name}/*",
        "${local.log_group_prefix}:/aws/rds/instance/${var.name}-index/*",
      ]
    }
  }

  statement {
    sid       = "AlarmsToEncryptedTopic"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }

  statement {
    sid       = "TrailOfTheSite"
    actions   = ["kms:DescribeKey", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
  }
}

resource "aws_kms_key" "logs" {
  description             = "${var.name}: logs, trails, notifications"
  policy                  = data.aws_iam_policy_document.logs.json
  enable_key_rotation     = true
  rotation_period_in_days = 365
  deletion_window_in_days = local.deletion_window_in_days
}

resource "aws_kms_alias" "logs" {
  name          = "alias/${var.name}-logs"
  target_key_id = aws_kms_key.logs.key_id
}
