variable "name" {
  description = "The site's name: every resource in the account starts with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens, and start with a letter."
  }
}

variable "partition" {
  description = "AWS partition of the account: aws or aws-us-gov (service names differ in China's)."
  type        = string

  validation {
    condition     = contains(["aws", "aws-us-gov"], var.partition)
    error_message = "partition must be aws or aws-us-gov."
  }
}

variable "production" {
  description = "true protects what holds data against deletion; false lets `terraform destroy` remove everything."
  type        = bool
}

variable "topology" {
  description = "single: one host with an Elastic IP address. ha: hosts in every zone behind a Network Load Balancer."
  type        = string

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "subnet_ids" {
  description = "Subnets without a way out, in two zones at least."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group that admits the hosts, and nobody else, to PostgreSQL."
  type        = string
}

variable "zone" {
  description = "Availability zone of the database in topology single: the host's own."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the site: names the final snapshot, so that no two sites of one name ask for the same."
  type        = string
}

variable "data_key_arn" {
  description = "KMS key of the index, its snapshots and its master secret."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "storage_key_arn" {
  description = "KMS key of the database's volume and snapshots: the site's, or one that outlives the site."
  type        = string
}

variable "logs_key_arn" {
  description = "KMS key of PostgreSQL's logs."
  type        = string

  validation {
    condition     = startswith(var.logs_key_arn, "arn:")
    error_message = "logs_key_arn must be an ARN."
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

variable "instance_class" {
  description = "RDS instance class."
  type        = string
}

variable "engine_version" {
  description = "Version of PostgreSQL: a major one (RDS chooses the newest minor) or major.minor."
  type        = string
}

variable "storage" {
  description = "Size of the database's volume to begin with (GiB)."
  type        = number
}

variable "max_storage" {
  description = "Size (GiB) up to which RDS enlarges the volume by itself."
  type        = number
}

variable "backup_days" {
  description = "Days that the database can be restored to any moment of."
  type        = number
}

variable "snapshot" {
  description = "Snapshot to make the database from; looked at only when the database is made."
  type        = string
  default     = null
}
