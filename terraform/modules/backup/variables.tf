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

variable "data_key_arn" {
  description = "KMS key of the recovery points."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "images_bucket_arn" {
  description = "Image bucket to back up."
  type        = string

  validation {
    condition     = startswith(var.images_bucket_arn, "arn:")
    error_message = "images_bucket_arn must be an ARN."
  }
}

variable "database_arn" {
  description = "RDS instance to back up."
  type        = string

  validation {
    condition     = startswith(var.database_arn, "arn:")
    error_message = "database_arn must be an ARN."
  }
}

variable "daily_days" {
  description = "Days that daily recovery points are kept. AWS keeps continuous ones (the images) for 35 days at most."
  type        = number
  default     = 35

  validation {
    condition     = var.daily_days >= 7 && var.daily_days <= 35 && var.daily_days == floor(var.daily_days)
    error_message = "daily_days must be a whole number from 7 to 35."
  }
}

variable "monthly_days" {
  description = "Days that monthly recovery points are kept."
  type        = number
  default     = 365

  validation {
    condition     = var.monthly_days >= 35 && var.monthly_days <= 36500 && var.monthly_days == floor(var.monthly_days)
    error_message = "monthly_days must be a whole number from 35 to 36500."
  }
}
