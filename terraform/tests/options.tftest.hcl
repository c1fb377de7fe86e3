# Audit, backup, client VPN and DNS, without an account (a mocked provider).

mock_provider "aws" {
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mock" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  name              = "radiology"
  region            = "eu-central-1"
  account_id        = "123456789012"
  partition         = "aws"
  topology          = "single"
  production        = false
  data_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-1111-1111-111111111111"
  logs_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  images_bucket_arn = "arn:aws:s3:::radiology-images-123456789012-eu-central-1"
  logs_bucket_name  = "radiology-logs-123456789012-eu-central-1"
  database_arn      = "arn:aws:rds:eu-central-1:123456789012:db:radiology-index"

  vpc_id                 = "vpc-0123456789abcdef0"
  vpc_cidr               = "10.83.0.0/16"
  subnet_ids             = ["subnet-0123456789abcdef0"]
  security_group_id      = "sg-0123456789abcdef0"
  client_cidr_block      = "10.84.0.0/22"
  server_certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/33333333-3333-3333-3333-333333333333"
  client_ca_arn          = "arn:aws:acm:eu-central-1:123456789012:certificate/44444444-4444-4444-4444-444444444444"

  zone_id   = "Z0123456789ABCDEFGHIJ"
  hostname  = "images.example.org"
  public_ip = "203.0.113.7"
}

run "the_trail_records_every_object_and_proves_itself" {
  module {
    source = "./modules/audit"
  }

  assert {
    condition = (
      aws_cloudtrail.this.kms_key_id == var.logs_key_arn && aws_cloudtrail.this.enable_log_file_validation &&
      aws_cloudtrail.this.is_multi_region_trail && aws_cloudtrail.this.s3_bucket_name == var.logs_bucket_name
    )
    error_message = "The trail must be encrypted, validated and delivered to the bucket of logs."
  }
  assert {
    condition = (
      aws_cloudtrail.this.event_selector[0].read_write_type == "All" &&
      aws_cloudtrail.this.event_selector[0].data_resource[0].values[0] == "${var.images_bucket_arn}/"
    )
    error_message = "The trail must record reads and writes of each image."
  }
}

run "recovery_points_are_encrypted_and_the_vault_can_go" {
  module {
    source = "./modules/backup"
  }

  assert {
    condition     = aws_backup_vault.this.kms_key_arn == var.data_key_arn && aws_backup_vault.this.force_destroy
    error_message = "Recovery points must have the site's key; outside production they go with the site."
  }
  assert {
    condition     = length(aws_backup_vault_lock_configuration.this) == 0
    error_message = "The vault is locked in production only."
  }
  assert {
    condition     = !anytrue([for rule in aws_backup_plan.index.rule : rule.enable_continuous_backup == true])
    error_message = "AWS Backup must not take over the instance's own point-in-time recovery."
  }
  assert {
    condition     = anytrue([for rule in aws_backup_plan.images.rule : rule.enable_continuous_backup == true && rule.lifecycle[0].delete_after <= 35])
    error_message = "Images must be backed up continuously, for 35 days at most as AWS demands."
  }
  assert {
    condition     = aws_backup_selection.images.resources == toset([var.images_bucket_arn]) && aws_backup_selection.index.resources == toset([var.database_arn])
    error_message = "Bucket and index must be backed up."
  }
}

run "production_locks_the_vault" {
  variables {
    production = true
  }

  module {
    source = "./modules/backup"
  }

  assert {
    condition     = aws_backup_vault_lock_configuration.this[0].min_retention_days == 7 && !aws_backup_vault.this.force_destroy
    error_message = "In production recovery points must not be removed early."
  }
  assert {
    condition     = aws_backup_vault_lock_configuration.this[0].changeable_for_days == null
    error_message = "A lock in compliance mode could never be taken off again."
  }
}

run "continuous_backup_for_longer_than_aws_keeps_it_is_refused" {
  command = plan

  variables {
    daily_days = 90
  }

  module {
    source = "./modules/backup"
  }

  expect_failures = [var.daily_days]
}

run "the_vpn_asks_for_certificates_and_leads_to_the_vpc" {
  module {
    source = "./modules/vpn"
  }

  assert {
    condition = (
      one(aws_ec2_client_vpn_endpoint.this.authentication_options).type == "certificate-authentication" &&
      aws_ec2_client_vpn_endpoint.this.split_tunnel && aws_ec2_client_vpn_authorization_rule.vpc.target_network_cidr == "10.83.0.0/16"
    )
    error_message = "The VPN must ask for a client certificate and carry traffic to the VPC only."
  }
  assert {
    condition     = aws_ec2_client_vpn_endpoint.this.connection_log_options[0].enabled && aws_cloudwatch_log_group.this.kms_key_id == var.logs_key_arn
    error_message = "Connections must be logged, encrypted."
  }
}

run "single_has_the_hosts_address" {
  module {
    source = "./modules/dns"
  }

  assert {
    condition     = aws_route53_record.this.records == toset(["203.0.113.7"]) && length(aws_route53_record.this.alias) == 0
    error_message = "The name must lead to the Elastic IP address."
  }
}

run "ha_has_an_alias_of_the_load_balancer" {
  variables {
    topology      = "ha"
    load_balancer = { dns_name = "radiology-0123456789abcdef.elb.eu-central-1.amazonaws.com", zone_id = "Z3F0SRJ5LGBH90" }
  }

  module {
    source = "./modules/dns"
  }

  assert {
    condition     = aws_route53_record.this.alias[0].name == var.load_balancer.dns_name && aws_route53_record.this.records == null
    error_message = "The name must be an alias of the load balancer."
  }
}

run "a_hostname_that_is_none_is_refused" {
  command = plan

  variables {
    hostname = "images_example"
  }

  module {
    source = "./modules/dns"
  }

  expect_failures = [var.hostname]
}

run "a_vpn_inside_the_vpcs_range_is_refused" {
  command = plan

  variables {
    client_cidr_block = "10.83.128.0/22"
  }

  module {
    source = "./modules/vpn"
  }

  expect_failures = [var.client_cidr_block]
}
