terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

locals {
  # The provider's default tags do not reach what AWS Backup makes; by this one whoever destroys the site may remove it.
  tags = { "orthweb:site" = var.name }
}

resource "aws_backup_vault" "this" {
  name          = var.name
  kms_key_arn   = var.data_key_arn
  force_destroy = !var.production
}

# Governance mode: recovery points cannot be removed early but by somebody who may remove the lock. Compliance mode
# would forbid it to everybody, AWS included, and with it to end a site.
resource "aws_backup_vault_lock_configuration" "this" {
  count = var.production ? 1 : 0

  backup_vault_name  = aws_backup_vault.this.name
  min_retention_days = 7
}

# Images: any second of the last weeks, and one point a month for longer.
resource "aws_backup_plan" "images" {
  name = "${var.name}-images"

  rule {
    rule_name                = "continuous"
    target_vault_name        = aws_backup_vault.this.name
    schedule                 = "cron(0 5 * * ? *)"
    recovery_point_tags      = local.tags
    enable_continuous_backup = true

    lifecycle {
      delete_after = var.daily_days
    }
  }

  rule {
    rule_name           = "monthly"
    target_vault_name   = aws_backup_vault.this.name
    schedule            = "cron(0 6 1 * ? *)"
    recovery_point_tags = local.tags

    lifecycle {
      delete_after = var.monthly_days
    }
  }
}

# Index: snapshots. Continuous backup would take over the instance's own point-in-time recovery and change its
# backup_retention_period behind Terraform's back.
resource "aws_backup_plan" "index" {
  name = "${var.name}-index"

  rule {
    rule_name           = "daily"
    target_vault_name   = aws_backup_vault.this.name
    schedule            = "cron(0 5 * * ? *)"
    recovery_point_tags = local.tags

    lifecycle {
      delete_after = var.daily_days
    }
  }

  rule {
    rule_name           = "monthly"
    target_vault_name   = aws_backup_vault.this.name
    schedule            = "cron(0 6 1 * ? *)"
    recovery_point_tags = local.tags

    lifecycle {
      delete_after = var.monthly_days
    }
  }
}

resource "aws_backup_selection" "images" {
  name         = "${var.name}-images"
  plan_id      = aws_backup_plan.images.id
  iam_role_arn = aws_iam_role.backup.arn
  resources    = [var.images_bucket_arn]

  depends_on = [aws_iam_role_policy_attachment.backup]
}

resource "aws_backup_selection" "index" {
  name         = "${var.name}-index"
  plan_id      = aws_backup_plan.index.id
  iam_role_arn = aws_iam_role.backup.arn
  resources    = [var.database_arn]

  depends_on = [aws_iam_role_policy_attachment.backup]
}

# --- Roles: one makes recovery points every day; the other waits for the day of a restore, and only then does anybody
# hand it to AWS Backup. AWS keeps the policies, which list what the service calls.

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["backup.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "backup" {
  name               = "${var.name}-backup"
  description        = "AWS Backup of ${var.name}: recovery points"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "backup" {
  for_each = toset(["service-role/AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForS3Backup"])

  role       = aws_iam_role.backup.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/${each.key}"
}

resource "aws_iam_role" "restore" {
  name               = "${var.name}-restore"
  description        = "AWS Backup of ${var.name}: restores"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "restore" {
  for_each = toset(["service-role/AWSBackupServiceRolePolicyForRestores", "AWSBackupServiceRolePolicyForS3Restore"])

  role       = aws_iam_role.restore.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/${each.key}"
}
