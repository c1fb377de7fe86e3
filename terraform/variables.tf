# Everything that a person decides about a site on AWS. Only the two lists of who may reach it have no default.

# --- the site --------------------------------------------------------------------------------------------------------

variable "name" {
  description = "The site's name: everything in the account is called after it, so that several sites can share an account."
  type        = string
  default     = "orthweb"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name must have 3 to 20 lower-case letters, digits and single hyphens, and start with a letter."
  }
  validation {
    condition = (
      !startswith(var.name, "aws") && !startswith(var.name, "amazon") && !startswith(var.name, "internal-")
    )
    error_message = "name must not start with aws, amazon or internal-, which AWS keeps for itself."
  }
}

variable "region" {
  description = "AWS region; null is the one that the AWS provider finds by itself (AWS_REGION, shared configuration)."
  type        = string
  default     = null

  validation {
    condition     = var.region == null ? true : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region's code, such as eu-central-1."
  }
}

variable "account_id" {
  description = "AWS account that the site is in: with credentials for another one nothing is done. null allows any."
  type        = string
  default     = null

  validation {
    condition     = var.account_id == null ? true : can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the 12 digits of an AWS account."
  }
}

variable "tags" {
  description = "Tags of everything, besides orthweb:site."
  type        = map(string)
  default     = {}

  validation {
    condition = (
      alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:") && !startswith(key, "orthweb:") &&
      key != "Name"])
    )
    error_message = "tags must not use keys that start with aws: or orthweb:, nor Name."
  }
}

variable "production" {
  description = "true protects what holds data: `terraform destroy` refuses before anything is touched, AWS refuses to delete database, load balancer and instance, secrets that are made are recoverable for 30 days, buckets are only removed when empty. To destroy: apply false first."
  type        = bool
  default     = false
}

variable "topology" {
  description = "single: one host with an Elastic IP address, a database in one zone. ha: hosts in every zone behind a Network Load Balancer, a database with a standby."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "hostname" {
  description = "Name of the site, such as images.example.org, which its certificate is for; null is the public DNS name that AWS gives."
  type        = string
  default     = null

  validation {
    condition = (
      var.hostname == null ? true :
      can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z][a-z0-9-]*[a-z0-9]$", var.hostname))
    )
    error_message = "hostname must be a fully qualified name in lower case, such as images.example.org."
  }
}

variable "hosted_zone_id" {
  description = "Route 53 hosted zone in which a record for hostname is made; null is none."
  type        = string
  default     = null

  validation {
    condition     = var.hosted_zone_id == null ? true : can(regex("^Z[A-Z0-9]{5,31}$", var.hosted_zone_id))
    error_message = "hosted_zone_id must be the id of a hosted zone, such as Z0123456789ABCDEFGHIJ."
  }
  validation {
    condition     = var.hosted_zone_id == null || var.hostname != null
    error_message = "hosted_zone_id needs hostname: the name that the record is made for."
  }
}

# --- who may reach it ------------------------------------------------------------------------------------------------

variable "https_cidr_blocks" {
  description = "IPv4 ranges that may reach HTTPS (TCP 443): people, viewers, DICOMweb. [\"0.0.0.0/0\"] is everyone."
  type        = list(string)

  validation {
    condition = (
      length(var.https_cidr_blocks) > 0 &&
      alltrue([for block in var.https_cidr_blocks : try(cidrsubnet(block, 0, 0) == block &&
      can(cidrnetmask(block)), false)])
    )
    error_message = "https_cidr_blocks must name at least one IPv4 range by its first address, such as 203.0.113.0/24, or 203.0.113.7/32 for one address."
  }
  validation {
    condition     = length(distinct(var.https_cidr_blocks)) == length(var.https_cidr_blocks)
    error_message = "https_cidr_blocks must name each range once."
  }
}

variable "dicom_cidr_blocks" {
  description = "IPv4 ranges that may reach DICOM TLS (TCP 11112): modalities, workstations, gateways. [\"0.0.0.0/0\"] is everyone."
  type        = list(string)

  validation {
    condition = (
      length(var.dicom_cidr_blocks) > 0 &&
      alltrue([for block in var.dicom_cidr_blocks : try(cidrsubnet(block, 0, 0) == block &&
      can(cidrnetmask(block)), false)])
    )
    error_message = "dicom_cidr_blocks must name at least one IPv4 range by its first address, such as 203.0.113.0/24, or 203.0.113.7/32 for one address."
  }
  validation {
    condition     = length(distinct(var.dicom_cidr_blocks)) == length(var.dicom_cidr_blocks)
    error_message = "dicom_cidr_blocks must name each range once."
  }
}

variable "cli_cidr_block" {
  description = "IPv4 range that may reach SSH on the hosts; null is nobody: Session Manager needs no open port."
  type        = string
  default     = null

  validation {
    condition = (
      var.cli_cidr_block == null ? true : try(cidrsubnet(var.cli_cidr_block, 0, 0) == var.cli_cidr_block &&
      can(cidrnetmask(var.cli_cidr_block)), false)
    )
    error_message = "cli_cidr_block must be an IPv4 range by its first address, such as 203.0.113.7/32."
  }
  validation {
    condition     = try(tonumber(split("/", var.cli_cidr_block)[1]) >= 8, var.cli_cidr_block == null)
    error_message = "cli_cidr_block must not be wider than /8: SSH is never open to the world."
  }
}

variable "pubkey_data" {
  description = "Public key (OpenSSH) for SSH to the hosts as user admin; null is none."
  type        = string
  default     = null

  validation {
    condition = (
      var.pubkey_data == null ? true :
      can(regex("^(ssh-ed25519|ssh-rsa) [A-Za-z0-9+/=]+( .*)?\\s*$", var.pubkey_data))
    )
    error_message = "pubkey_data must be the content of a public key's file: ssh-ed25519 or ssh-rsa (EC2 takes no other)."
  }
}

variable "modality_endpoints" {
  description = "Modalities that the archive sends to (C-MOVE, C-STORE): name, IPv4 range and TCP port of each."
  type        = list(object({ name = string, cidr = string, port = number }))
  default     = []

  validation {
    condition = alltrue([
      for modality in var.modality_endpoints :
      can(cidrnetmask(modality.cidr)) && try(cidrsubnet(modality.cidr, 0, 0) == modality.cidr, false) &&
      modality.port >= 1 && modality.port <= 65535 && modality.port == floor(modality.port)
    ])
    error_message = "modality_endpoints must each have an IPv4 range by its first address, such as 192.0.2.0/24 or 192.0.2.10/32, and a TCP port."
  }
  validation {
    condition     = length(distinct(var.modality_endpoints[*].name)) == length(var.modality_endpoints)
    error_message = "modality_endpoints must each have a name of their own."
  }
}

# --- network ---------------------------------------------------------------------------------------------------------

variable "vpc_cidr" {
  description = "IPv4 range of the VPC, /16 to /22; it must not overlap networks that the site is to reach by VPN or peering."
  type        = string
  default     = "10.83.0.0/16"

  validation {
    condition     = try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr && can(cidrnetmask(var.vpc_cidr)), false)
    error_message = "vpc_cidr must be an IPv4 range by its first address, such as 10.83.0.0/16."
  }
  validation {
    condition = (
      try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 22, false)
    )
    error_message = "vpc_cidr must have a prefix length from /16 to /22."
  }
}

variable "zone_count" {
  description = "Availability zones in use: 2 or 3. RDS needs two, even for a database in one zone."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zone_count)
    error_message = "zone_count must be 2 or 3."
  }
}

variable "nat" {
  description = "NAT gateways for hosts in private subnets: none, single (one for all zones) or per_zone. null is none in topology single, whose host has an address of its own, and single in ha."
  type        = string
  default     = null

  validation {
    condition     = var.nat == null ? true : contains(["none", "single", "per_zone"], var.nat)
    error_message = "nat must be none, single or per_zone."
  }
  validation {
    condition     = var.nat != "none" || var.topology != "ha" || (var.interface_endpoints && var.ami_id != null)
    error_message = "nat must be single or per_zone in topology ha: its hosts have no other way to Debian's packages. (none needs interface_endpoints and an own ami_id with Docker in it.)"
  }
}

variable "interface_endpoints" {
  description = "true reaches the AWS services that a host calls through interface endpoints in the VPC, not over the internet. Each costs by the hour."
  type        = bool
  default     = false
}

variable "vpn_server_certificate_arn" {
  description = "Certificate in ACM of a client VPN endpoint, for modalities without TLS of their own; null is no VPN."
  type        = string
  default     = null

  validation {
    condition = (
      length(compact([var.vpn_server_certificate_arn, var.vpn_client_ca_arn, var.vpn_cidr_block])) != 1 &&
      length(compact([var.vpn_server_certificate_arn, var.vpn_client_ca_arn, var.vpn_cidr_block])) != 2
    )
    error_message = "vpn_server_certificate_arn, vpn_client_ca_arn and vpn_cidr_block must be given together."
  }
  validation {
    condition     = var.vpn_server_certificate_arn == null || var.topology == "single"
    error_message = "vpn_server_certificate_arn needs topology single: the load balancer of ha has public addresses alone, which the tunnel does not lead to."
  }
  validation {
    condition = (
      var.vpn_server_certificate_arn == null ? true :
      can(regex("^arn:[a-z-]+:acm:", var.vpn_server_certificate_arn))
    )
    error_message = "vpn_server_certificate_arn must be the ARN of a certificate in ACM."
  }
}

variable "vpn_client_ca_arn" {
  description = "Certificate in ACM whose authority signs the certificates of VPN clients."
  type        = string
  default     = null

  validation {
    condition     = var.vpn_client_ca_arn == null ? true : can(regex("^arn:[a-z-]+:acm:", var.vpn_client_ca_arn))
    error_message = "vpn_client_ca_arn must be the ARN of a certificate in ACM."
  }
}

variable "vpn_cidr_block" {
  description = "IPv4 range that VPN clients get their addresses from, /12 to /22, outside vpc_cidr."
  type        = string
  default     = null

  validation {
    condition = (
      var.vpn_cidr_block == null ? true : try(can(cidrnetmask(var.vpn_cidr_block)) &&
      tonumber(split("/", var.vpn_cidr_block)[1]) >= 12 && tonumber(split("/", var.vpn_cidr_block)[1]) <= 22, false)
    )
    error_message = "vpn_cidr_block must be an IPv4 range with a prefix length from /12 to /22."
  }
}

# --- hosts -----------------------------------------------------------------------------------------------------------

variable "instance_type" {
  description = "EC2 instance type of the hosts. 8 GiB of memory and more: a request may need three times its size."
  type        = string
  default     = "t3.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type must be an EC2 instance type, such as t3.large or m7i.xlarge."
  }
  validation {
    # a1, t4g, m8gd, c7gn, x2gd ...: the letter g after the generation is AWS's own processor.
    condition = (
      !can(regex("^(a1|[a-z]+[0-9]+[a-z]*g[a-z]*)\\.", var.instance_type)) ||
      can(regex("^g[0-9]", var.instance_type)) || (var.ami_id != null && length(var.images) == 3)
    )
    error_message = "instance_type must have x86-64 processors, unless ami_id and images (archive, edge and ops) are given, built for arm64."
  }
}

variable "host_count" {
  description = "Hosts in topology ha."
  type        = number
  default     = 2

  validation {
    condition     = var.host_count >= 2 && var.host_count <= 10 && var.host_count == floor(var.host_count)
    error_message = "host_count must be a whole number from 2 to 10."
  }
}

variable "disk_size" {
  description = "Size of a host's disk (GiB): the system, container images and the cache of images. It can grow, not shrink."
  type        = number
  default     = 60

  validation {
    condition     = var.disk_size >= 20 && var.disk_size <= 16384 && var.disk_size == floor(var.disk_size)
    error_message = "disk_size must be a whole number from 20 to 16384 GiB."
  }
}

variable "ami_id" {
  description = "Amazon Machine Image of the hosts, with Debian 13; null is the newest of the Debian project at the first apply, and stays it. Another value replaces the hosts."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null ? true : can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id must be the id of an image, such as ami-0123456789abcdef0."
  }
}

variable "images" {
  description = "Container images by role (archive, edge, ops) that are not to come from the site's own repositories: role to reference."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for role in keys(var.images) : contains(["archive", "edge", "ops"], role)])
    error_message = "images may have the keys archive, edge and ops."
  }
  validation {
    condition = (
      alltrue([for reference in values(var.images) : can(regex("^[a-z0-9][a-zA-Z0-9._:/@-]*$", reference))])
    )
    error_message = "images must be references such as registry.example.org/orthweb/edge:0.1.0."
  }
}

variable "image_tag" {
  description = "Tag of the container images in the site's own repositories. A new tag is taken by running hosts, one after the other."
  type        = string
  default     = "0.1.0"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag))
    error_message = "image_tag must be a tag of a container image."
  }
}

variable "site_file" {
  description = "Site file (TOML) that the hosts read; empty is all defaults. What these variables decide overrides it. Running hosts take a change."
  type        = string
  default     = ""

  validation {
    condition     = length(base64encode(var.site_file)) <= 10924 # 8192 bytes
    error_message = "site_file must not be larger than 8192 bytes (a parameter of Systems Manager)."
  }
}

variable "site_files" {
  description = "Files that the site file names, such as certificates of other authorities: file name to content. Nothing secret."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for file in keys(var.site_files) : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$", file))])
    error_message = "site_files must have plain file names of letters, digits, _ . and -."
  }
  validation {
    condition = (
      alltrue([for content in values(var.site_files) : content != "" && length(base64encode(content)) <= 10924])
    )
    error_message = "site_files must each have 1 to 8192 bytes (a parameter of Systems Manager)."
  }
  validation {
    condition     = alltrue([for content in values(var.site_files) : !strcontains(content, "PRIVATE KEY-----")])
    error_message = "site_files must not contain private keys: they would be in the state. Give tls_certificate and tls_key."
  }
}

# --- images and index ------------------------------------------------------------------------------------------------

variable "use_s3_storage" {
  description = "true keeps the images in the bucket, false in the database (small sites; slower and dearer)."
  type        = bool
  default     = true
}

variable "object_lock_days" {
  description = "Days that nobody can remove a stored version of an image (object lock, governance mode); null is no lock. It can be switched on later, for what is stored from then on; AWS does not let it be switched off again."
  type        = number
  default     = null

  validation {
    condition     = var.object_lock_days == null ? true : var.object_lock_days >= 1 && var.object_lock_days <= 36500
    error_message = "object_lock_days must be from 1 to 36500."
  }
}

variable "replica_bucket_arn" {
  description = "Versioned bucket, in another region or account, that images are replicated to; null is no replication."
  type        = string
  default     = null

  validation {
    condition = (
      var.replica_bucket_arn == null ? true : can(regex("^arn:[a-z-]+:s3:::[a-z0-9.-]+$", var.replica_bucket_arn))
    )
    error_message = "replica_bucket_arn must be a bucket's ARN, such as arn:aws:s3:::hospital-images-replica."
  }
}

variable "replica_key_arn" {
  description = "KMS key of the replica, in the replica's region. Needed with replica_bucket_arn: a key belongs to one region."
  type        = string
  default     = null

  validation {
    condition     = (var.replica_key_arn == null) == (var.replica_bucket_arn == null)
    error_message = "replica_key_arn and replica_bucket_arn must be given together."
  }
  validation {
    condition = (
      var.replica_key_arn == null ? true :
      can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.replica_key_arn))
    )
    error_message = "replica_key_arn must be a KMS key's ARN (not an alias)."
  }
}

variable "database_instance_class" {
  description = "RDS instance class of the index."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = can(regex("^db\\.[a-z0-9-]+\\.[a-z0-9-]+$", var.database_instance_class))
    error_message = "database_instance_class must be an RDS instance class, such as db.t4g.medium or db.m7g.large."
  }
}

variable "database_engine_version" {
  description = "Version of PostgreSQL: a major one (RDS chooses the newest minor) or major.minor. A new major version upgrades the database at once, with an outage."
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^1[4-9](\\.[0-9]{1,2})?$", var.database_engine_version))
    error_message = "database_engine_version must be a version of PostgreSQL from 14 on, such as 17 or 17.6."
  }
}

variable "database_storage" {
  description = "Size of the database's volume to begin with (GiB)."
  type        = number
  default     = 50

  validation {
    condition = (
      var.database_storage >= 20 && var.database_storage <= 65536 &&
      var.database_storage == floor(var.database_storage)
    )
    error_message = "database_storage must be a whole number from 20 to 65536 GiB."
  }
}

variable "database_max_storage" {
  description = "Size (GiB) up to which RDS enlarges the volume by itself."
  type        = number
  default     = 500

  validation {
    condition     = var.database_max_storage >= ceil(var.database_storage * 1.1) && var.database_max_storage <= 65536
    error_message = "database_max_storage must be at least a tenth more than database_storage, and at most 65536 GiB."
  }
}

variable "database_backup_days" {
  description = "Days that the database can be restored to any moment of."
  type        = number
  default     = 14

  validation {
    condition = (
      var.database_backup_days >= 1 && var.database_backup_days <= 35 &&
      var.database_backup_days == floor(var.database_backup_days)
    )
    error_message = "database_backup_days must be a whole number from 1 to 35."
  }
}

variable "database_snapshot" {
  description = "Snapshot (identifier or ARN) to make the database from, such as the final one of a destroyed site; looked at only when the database is made."
  type        = string
  default     = null
}

variable "database_key_arn" {
  description = "KMS key of your own, in the site's region, for the database and its snapshots: it and they are readable for as long as you keep it. null is the site's key, which goes with the site. Looked at only when the database is made, and not with database_snapshot: a database keeps the key of its snapshot."
  type        = string
  default     = null

  validation {
    condition = (
      var.database_key_arn == null ? true :
      can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.database_key_arn))
    )
    error_message = "database_key_arn must be a KMS key's ARN (not an alias)."
  }
}

variable "backup" {
  description = "true backs up database and bucket with AWS Backup, in a vault that is locked in production."
  type        = bool
  default     = false
}

# --- secrets ---------------------------------------------------------------------------------------------------------

variable "given_secrets" {
  description = "Which secrets are given here rather than made by the first host: admin (admin_password), certificate (tls_certificate and tls_key). Keep it as it is once applied."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for secret in var.given_secrets : contains(["admin", "certificate"], secret)])
    error_message = "given_secrets may name admin and certificate."
  }
}

variable "secrets_version" {
  description = "Raise it to write the given secrets again."
  type        = number
  default     = 1

  validation {
    condition     = var.secrets_version >= 1 && var.secrets_version == floor(var.secrets_version)
    error_message = "secrets_version must be a whole number from 1 on."
  }
}

variable "admin_password" {
  description = "Password of the first user; null lets the first host make one. Write-only: it is neither in the plan nor in the state."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = var.admin_password == null ? true : length(var.admin_password) >= 12
    error_message = "admin_password must have at least 12 characters."
  }
  validation {
    condition     = var.admin_password == null || contains(var.given_secrets, "admin")
    error_message = "admin_password needs given_secrets = [\"admin\"]: Terraform cannot see from a write-only value that there is one."
  }
}

variable "tls_certificate" {
  description = "Own certificate for hostname with its chain (PEM); null lets the site's own authority issue one. Write-only."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition = (
      var.tls_certificate == null ? true : startswith(trimspace(var.tls_certificate), "-----BEGIN CERTIFICATE-----")
    )
    error_message = "tls_certificate must be in PEM form."
  }
  validation {
    condition     = var.tls_certificate == null || contains(var.given_secrets, "certificate")
    error_message = "tls_certificate needs given_secrets = [\"certificate\"]: Terraform cannot see from a write-only value that there is one."
  }
}

variable "tls_key" {
  description = "Private key of that certificate (PEM, without passphrase). Write-only."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = (var.tls_key == null) == (var.tls_certificate == null)
    error_message = "tls_key and tls_certificate must be given together."
  }
  validation {
    condition = (
      var.tls_key == null ? true : can(regex("^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----", trimspace(var.tls_key))) &&
      !strcontains(var.tls_key, "ENCRYPTED")
    )
    error_message = "tls_key must be in PEM form and have no passphrase."
  }
}

variable "rotation_days" {
  description = "Days after which the hosts change the password of the archive's database user."
  type        = number
  default     = 30

  validation {
    condition     = var.rotation_days >= 1 && var.rotation_days <= 1000 && var.rotation_days == floor(var.rotation_days)
    error_message = "rotation_days must be a whole number from 1 to 1000."
  }
}

# --- records ---------------------------------------------------------------------------------------------------------

variable "audit" {
  description = "true records every read and write of an object in the image bucket (CloudTrail data events)."
  type        = bool
  default     = false
}

variable "alarm_email" {
  description = "Address that alarms are mailed to, once its owner has confirmed it; null is nobody."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null ? true : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.alarm_email))
    error_message = "alarm_email must be an e-mail address."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept (one of the periods that CloudWatch Logs knows)."
  type        = number
  default     = 400

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days
    )
    error_message = "log_retention_days must be a period of CloudWatch Logs, such as 30, 90, 365, 400, 731 or 2192."
  }
}
