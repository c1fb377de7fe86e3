terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# The hosts: Debian with Docker, which run the same containers as a site on a laptop. They hold nothing that must be
# kept.
locals {
  ha     = var.topology == "ha"
  single = var.topology == "single"

  # The account that the Debian project publishes its images from.
  debian_account = "136693071363"

  ami_id = coalesce(var.ami_id, terraform_data.debian.output)

  user_data_values = {
    name      = var.name
    region    = var.region
    prefix    = local.parameter_prefix
    ops_image = var.image_references["ops"]
  }
  user_data = templatefile("${path.module}/user_data.yaml.tftpl", local.user_data_values)
  # The image that a host starts with changes with every release, and hosts that run take the new one by themselves: it
  # must not count as a change of the host.
  user_data_kind = sha256(templatefile("${path.module}/user_data.yaml.tftpl", merge(local.user_data_values, { ops_image = "" })))

  # One hop more than the default where the archive reads its credentials from within a container's network; the agent
  # has the host's own. Other containers get none either way: the agent takes the route from them.
  metadata_hops = var.use_s3_storage ? 2 : 1

  public_name = coalesce(var.hostname, local.ha ? one(aws_lb.this[*].dns_name) : one(aws_eip.this[*].public_dns))
}

data "aws_ami" "debian" {
  count = var.ami_id == null ? 1 : 0

  owners      = [local.debian_account]
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-13-amd64-*"]
  }

  filter {
    name   = "architecture"
    values = ["x86_64"]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

# Remembers which image the site was made with: hosts update themselves, and a newer image is no reason to replace them.
# `terraform apply -replace=module.compute.terraform_data.debian` takes the newest.
resource "terraform_data" "debian" {
  input            = one(data.aws_ami.debian[*].id)
  triggers_replace = [var.ami_id]

  lifecycle {
    ignore_changes = [input]
  }
}

# A host that boots before the way out is there would have to try its package installation again.
resource "terraform_data" "internet" {
  input = var.internet_ready
}

resource "terraform_data" "gateway" {
  input = var.internet_gateway_id
}

resource "aws_key_pair" "this" {
  count = var.ssh_public_key == null ? 0 : 1

  key_name   = var.name
  public_key = var.ssh_public_key
}
