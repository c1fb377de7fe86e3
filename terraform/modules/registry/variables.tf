variable "name" {
  description = "The site's name: every resource in the account starts with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens, and start with a letter."
  }
}

variable "production" {
  description = "true protects what holds data against deletion; false lets `terraform destroy` remove everything."
  type        = bool
}

variable "data_key_arn" {
  description = "KMS key of the container images."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "roles" {
  description = "Roles of the container images: each has a repository of its own."
  type        = set(string)
  default     = ["archive", "edge", "ops"]
}
