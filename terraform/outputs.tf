# --- what users of such templates know ---

output "hostinfo" {
  description = "User and name for SSH (needs pubkey_data and cli_cidr_block). In topology ha hosts are in private subnets: use Session Manager."
  value       = "admin@${module.compute.public_name}"
}

output "dbinfo" {
  description = "Address and port of the index (PostgreSQL), reachable from the hosts alone."
  value       = module.database.endpoint
}

output "s3bucket" {
  description = "URL of the image bucket."
  value       = module.storage.images_bucket_url
}

# --- the site ---

output "site_url" {
  description = "Address of the site: Orthanc Explorer, REST API and DICOMweb."
  value       = "https://${module.compute.public_name}"
}

output "dicom_endpoint" {
  description = "Host and TCP port of DICOM TLS."
  value       = "${module.compute.public_name}:${module.security.dicom_port}"
}

output "public_name" {
  description = "Name under which people and modalities reach the site, and which its certificate is for."
  value       = module.compute.public_name
}

output "dns_target" {
  description = "Where a record for hostname must point to when it is not made here: the Elastic IP address (A) or the load balancer's name (CNAME)."
  value       = coalesce(module.compute.public_ip, try(module.compute.load_balancer.dns_name, null))
}

output "private_address" {
  description = "Address of the host within the VPC, which VPN clients reach; null in topology ha."
  value       = module.compute.private_address
}

# --- for orthweb and for operating ---

output "name" {
  description = "The site's name."
  value       = var.name
}

output "region" {
  description = "AWS region of the site."
  value       = local.region
}

output "account_id" {
  description = "AWS account of the site."
  value       = local.account_id
}

output "vpc_cidr" {
  description = "Address range of the site's network."
  value       = var.vpc_cidr
}

output "storage" {
  description = "Where images are stored: s3 or database."
  value       = var.use_s3_storage ? "s3" : "database"
}

output "production" {
  description = "Whether what holds data is protected against removal."
  value       = var.production
}

output "topology" {
  description = "single or ha."
  value       = var.topology
}

output "instance_id" {
  description = "EC2 instance of the host; null in topology ha."
  value       = module.compute.instance_id
}

output "autoscaling_group" {
  description = "Auto Scaling group of the hosts; null in topology single."
  value       = module.compute.autoscaling_group
}

output "repositories" {
  description = "ECR repository of each container image, without tag."
  value       = module.registry.repository_urls
}

output "images" {
  description = "Container image that the hosts run, by role."
  value       = local.image_references
}

output "parameter_prefix" {
  description = "What the names of the site's parameters in Systems Manager begin with; hosts say how they are in PREFIX/hosts/INSTANCE-ID."
  value       = module.compute.parameter_prefix
}

output "log_groups" {
  description = "CloudWatch log groups by what is in them."
  value = merge(module.observability.log_group_names, {
    database = "/aws/rds/instance/${local.database_identifier}/postgresql"
    vpc-flow = module.network.flow_log_group_name
  })
}

output "secrets" {
  description = "Names of the site's secrets in Secrets Manager."
  value       = module.secrets.names
}

output "bucket" {
  description = "Name of the image bucket."
  value       = module.storage.images_bucket_name
}

output "database_identifier" {
  description = "Identifier of the RDS instance."
  value       = local.database_identifier
}

output "final_snapshot" {
  description = "Snapshot of the database that `terraform destroy` leaves. It is encrypted with the site's key: see README.md for how to keep it for longer than the key."
  value       = module.database.final_snapshot
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = module.observability.dashboard
}

locals {
  push_commands = concat(
    ["     aws ecr get-login-password --region ${local.region} | docker login --username AWS --password-stdin ${split("/", values(module.registry.repository_urls)[0])[0]}"],
    [
      for role, reference in local.image_references :
      "     docker tag orthweb/${role}:${var.image_tag} ${reference} && docker push ${reference}" if !contains(keys(var.images), role)
    ],
  )
}

output "next_steps" {
  description = "Commands for what comes after the first apply."
  value       = <<-EOT
    1. Push the container images; the hosts wait for them (`orthweb up` does this by itself):
    ${join("\n", local.push_commands)}
    2. See how the hosts are; "state" becomes "ready" a few minutes after the database is there:
         aws ssm get-parameters-by-path --region ${local.region} --path ${module.compute.parameter_prefix}/hosts --query 'Parameters[].Value' --output text
    3. Read the password of the first user, admin:
         aws secretsmanager get-secret-value --region ${local.region} --secret-id ${module.secrets.names["admin"]} --query SecretString --output text
    4. Open https://${module.compute.public_name} and send DICOM TLS to ${module.compute.public_name}:${module.security.dicom_port}
  EOT
}
