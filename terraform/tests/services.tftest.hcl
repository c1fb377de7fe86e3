# Database, secrets, registry and observability, with a mocked provider.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name               = "radiology"
  region             = "eu-central-1"
  account_id         = "123456789012"
  partition          = "aws"
  topology           = "single"
  production         = false
  data_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/data"
  storage_key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/storage"
  logs_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/logs"
  log_retention_days = 400

  vpc_id            = "vpc-0123456789abcdef0"
  subnet_ids        = ["subnet-1", "subnet-2"]
  security_group_id = "sg-1"
  zone              = "eu-central-1b"
  instance_class    = "db.t4g.medium"
  engine_version    = "17.6"
  storage           = 50
  max_storage       = 500
  backup_days       = 14

  instance_id         = "i-0123456789abcdef0"
  database_identifier = "radiology-index"
  database_storage    = 50
}

run "the_index_is_encrypted_private_and_beside_its_host" {

  module {
    source = "./modules/database"
  }

  assert {
    condition = (
      aws_db_instance.this.storage_encrypted && aws_db_instance.this.kms_key_id == var.storage_key_arn &&
      aws_db_instance.this.master_user_secret_kms_key_id == var.data_key_arn && aws_db_instance.this.performance_insights_kms_key_id == var.data_key_arn
    )
    error_message = "The index must be encrypted with the site's key, and what RDS keeps of it elsewhere too."
  }
  assert {
    condition = (
      !aws_db_instance.this.publicly_accessible && aws_db_instance.this.vpc_security_group_ids == toset(["sg-1"])
    )
    error_message = "The index must be reachable from the hosts alone."
  }
  assert {
    condition     = aws_db_instance.this.availability_zone == "eu-central-1b" && !aws_db_instance.this.multi_az
    error_message = "In topology single the index must be in the host's zone."
  }
  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "Terraform must not know the master's password."
  }
  assert {
    condition = (
      !aws_db_instance.this.skip_final_snapshot &&
      can(regex("^radiology-final-[0-9]{8}-[0-9]{6}$", aws_db_instance.this.final_snapshot_identifier))
    )
    error_message = "The index must leave a snapshot, under a name that no index before it can have left one under."
  }
  assert {
    condition = (
      local.parameters["rds.force_ssl"] == "1" && local.parameters["log_statement"] == "none" &&
      local.parameters["log_min_duration_statement"] == "-1" && local.parameters["log_parameter_max_length"] == "0" &&
      local.parameters["log_parameter_max_length_on_error"] == "0" && local.parameters["log_error_verbosity"] == "terse" &&
      length(aws_db_parameter_group.this.parameter) == length(local.parameters) && aws_db_parameter_group.this.family == "postgres17"
    )
    error_message = "PostgreSQL must speak TLS only and keep patients' data out of its logs."
  }
  assert {
    condition = (
      alltrue([for group in aws_cloudwatch_log_group.this : group.kms_key_id == var.logs_key_arn &&
      group.retention_in_days == 400])
    )
    error_message = "PostgreSQL's logs must be encrypted and expire."
  }
}

run "the_index_of_ha_has_a_standby_and_that_of_production_is_protected" {
  command = plan

  module {
    source = "./modules/database"
  }

  variables {
    topology   = "ha"
    production = true
  }

  assert {
    condition     = aws_db_instance.this.multi_az && aws_db_instance.this.deletion_protection
    error_message = "The index must have a standby in ha and deletion protection in production."
  }
}

run "secrets_are_made_empty" {
  command = plan

  module {
    source = "./modules/secrets"
  }

  assert {
    condition = (
      toset(keys(aws_secretsmanager_secret.this)) == toset(["admin", "certificate", "index", "site", "tls"])
    )
    error_message = "Each of the site's secrets must exist for the hosts to fill."
  }
  assert {
    condition = (
      alltrue([for secret in aws_secretsmanager_secret.this : secret.kms_key_id == var.data_key_arn &&
      secret.recovery_window_in_days == 0])
    )
    error_message = "Secrets must be encrypted with the site's key, and their names free after a destroy outside production."
  }
  assert {
    condition = (
      length(aws_secretsmanager_secret_version.admin) + length(aws_secretsmanager_secret_version.certificate) == 0
    )
    error_message = "Nothing must be written that was not given."
  }
}

run "secrets_of_production_are_recoverable" {
  module {
    source = "./modules/secrets"
  }

  variables {
    production = true
    # An apply under test needs a value for every write-only variable.
    admin_password  = "correct horse battery"
    tls_certificate = "-----BEGIN CERTIFICATE-----\n"
    tls_key         = "-----BEGIN PRIVATE KEY-----\n"
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.recovery_window_in_days == 30])
    error_message = "Secrets of production must be recoverable for a month."
  }
}

run "secrets_stay_recoverable_when_production_is_switched_off_to_destroy" {
  module {
    source = "./modules/secrets"
  }

  variables {
    admin_password  = "correct horse battery"
    tls_certificate = "-----BEGIN CERTIFICATE-----\n"
    tls_key         = "-----BEGIN PRIVATE KEY-----\n"
  }

  assert {
    condition     = alltrue([for secret in aws_secretsmanager_secret.this : secret.recovery_window_in_days == 30])
    error_message = "What has to be done before a destroy must not take away what it protects."
  }
}

run "a_given_secret_is_written_and_not_kept" {
  command = plan

  module {
    source = "./modules/secrets"
  }

  variables {
    given          = ["admin"]
    given_version  = 3
    admin_password = "correct horse battery"
  }

  assert {
    condition = (
      aws_secretsmanager_secret_version.admin[0].secret_string_wo_version == 3 &&
      length(aws_secretsmanager_secret_version.certificate) == 0
    )
    error_message = "A given password must be written, in the version that was asked for."
  }
}

run "a_tag_always_means_the_same_image" {
  command = plan

  module {
    source = "./modules/registry"
  }

  assert {
    condition = alltrue([
      for repository in aws_ecr_repository.this :
      repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push && repository.encryption_configuration[0].kms_key == var.data_key_arn
    ])
    error_message = "Repositories must be immutable, scanned and encrypted."
  }
}

run "the_single_host_is_watched_and_repaired" {
  module {
    source = "./modules/observability"
  }

  assert {
    condition = (
      toset([for alarm in aws_cloudwatch_metric_alarm.repair : alarm.dimensions["InstanceId"]]) == toset([var.instance_id])
    )
    error_message = "EC2 must repair the single host."
  }
  assert {
    condition = (
      alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn])])
    )
    error_message = "Every alarm must be told to somebody."
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.this : contains(keys(local.figures), alarm.metric_name) if alarm.namespace == local.namespace
    ])
    error_message = "An alarm on a figure that nothing takes from the logs could never ring."
  }
  assert {
    condition = (
      aws_sns_topic.alarms.kms_master_key_id == var.logs_key_arn && length(aws_sns_topic_subscription.email) == 0
    )
    error_message = "Notifications must be encrypted, and mailed to nobody who was not named."
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == length(local.graphs) + 1
    error_message = "The dashboard must have every graph."
  }
}

run "the_load_balancer_of_ha_is_watched" {
  module {
    source = "./modules/observability"
  }

  variables {
    topology                  = "ha"
    instance_id               = null
    autoscaling_group         = "radiology"
    load_balancer_arn_suffix  = "net/radiology/0123456789abcdef"
    target_group_arn_suffixes = { https = "targetgroup/https/0", dicom = "targetgroup/dicom/0" }
    alarm_email               = "images@example.org"
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["no-host-dicom"].treat_missing_data == "breaching" &&
      aws_cloudwatch_metric_alarm.this["host-cpu"].dimensions["AutoScalingGroupName"] == "radiology" && length(aws_cloudwatch_metric_alarm.repair) == 0
    )
    error_message = "A load balancer without hosts must be an alarm."
  }
  assert {
    condition     = aws_sns_topic_subscription.email[0].endpoint == "images@example.org"
    error_message = "Alarms must be mailed to who was named."
  }
}
