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

variable "topology" {
  description = "single: one host with an Elastic IP address. ha: hosts in every zone behind a Network Load Balancer."
  type        = string

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "https_cidr_blocks" {
  description = "IPv4 ranges that may reach HTTPS (TCP 443). 0.0.0.0/0 is everyone."
  type        = list(string)

  validation {
    condition = alltrue([
      for block in var.https_cidr_blocks : can(cidrnetmask(block)) && try(cidrsubnet(block, 0, 0) == block, false)
    ])
    error_message = "https_cidr_blocks must be IPv4 ranges without host bits, such as 203.0.113.0/24."
  }
}

variable "dicom_cidr_blocks" {
  description = "IPv4 ranges that may reach DICOM TLS (TCP 11112). 0.0.0.0/0 is everyone."
  type        = list(string)

  validation {
    condition = alltrue([
      for block in var.dicom_cidr_blocks : can(cidrnetmask(block)) && try(cidrsubnet(block, 0, 0) == block, false)
    ])
    error_message = "dicom_cidr_blocks must be IPv4 ranges without host bits, such as 203.0.113.0/24."
  }
}

variable "cli_cidr_block" {
  description = "IPv4 range that may reach SSH on the hosts (TCP 22); null is nobody. Never the world."
  type        = string
  default     = null

  validation {
    condition = var.cli_cidr_block == null || (
      can(cidrnetmask(var.cli_cidr_block)) && try(cidrsubnet(var.cli_cidr_block, 0, 0) == var.cli_cidr_block, false)
    )
    error_message = "cli_cidr_block must be an IPv4 range without host bits, such as 203.0.113.7/32."
  }
  validation {
    condition     = try(tonumber(split("/", var.cli_cidr_block)[1]) >= 8, var.cli_cidr_block == null)
    error_message = "cli_cidr_block must not be wider than /8: SSH is never open to the world."
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
    error_message = "modality_endpoints must each have an IPv4 range without host bits, such as 192.0.2.10/32, and a TCP port."
  }
  validation {
    condition = alltrue([
      for modality in var.modality_endpoints : can(regex("^[A-Za-z0-9 ._-]{1,64}$", modality.name))
    ])
    error_message = "modality_endpoints must have names of letters, digits, spaces and ._- only."
  }
  validation {
    condition     = length(distinct(var.modality_endpoints[*].name)) == length(var.modality_endpoints)
    error_message = "modality_endpoints must each have a name of their own."
  }
}

variable "health_port" {
  description = "TCP port on the hosts that the Network Load Balancer's health checks ask."
  type        = number
  default     = 443

  validation {
    condition     = var.health_port >= 1 && var.health_port <= 65535 && var.health_port == floor(var.health_port)
    error_message = "health_port must be a TCP port."
  }
}

variable "interface_endpoints" {
  description = "true makes the security group of the interface endpoints."
  type        = bool
  default     = false
}

variable "vpn" {
  description = "true makes the client VPN's security group and lets its clients reach HTTPS and DICOM TLS."
  type        = bool
  default     = false
}

variable "http_mirrors" {
  description = "false closes TCP 80 to the outside, for hosts whose apt fetches over https:// only."
  type        = bool
  default     = true
}
