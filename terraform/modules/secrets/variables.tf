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
  description = "KMS key of the secrets."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "given" {
  description = "Secrets whose value comes from here (admin, certificate); the first host makes all others."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for secret in var.given : contains(["admin", "certificate"], secret)])
    error_message = "given may name admin and certificate."
  }
}

variable "given_version" {
  description = "Raise it to write the given values again."
  type        = number
  default     = 1
}

variable "admin_password" {
  description = "Password of the site's first user."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "tls_certificate" {
  description = "Own certificate of the site with its chain (PEM)."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}

variable "tls_key" {
  description = "Private key of that certificate (PEM, without passphrase)."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true
}
