# A site on AWS: Orthanc in containers on EC2, its index in RDS for PostgreSQL, its images in S3. Each module is one
# subject.
#
# What costs time is the database (some ten minutes). Nothing waits for it that need not: hosts boot, install themselves
# and pull their images meanwhile, and find it when it is there.
data "aws_region" "this" {}
data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  region     = data.aws_region.this.name
  account_id = data.aws_caller_identity.this.account_id
  partition  = data.aws_partition.this.partition

  tags = merge({ "orthweb:site" = var.name }, var.tags)
  nat  = coalesce(var.nat, var.topology == "ha" ? "single" : "none")
  vpn  = length(compact([var.vpn_server_certificate_arn, var.vpn_client_ca_arn, var.vpn_cidr_block])) == 3

  # The site's own repositories, but for the images that are given by reference.
  image_references = merge({ for role, url in module.registry.repository_urls : role => "${url}:${var.image_tag}" }, var.images)
}

# Warnings, not errors: there are reasons to serve everyone. Nobody should do so unaware.
check "https_from_everywhere" {
  assert {
    condition     = !contains(var.https_cidr_blocks, "0.0.0.0/0")
    error_message = "https_cidr_blocks: the whole internet may reach HTTPS. Name the networks of your users if you can."
  }
}

check "dicom_from_everywhere" {
  assert {
    condition     = !contains(var.dicom_cidr_blocks, "0.0.0.0/0")
    error_message = "dicom_cidr_blocks: the whole internet may reach DICOM TLS. Name the networks of your modalities, or require client certificates in the site file."
  }
}

# Public DNS has the public address, which the tunnel does not lead to.
check "vpn_by_own_name" {
  assert {
    condition     = !local.vpn || var.hostname == null
    error_message = "hostname: let it lead to the output private_address where VPN clients resolve it (their own DNS, /etc/hosts): through the tunnel they reach that address alone."
  }
}

module "keys" {
  source = "./modules/keys"

  name       = var.name
  region     = local.region
  account_id = local.account_id
  partition  = local.partition
  production = var.production
  topology   = var.topology
}

module "network" {
  source = "./modules/network"

  name                        = var.name
  region                      = local.region
  account_id                  = local.account_id
  partition                   = local.partition
  topology                    = var.topology
  vpc_cidr                    = var.vpc_cidr
  zone_count                  = var.zone_count
  instance_type               = var.instance_type
  nat                         = local.nat
  interface_endpoints         = var.interface_endpoints
  endpoints_security_group_id = module.security.endpoints_security_group_id
  images_bucket_arn           = module.storage.images_bucket_arn
  logs_key_arn                = module.keys.logs_key_arn
  log_retention_days          = var.log_retention_days
}

module "security" {
  source = "./modules/security"

  name                = var.name
  vpc_id              = module.network.vpc_id
  topology            = var.topology
  https_cidr_blocks   = var.https_cidr_blocks
  dicom_cidr_blocks   = var.dicom_cidr_blocks
  cli_cidr_block      = var.cli_cidr_block
  modality_endpoints  = var.modality_endpoints
  interface_endpoints = var.interface_endpoints
  vpn                 = local.vpn
}

module "storage" {
  source = "./modules/storage"

  name             = var.name
  region           = local.region
  account_id       = local.account_id
  partition        = local.partition
  production       = var.production
  data_key_arn     = module.keys.data_key_arn
  archive_role_arn = module.compute.role_arn
  # Not [*], which would wait for all of that module, and so for the database.
  other_role_arns    = var.backup ? module.backup[0].role_arns : []
  object_lock_days   = var.object_lock_days
  replica_bucket_arn = var.replica_bucket_arn
  replica_key_arn    = var.replica_key_arn
  log_retention_days = var.log_retention_days
}

module "database" {
  source = "./modules/database"

  name               = var.name
  partition          = local.partition
  production         = var.production
  topology           = var.topology
  vpc_id             = module.network.vpc_id
  subnet_ids         = module.network.isolated_subnet_ids
  zone               = module.network.zones[0] # the single host's, see compute
  security_group_id  = module.security.database_security_group_id
  data_key_arn       = module.keys.data_key_arn
  storage_key_arn    = coalesce(var.database_key_arn, module.keys.data_key_arn)
  logs_key_arn       = module.keys.logs_key_arn
  log_retention_days = var.log_retention_days
  instance_class     = var.database_instance_class
  engine_version     = var.database_engine_version
  storage            = var.database_storage
  max_storage        = var.database_max_storage
  backup_days        = var.database_backup_days
  snapshot           = var.database_snapshot
}

module "secrets" {
  source = "./modules/secrets"

  name            = var.name
  production      = var.production
  data_key_arn    = module.keys.data_key_arn
  given           = var.given_secrets
  given_version   = var.secrets_version
  admin_password  = var.admin_password
  tls_certificate = var.tls_certificate
  tls_key         = var.tls_key
}

module "registry" {
  source = "./modules/registry"

  name         = var.name
  production   = var.production
  data_key_arn = module.keys.data_key_arn
}

module "compute" {
  source = "./modules/compute"

  name                            = var.name
  region                          = local.region
  account_id                      = local.account_id
  partition                       = local.partition
  production                      = var.production
  topology                        = var.topology
  tags                            = local.tags
  vpc_id                          = module.network.vpc_id
  public_subnet_ids               = module.network.public_subnet_ids
  private_subnet_ids              = module.network.private_subnet_ids
  internet_gateway_id             = module.network.internet_gateway_id
  internet_ready                  = module.network.internet_ready
  host_security_group_id          = module.security.host_security_group_id
  load_balancer_security_group_id = module.security.load_balancer_security_group_id
  ports = {
    https  = module.security.https_port
    dicom  = module.security.dicom_port
    health = module.security.health_port
  }
  instance_type       = var.instance_type
  host_count          = var.host_count
  disk_size           = var.disk_size
  ami_id              = var.ami_id
  ssh_public_key      = var.pubkey_data
  hostname            = var.hostname
  data_key_arn        = module.keys.data_key_arn
  images_bucket_arn   = module.storage.images_bucket_arn
  images_bucket_name  = module.storage.images_bucket_name
  use_s3_storage      = var.use_s3_storage
  database_identifier = local.database_identifier
  secret_arns         = module.secrets.arns
  secret_names        = module.secrets.names
  log_group_arns      = module.observability.log_group_arns
  log_group_names     = module.observability.log_group_names
  image_references    = local.image_references
  repository_arns     = module.registry.repository_arns
  site_file           = var.site_file
  site_files          = var.site_files
  rotation_days       = var.rotation_days
}

locals {
  # By name: hosts and alarms must not wait for the database to be made.
  database_identifier = "${var.name}-index"
}

module "observability" {
  source = "./modules/observability"

  name                      = var.name
  region                    = local.region
  account_id                = local.account_id
  partition                 = local.partition
  topology                  = var.topology
  logs_key_arn              = module.keys.logs_key_arn
  log_retention_days        = var.log_retention_days
  alarm_email               = var.alarm_email
  instance_id               = module.compute.instance_id
  autoscaling_group         = module.compute.autoscaling_group
  load_balancer_arn_suffix  = try(module.compute.load_balancer.arn_suffix, null)
  target_group_arn_suffixes = module.compute.target_group_arn_suffixes
  database_identifier       = local.database_identifier
  database_storage          = var.database_storage
}

module "dns" {
  source = "./modules/dns"
  count  = var.hosted_zone_id == null ? 0 : 1

  topology  = var.topology
  zone_id   = var.hosted_zone_id
  hostname  = var.hostname
  public_ip = module.compute.public_ip
  load_balancer = var.topology == "ha" ? {
    dns_name = module.compute.load_balancer.dns_name
    zone_id  = module.compute.load_balancer.zone_id
  } : null
}

module "vpn" {
  source = "./modules/vpn"
  count  = local.vpn ? 1 : 0

  name                   = var.name
  vpc_id                 = module.network.vpc_id
  vpc_cidr               = var.vpc_cidr
  subnet_ids             = [module.network.private_subnet_ids[0]]
  security_group_id      = module.security.vpn_security_group_id
  client_cidr_block      = var.vpn_cidr_block
  server_certificate_arn = var.vpn_server_certificate_arn
  client_ca_arn          = var.vpn_client_ca_arn
  logs_key_arn           = module.keys.logs_key_arn
  log_retention_days     = var.log_retention_days
}

module "backup" {
  source = "./modules/backup"
  count  = var.backup ? 1 : 0

  name              = var.name
  partition         = local.partition
  production        = var.production
  data_key_arn      = module.keys.data_key_arn
  images_bucket_arn = module.storage.images_bucket_arn
  database_arn      = module.database.arn
}

module "audit" {
  source = "./modules/audit"
  count  = var.audit ? 1 : 0

  name               = var.name
  region             = local.region
  account_id         = local.account_id
  partition          = local.partition
  images_bucket_arn  = module.storage.images_bucket_arn
  logs_bucket_name   = module.storage.logs_bucket_name
  logs_key_arn       = module.keys.logs_key_arn
  log_retention_days = var.log_retention_days
}

# A site in production is not removed by one command. What protects each thing by itself (database, load balancer, bucket)
# would stop `terraform destroy` half-way, with the hosts gone and the bucket stripped. This depends on everything, so that
# it is the first to be destroyed: when it refuses, nothing has been touched.
resource "terraform_data" "guard" {
  input = var.production

  provisioner "local-exec" {
    when    = destroy
    command = self.output ? "echo This site is in production. Apply production = false first, then destroy. && exit 1" : "echo Not in production"
  }

  depends_on = [
    module.audit,
    module.backup,
    module.compute,
    module.database,
    module.dns,
    module.keys,
    module.network,
    module.observability,
    module.registry,
    module.secrets,
    module.security,
    module.storage,
    module.vpn,
  ]
}
