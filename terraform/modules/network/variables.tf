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

variable "topology" {
  description = "single: one host with an Elastic IP address. ha: hosts in every zone behind a Network Load Balancer."
  type        = string

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "vpc_cidr" {
  description = "IPv4 range of the VPC, /16 to /22 (each zone needs three subnets)."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr, false)
    error_message = "vpc_cidr must be an IPv4 range without host bits, such as 10.83.0.0/16."
  }
  validation {
    condition     = contains(range(16, 23), try(tonumber(split("/", var.vpc_cidr)[1]), 0))
    error_message = "vpc_cidr must have a prefix length from /16 to /22."
  }
}

variable "zone_count" {
  description = "Availability zones that have subnets: 2 or 3. RDS needs two, even for a database in one zone."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zone_count)
    error_message = "zone_count must be 2 or 3."
  }
}

variable "instance_type" {
  description = "EC2 instance type of the hosts: only zones that offer it are used."
  type        = string
}

variable "nat" {
  description = "NAT gateways for the private subnets: none, single (one for all zones) or per_zone."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "single", "per_zone"], var.nat)
    error_message = "nat must be none, single or per_zone."
  }
}

variable "interface_endpoints" {
  description = "true reaches the AWS services that a host calls through interface endpoints in the VPC."
  type        = bool
  default     = false
}

variable "endpoints_security_group_id" {
  description = "Security group of the interface endpoints; null without them."
  type        = string
  default     = null

  validation {
    condition     = var.endpoints_security_group_id != null || !var.interface_endpoints
    error_message = "endpoints_security_group_id is needed when interface_endpoints is true."
  }
}

variable "images_bucket_arn" {
  description = "Image bucket: the only bucket of the account that hosts reach through the S3 gateway endpoint."
  type        = string

  validation {
    condition     = startswith(var.images_bucket_arn, "arn:")
    error_message = "images_bucket_arn must be an ARN."
  }
}

variable "logs_key_arn" {
  description = "KMS key of the flow logs."
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
