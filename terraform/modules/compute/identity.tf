# What a host may do: its own site's things, one by one. Whoever breaks into a host gets this and nothing else of the
# account.
locals {
  parameter_prefix = "/orthweb/${var.name}"
  arn_prefix = {
    autoscaling    = "arn:${var.partition}:autoscaling:${var.region}:${var.account_id}"
    rds            = "arn:${var.partition}:rds:${var.region}:${var.account_id}"
    secretsmanager = "arn:${var.partition}:secretsmanager:${var.region}:${var.account_id}"
    ssm            = "arn:${var.partition}:ssm:${var.region}:${var.account_id}"
  }
  database_arn = "${local.arn_prefix.rds}:db:${var.database_identifier}"

  # Images given by reference may lie in other repositories of ECR.
  foreign_repositories = compact([
    for reference in values(var.image_references) : try(join("", [
      "arn:${var.partition}:ecr:",
      regex("^[0-9]{12}\\.dkr\\.ecr\\.([a-z0-9-]+)\\.amazonaws\\.", reference)[0], ":",
      regex("^([0-9]{12})\\.dkr\\.ecr\\.", reference)[0], ":repository/",
      regex("^[^/]+/([^:@]+)", reference)[0],
    ]), null)
  ])
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "host" {
  name               = "${var.name}-host"
  description        = "Hosts of the Orthweb site ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_instance_profile" "host" {
  name = aws_iam_role.host.name
  role = aws_iam_role.host.name
}

data "aws_iam_policy_document" "host" {
  #checkov:skip=CKV_AWS_356:Only actions that AWS defines without resources have all of them; each says so
  statement {
    sid       = "ImageBucket"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = [var.images_bucket_arn]
  }

  statement {
    sid       = "Images"
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = ["${var.images_bucket_arn}/*"]
  }

  statement {
    sid       = "KeyThroughServices"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.data_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com", "secretsmanager.${var.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "ReadSecrets"
    actions   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
    resources = values(var.secret_arns)
  }

  # The first host fills the empty ones, each may rotate. The owner's certificate is only ever read.
  statement {
    sid       = "WriteSecrets"
    actions   = ["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
    resources = [for secret, arn in var.secret_arns : arn if secret != "certificate"]
  }

  # RDS names the master's secret at random and tags it with its instance, which is what tells it from other databases'
  # secrets.
  statement {
    sid       = "DatabaseMaster"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["${local.arn_prefix.secretsmanager}:secret:rds!db-*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/aws:rds:primaryDBInstanceArn"
      values   = [local.database_arn]
    }
  }

  statement {
    sid       = "FindDatabase"
    actions   = ["rds:DescribeDBInstances"]
    resources = [local.database_arn]
  }

  statement {
    sid     = "ReadParameters"
    actions = ["ssm:GetParametersByPath"]
    resources = [
      "${local.arn_prefix.ssm}:parameter${local.parameter_prefix}",
      "${local.arn_prefix.ssm}:parameter${local.parameter_prefix}/*",
    ]
  }

  statement {
    sid       = "ReportState"
    actions   = ["ssm:PutParameter"]
    resources = ["${local.arn_prefix.ssm}:parameter${local.parameter_prefix}/hosts/*"]
  }

  statement {
    sid       = "PullImages"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = distinct(concat(values(var.repository_arns), local.foreign_repositories))
  }

  statement {
    sid       = "RegistryToken"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"] # the action knows no resource: a token is for the account's registry
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for arn in values(var.log_group_arns) : "${arn}:*"]
  }

  dynamic "statement" {
    for_each = local.ha ? [1] : []

    content {
      sid       = "ReportReady"
      actions   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
      resources = ["${local.arn_prefix.autoscaling}:autoScalingGroup:*:autoScalingGroupName/${var.name}"] # * is the group's random id
    }
  }

  statement {
    sid       = "SessionManager"
    actions   = ["ssm:UpdateInstanceInformation"]
    resources = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:instance/*"]
  }

  statement {
    sid = "SessionManagerChannels"
    actions = [
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"] # the actions know no resource
  }
}

resource "aws_iam_role_policy" "host" {
  name   = "host"
  role   = aws_iam_role.host.id
  policy = data.aws_iam_policy_document.host.json
}
