variable "name" {
  description = "The site's name: every resource in the account starts with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens, and start with a letter."
  }
}

variable "vpc_id" {
  description = "VPC of the site."
  type        = string
}

variable "vpc_cidr" {
  description = "IPv4 range of the VPC, /16 to /22 (each zone needs three subnets)."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "vpc_cidr must be an IPv4 range such as 10.83.0.0/16."
  }
  validation {
    condition     = contains(range(16, 23), try(tonumber(split("/", var.vpc_cidr)[1]), 0))
    error_message = "vpc_cidr must have a prefix length from /16 to /22."
  }
}

variable "subnet_ids" {
  description = "Subnets that the endpoint is associated with: one, or one in each zone. Each costs by the hour."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "subnet_ids must name at least one subnet."
  }
}

variable "security_group_id" {
  description = "Security group of the endpoint's network interfaces."
  type        = string
}

variable "client_cidr_block" {
  description = "IPv4 range that clients get their addresses from, /12 to /22, outside the VPC's own."
  type        = string

  validation {
    condition = (
      can(cidrnetmask(var.client_cidr_block)) &&
      contains(range(12, 23), try(tonumber(split("/", var.client_cidr_block)[1]), 0))
    )
    error_message = "client_cidr_block must be an IPv4 range with a prefix length from /12 to /22."
  }
  validation {
    # Ranges overlap when both are the same network at the shorter of their prefixes.
    condition = try(length(distinct([
      for block in [var.client_cidr_block, var.vpc_cidr] : cidrhost(join("/", [
        split("/", block)[0],
        min([for each in [var.client_cidr_block, var.vpc_cidr] : tonumber(split("/", each)[1])]...),
      ]), 0)
    ])) == 2, false)
    error_message = "client_cidr_block must not overlap vpc_cidr."
  }
}

variable "server_certificate_arn" {
  description = "Server certificate in ACM that the endpoint shows."
  type        = string

  validation {
    condition     = startswith(var.server_certificate_arn, "arn:")
    error_message = "server_certificate_arn must be an ARN."
  }
}

variable "client_ca_arn" {
  description = "Certificate in ACM whose authority signs the clients' certificates."
  type        = string

  validation {
    condition     = startswith(var.client_ca_arn, "arn:")
    error_message = "client_ca_arn must be an ARN."
  }
}

variable "logs_key_arn" {
  description = "KMS key of the connection log."
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
