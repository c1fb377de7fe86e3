variable "name" {
  description = "The site's name: every resource in the account starts with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens, and start with a letter."
  }
}

variable "region" {
  description = "AWS region that the site runs in, e.g. eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region's code, such as eu-central-1."
  }
}

variable "account_id" {
  description = "AWS account that the site runs in (12 digits)."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must have 12 digits."
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

variable "data_key_arn" {
  description = "KMS key of the images."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "archive_role_arn" {
  description = "Role of the hosts: the only one that reads and writes images."
  type        = string

  validation {
    condition     = startswith(var.archive_role_arn, "arn:")
    error_message = "archive_role_arn must be an ARN."
  }
}

variable "other_role_arns" {
  description = "Further roles that may read and write images: those of AWS Backup, and of people named here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.other_role_arns : startswith(arn, "arn:") && !strcontains(arn, "*")])
    error_message = "other_role_arns must be ARNs of roles, without wildcards."
  }
}

variable "noncurrent_days" {
  description = "Days that an overwritten or deleted image can be brought back before its old version is removed."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1 && var.noncurrent_days == floor(var.noncurrent_days)
    error_message = "noncurrent_days must be a whole number of days, at least 1."
  }
}

variable "object_lock_days" {
  description = "Days that nobody can remove a stored version of an image (object lock, governance mode); null is no lock."
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
      var.replica_key_arn == null ? true : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.replica_key_arn))
    )
    error_message = "replica_key_arn must be a KMS key's ARN (not an alias)."
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
