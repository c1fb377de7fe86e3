terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# The index: RDS for PostgreSQL in subnets without a way out, encrypted at rest and on the wire, with continuous backup.
# Nothing else in the site waits for it: hosts find it by its identifier as soon as it is there.
locals {
  identifier    = "${var.name}-index"
  major_version = split(".", var.engine_version)[0]

  # Diagnostics must not become a copy of patients' data: PostgreSQL logs who connects and what fails, never a
  # statement, a parameter or the row that an error is about (which the detail of a message would quote).
  parameters = {
    "rds.force_ssl"                     = "1"
    "ssl_min_protocol_version"          = "TLSv1.2"
    "password_encryption"               = "scram-sha-256"
    "log_connections"                   = "1"
    "log_disconnections"                = "1"
    "log_statement"                     = "none"
    "log_min_duration_statement"        = "-1"
    "log_min_duration_sample"           = "-1"
    "log_min_error_statement"           = "panic"
    "log_error_verbosity"               = "terse"
    "log_parameter_max_length"          = "0"
    "log_parameter_max_length_on_error" = "0"
  }
}

# Part of the final snapshot's name, so that a database that is made again does not find the name taken by the snapshot
# that the one before it left. `terraform apply -replace=module.database.terraform_data.made` gives another one.
resource "terraform_data" "made" {
  input            = formatdate("YYYYMMDD-hhmmss", plantimestamp())
  triggers_replace = [var.vpc_id]

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_db_subnet_group" "this" {
  name        = local.identifier
  description = "Isolated subnets of ${var.name}"
  subnet_ids  = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name        = "${local.identifier}-postgres${local.major_version}"
  description = "TLS only, and logs without patients' data"
  family      = "postgres${local.major_version}"

  dynamic "parameter" {
    for_each = local.parameters

    content {
      name  = parameter.key
      value = parameter.value
      # AWS keeps "immediate" only for values that are not its own defaults, and the plan would never be empty.
      apply_method = "pending-reboot"
    }
  }

  lifecycle {
    # A new major version needs a new group before the old one can go.
    create_before_destroy = true
  }
}

# Made here, so that they are encrypted and expire; RDS would make them with neither.
resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${local.identifier}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

data "aws_iam_policy_document" "monitoring" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "monitoring" {
  name               = "${local.identifier}-monitoring"
  description        = "RDS writes the operating system's figures of ${local.identifier} to CloudWatch"
  assume_role_policy = data.aws_iam_policy_document.monitoring.json
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${var.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_161:The archive signs in with a password that the hosts rotate; IAM authentication would be a second way in
  #checkov:skip=CKV_AWS_157:Multi-AZ is what topology ha is for; single is the cheap one and says so
  #checkov:skip=CKV_AWS_293:Deletion protection follows the variable production
  #checkov:skip=CKV2_AWS_30:Statements in logs would be patients' data in logs
  identifier = local.identifier

  engine                      = "postgres"
  engine_version              = var.engine_version
  auto_minor_version_upgrade  = true
  allow_major_version_upgrade = true # only ever by a new value of database_engine_version
  instance_class              = var.instance_class
  parameter_group_name        = aws_db_parameter_group.this.name
  ca_cert_identifier          = "rds-ca-rsa2048-g1"

  db_name = "orthanc"
  # RDS makes the master's password, keeps it in Secrets Manager and rotates it; it is never here. The archive has a
  # user of its own.
  username                      = "orthweb_master"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.data_key_arn

  storage_type          = "gp3"
  allocated_storage     = var.storage
  max_allocated_storage = var.max_storage
  storage_encrypted     = true
  kms_key_id            = var.storage_key_arn

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false
  multi_az               = var.topology == "ha"
  # Each stored image is many round trips to the index: the host's own zone makes them short.
  availability_zone = var.topology == "ha" ? null : var.zone

  backup_retention_period   = var.backup_days
  backup_window             = "02:00-03:00"
  maintenance_window        = "sun:03:30-sun:04:30"
  copy_tags_to_snapshot     = true
  snapshot_identifier       = var.snapshot
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final-${terraform_data.made.output}"
  deletion_protection       = var.production
  # What apply says is done when it ends, not in the next maintenance window.
  apply_immediately = true

  enabled_cloudwatch_logs_exports = [for kind, group in aws_cloudwatch_log_group.this : kind]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  # Performance Insights shows the text of running statements. The archive's are prepared ones: their text holds
  # placeholders, not values. It is encrypted with the site's key and kept for the shortest time there is.
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.data_key_arn
  performance_insights_retention_period = 7

  timeouts {
    create = "60m" # from a large snapshot
  }

  lifecycle {
    # Each of these would replace the database: a snapshot is only for its making, its zone is where it is now, and one
    # that was made from a snapshot keeps the snapshot's key (RDS takes no other one when it restores).
    ignore_changes = [snapshot_identifier, availability_zone, kms_key_id]
  }

  depends_on = [aws_iam_role_policy_attachment.monitoring]
}
