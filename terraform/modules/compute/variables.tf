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

variable "topology" {
  description = "single: one host with an Elastic IP address. ha: hosts in every zone behind a Network Load Balancer."
  type        = string

  validation {
    condition     = contains(["single", "ha"], var.topology)
    error_message = "topology must be single or ha."
  }
}

variable "tags" {
  description = "Tags of what Auto Scaling launches: the provider's default tags do not reach it."
  type        = map(string)
}

variable "public_subnet_ids" {
  description = "Subnets of the single host (the first) or of the load balancer."
  type        = list(string)
}

variable "private_subnet_ids" {
  description = "Subnets of the hosts in topology ha."
  type        = list(string)
}

variable "vpc_id" {
  description = "VPC of the site."
  type        = string
}

variable "internet_gateway_id" {
  description = "The VPC's way to the internet; a public load balancer is made after it."
  type        = string
}

variable "internet_ready" {
  description = "Known once hosts can reach the internet; they boot after that."
  type        = string
}

variable "host_security_group_id" {
  description = "Security group of the hosts."
  type        = string
}

variable "load_balancer_security_group_id" {
  description = "Security group of the load balancer; null in topology single."
  type        = string
  default     = null
}

variable "ports" {
  description = "TCP ports of HTTPS and DICOM TLS, the same on hosts and load balancer, and of health checks on the hosts."
  type        = object({ https = number, dicom = number, health = number })
}

variable "instance_type" {
  description = "EC2 instance type of the hosts."
  type        = string
}

variable "host_count" {
  description = "Hosts in topology ha."
  type        = number
}

variable "disk_size" {
  description = "Size of a host's disk (GiB)."
  type        = number
}

variable "ami_id" {
  description = "Amazon Machine Image of the hosts, with Debian 13; null is Debian's newest at the time of the first apply."
  type        = string
  default     = null
}

variable "ssh_public_key" {
  description = "Public key for SSH to the hosts; null is none."
  type        = string
  default     = null
}

variable "hostname" {
  description = "Name of the site; null is the public DNS name of the address or the load balancer."
  type        = string
  default     = null
}

variable "data_key_arn" {
  description = "KMS key of disks, images and secrets."
  type        = string

  validation {
    condition     = startswith(var.data_key_arn, "arn:")
    error_message = "data_key_arn must be an ARN."
  }
}

variable "images_bucket_arn" {
  description = "Image bucket."
  type        = string

  validation {
    condition     = startswith(var.images_bucket_arn, "arn:")
    error_message = "images_bucket_arn must be an ARN."
  }
}

variable "images_bucket_name" {
  description = "Name of the image bucket."
  type        = string
}

variable "use_s3_storage" {
  description = "true keeps the images in the bucket, false in the database."
  type        = bool
}

variable "database_identifier" {
  description = "Identifier of the RDS instance that the hosts look for. Not its address: hosts boot while RDS makes it."
  type        = string
}

variable "secret_arns" {
  description = "ARN of each of the site's secrets: admin, certificate, index, site, tls."
  type        = map(string)
}

variable "secret_names" {
  description = "Name of each of the site's secrets."
  type        = map(string)
}

variable "log_group_arns" {
  description = "CloudWatch log groups that hosts write to: containers, host."
  type        = map(string)
}

variable "log_group_names" {
  description = "Names of these log groups."
  type        = map(string)
}

variable "image_references" {
  description = "Container image of each role: archive, edge, ops."
  type        = map(string)

  validation {
    condition     = alltrue([for role in ["archive", "edge", "ops"] : contains(keys(var.image_references), role)])
    error_message = "image_references must name the images of archive, edge and ops."
  }
}

variable "repository_arns" {
  description = "ARN of each ECR repository of the site."
  type        = map(string)
}

variable "site_file" {
  description = "Site file (TOML) that the hosts read; empty is all defaults."
  type        = string
}

variable "site_files" {
  description = "Files that the site file names, such as certificates of other authorities: file name to content."
  type        = map(string)
}

variable "rotation_days" {
  description = "Days after which the hosts change the password of the archive's database user."
  type        = number
}
