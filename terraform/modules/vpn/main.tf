terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# For modalities and people whose networks should not be opened to the internet: they reach the site's private address.
resource "aws_ec2_client_vpn_endpoint" "this" {
  description            = "${var.name}: modalities and people without an address of their own"
  vpc_id                 = var.vpc_id
  security_group_ids     = [var.security_group_id]
  client_cidr_block      = var.client_cidr_block
  server_certificate_arn = var.server_certificate_arn
  transport_protocol     = "tcp"
  vpn_port               = 443

  # Only traffic to the VPC takes the tunnel: a workstation keeps its own way to everything else.
  split_tunnel = true

  # The VPC's resolver: the name that AWS gives to an Elastic IP address leads to the private one there.
  dns_servers = [cidrhost(var.vpc_cidr, 2)]

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = var.client_ca_arn
  }

  connection_log_options {
    enabled               = true
    cloudwatch_log_group  = aws_cloudwatch_log_group.this.name
    cloudwatch_log_stream = aws_cloudwatch_log_stream.connections.name
  }

  tags = { Name = var.name }
}

resource "aws_ec2_client_vpn_network_association" "this" {
  count = length(var.subnet_ids)

  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.this.id
  subnet_id              = var.subnet_ids[count.index]
}

# The whole VPC by address; by port the security group decides.
resource "aws_ec2_client_vpn_authorization_rule" "vpc" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.this.id
  target_network_cidr    = var.vpc_cidr
  authorize_all_groups   = true
  description            = "Holders of a client certificate"
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:The default is 400 days; a site may decide on less.
  name              = "/orthweb/${var.name}/vpn"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

resource "aws_cloudwatch_log_stream" "connections" {
  name           = "connections"
  log_group_name = aws_cloudwatch_log_group.this.name
}
