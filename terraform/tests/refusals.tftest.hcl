# Values that are refused before anything is asked of AWS, each by the variable that is wrong.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  https_cidr_blocks = ["203.0.113.0/24"]
  dicom_cidr_blocks = ["198.51.100.0/24"]
}

# A rule about two variables is not asked while the other one is wrong by itself, so those have runs of their own.
run "values_of_the_wrong_form" {
  command = plan

  variables {
    name                    = "Hospital"
    region                  = "Frankfurt"
    tags                    = { "aws:owner" = "x" }
    topology                = "cluster"
    hostname                = "images"
    https_cidr_blocks       = []
    dicom_cidr_blocks       = ["0.0.0.0"]
    cli_cidr_block          = "0.0.0.0/0"
    pubkey_data             = "~/.ssh/id_ed25519.pub"
    modality_endpoints      = [{ name = "CT1", cidr = "ct1.example.org", port = 104 }]
    vpc_cidr                = "10.83.0.0/28"
    zone_count              = 1
    vpn_client_ca_arn       = "certificate"
    vpn_cidr_block          = "10.99.0.0/24"
    host_count              = 1
    disk_size               = 8
    ami_id                  = "debian-13"
    images                  = { index = "postgres:17" }
    image_tag               = "-"
    site_files              = { "../ca.pem" = "x" }
    object_lock_days        = 0
    replica_bucket_arn      = "images-replica"
    database_instance_class = "t4g.medium"
    database_engine_version = "9.6"
    database_storage        = 5
    database_key_arn        = "alias/hospital"
    database_backup_days    = 0
    given_secrets           = ["index"]
    secrets_version         = 0
    rotation_days           = 0
    alarm_email             = "nobody"
    log_retention_days      = 100
    site_file               = join("", [for i in range(1000) : "123456789"])
  }

  expect_failures = [
    var.name, var.region, var.tags, var.topology, var.hostname, var.https_cidr_blocks, var.dicom_cidr_blocks,
    var.cli_cidr_block, var.pubkey_data, var.modality_endpoints, var.vpc_cidr, var.zone_count, var.vpn_client_ca_arn,
    var.vpn_cidr_block, var.host_count, var.disk_size, var.ami_id, var.images, var.image_tag, var.site_files,
    var.object_lock_days, var.replica_bucket_arn, var.database_instance_class, var.database_engine_version,
    var.database_storage, var.database_key_arn, var.database_backup_days, var.given_secrets, var.secrets_version, var.rotation_days, var.alarm_email,
    var.log_retention_days, var.site_file,
  ]
}

run "more_values_of_the_wrong_form" {
  command = plan

  variables {
    name                       = "aws-images"
    hostname                   = "images.example.org"
    hosted_zone_id             = "images.example.org"
    https_cidr_blocks          = ["203.0.113.7/24"]
    dicom_cidr_blocks          = ["10.0.0.0/8", "10.0.0.0/8"]
    cli_cidr_block             = "203.0.113.7/24"
    nat                        = "yes"
    instance_type              = "large"
    vpn_server_certificate_arn = "certificate"
    vpn_client_ca_arn          = "arn:aws:acm:eu-central-1:123456789012:certificate/0"
    vpn_cidr_block             = "10.99.0.0/20"
    replica_bucket_arn         = "arn:aws:s3:::images-replica"
    replica_key_arn            = "alias/images"
    database_max_storage       = 70000
    given_secrets              = ["admin", "certificate"]
    admin_password             = "short"
    tls_certificate            = "cert.pem"
    site_files                 = { "key.pem" = "-----BEGIN PRIVATE KEY-----\n" }
  }

  expect_failures = [
    var.name, var.hosted_zone_id, var.https_cidr_blocks, var.dicom_cidr_blocks, var.cli_cidr_block, var.nat, var.instance_type,
    var.vpn_server_certificate_arn, var.replica_key_arn, var.database_max_storage, var.admin_password, var.tls_certificate,
    var.site_files,
  ]
}

run "values_that_do_not_go_together" {
  command = plan

  variables {
    topology             = "ha"
    nat                  = "none"
    hosted_zone_id       = "Z0123456789ABCDEFGHIJ"
    vpn_cidr_block       = "10.99.0.0/20"
    instance_type        = "m7g.large"
    replica_bucket_arn   = "arn:aws:s3:::images-replica"
    database_max_storage = 50
    admin_password       = "correct horse battery"
    given_secrets        = ["certificate"]
    tls_key              = "-----BEGIN PRIVATE KEY-----\n"
  }

  expect_failures = [
    var.nat, var.hosted_zone_id, var.vpn_server_certificate_arn, var.instance_type, var.replica_key_arn,
    var.database_max_storage, var.admin_password, var.tls_key,
  ]
}

run "modalities_by_the_address_of_a_host_in_a_range" {
  command = plan

  variables {
    modality_endpoints = [{ name = "CT1", cidr = "192.0.2.10/24", port = 104 }]
  }

  expect_failures = [var.modality_endpoints]
}

run "a_vpn_that_would_lead_to_public_addresses" {
  command = plan

  variables {
    topology                   = "ha"
    vpn_server_certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
    vpn_client_ca_arn          = "arn:aws:acm:eu-central-1:123456789012:certificate/2"
    vpn_cidr_block             = "10.99.0.0/20"
  }

  expect_failures = [var.vpn_server_certificate_arn]
}

run "a_key_with_a_passphrase" {
  command = plan

  variables {
    given_secrets   = ["certificate"]
    tls_certificate = "-----BEGIN CERTIFICATE-----\n"
    tls_key         = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
  }

  expect_failures = [var.tls_key]
}

run "everyone_is_a_warning" {
  command = plan

  variables {
    https_cidr_blocks = ["0.0.0.0/0"]
    dicom_cidr_blocks = ["0.0.0.0/0"]
  }

  expect_failures = [check.https_from_everywhere, check.dicom_from_everywhere]
}

run "a_vpn_to_a_name_of_the_owners_own_is_a_warning" {
  command = plan

  variables {
    hostname                   = "images.example.org"
    vpn_server_certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
    vpn_client_ca_arn          = "arn:aws:acm:eu-central-1:123456789012:certificate/2"
    vpn_cidr_block             = "10.99.0.0/20"
  }

  expect_failures = [check.vpn_by_own_name]
}
