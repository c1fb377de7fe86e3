variable "topology" {
  description = "single: one host with an Elastic IP address. ha: hosts in every zone behind a Network Load Balancer."
  type        = string

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "zone_id" {
  description = "Route 53 hosted zone that the record is made in."
  type        = string
}

variable "hostname" {
  description = "Fully qualified name of the site."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z][a-z0-9-]*[a-z0-9]$", var.hostname))
    error_message = "hostname must be a fully qualified name in lower case, such as images.example.org."
  }
}

variable "public_ip" {
  description = "Elastic IP address of the host (topology single); null in ha."
  type        = string
  default     = null
}

variable "load_balancer" {
  description = "DNS name and hosted zone of the Network Load Balancer (topology ha); null in single."
  type        = object({ dns_name = string, zone_id = string })
  default     = null
}
