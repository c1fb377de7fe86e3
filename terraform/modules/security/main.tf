terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# Every security group and every rule of the site is in this file: who may talk to whom is read here and nowhere else.
# Security groups do not filter Amazon's DNS resolver, time service and instance metadata, so hosts need no rule for
# them.

locals {
  https_port = 443
  dicom_port = 11112

  ha          = var.topology == "ha"
  front_ports = { https = local.https_port, dicom = local.dicom_port }

  # What the load balancer asks of hosts; the health port may be one of the other two.
  host_ports = { for port in distinct([local.https_port, local.dicom_port, var.health_port]) : tostring(port) => port }

  # AWS refuses a second rule for the same range and port, and two modalities may well share them: AE titles of one
  # archive, or peers whose addresses only DNS knows. Rules are told apart by what they open, not by whom it is for.
  destinations = { for modality in var.modality_endpoints : "${modality.cidr}:${modality.port}" => modality... }
  open_anyway  = concat(["0.0.0.0/0:443"], var.http_mirrors ? ["0.0.0.0/0:80"] : [])
  modalities = {
    for destination, all in local.destinations : destination => {
      cidr        = all[0].cidr
      port        = all[0].port
      description = substr("Modality ${join(", ", sort(all[*].name))}", 0, 255) # AWS takes no more
    } if !contains(local.open_anyway, destination)
  }

  # Clients come to the load balancer where there is one, else to the host.
  front_id = local.ha ? aws_security_group.load_balancer[0].id : aws_security_group.host.id
  clients = merge(
    {
      for block in toset(var.https_cidr_blocks) :
      "https-${block}" => { port = local.https_port, cidr = block, what = "HTTPS" }
    },
    {
      for block in toset(var.dicom_cidr_blocks) :
      "dicom-${block}" => { port = local.dicom_port, cidr = block, what = "DICOM TLS" }
    },
  )
}

# --- Load balancer

resource "aws_security_group" "load_balancer" {
  #checkov:skip=CKV2_AWS_5:modules/compute attaches it to the Network Load Balancer.
  count = local.ha ? 1 : 0

  name        = "${var.name}-load-balancer"
  description = "Network Load Balancer of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-load-balancer" }
}

resource "aws_vpc_security_group_egress_rule" "load_balancer_to_host" {
  for_each = local.ha ? local.host_ports : {}

  security_group_id            = aws_security_group.load_balancer[0].id
  description                  = "Hosts, TCP ${each.key}"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# --- Clients

resource "aws_vpc_security_group_ingress_rule" "client" {
  for_each = local.clients

  security_group_id = local.front_id
  description       = each.value.what
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

# --- Hosts

resource "aws_security_group" "host" {
  #checkov:skip=CKV2_AWS_5:modules/compute attaches it to the hosts.
  name        = "${var.name}-host"
  description = "Hosts of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-host" }
}

# The group as source admits health checks, and clients although the load balancer preserves their addresses: nobody
# reaches a host past the load balancer.
resource "aws_vpc_security_group_ingress_rule" "host_from_load_balancer" {
  for_each = local.ha ? local.host_ports : {}

  security_group_id            = aws_security_group.host.id
  description                  = "Load balancer, TCP ${each.key}"
  referenced_security_group_id = aws_security_group.load_balancer[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# Session Manager needs no port: SSH is closed unless a range is named.
resource "aws_vpc_security_group_ingress_rule" "ssh" {
  count = var.cli_cidr_block == null ? 0 : 1

  security_group_id = aws_security_group.host.id
  description       = "SSH for management"
  cidr_ipv4         = var.cli_cidr_block
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_egress_rule" "host_to_database" {
  security_group_id            = aws_security_group.host.id
  description                  = "PostgreSQL"
  referenced_security_group_id = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

# AWS's services and Debian's mirrors have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "host_to_https" {
  security_group_id = aws_security_group.host.id
  description       = "AWS services, Debian mirrors"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Debian's mirrors over plain HTTP: apt verifies the signature of what it fetches, TLS or not, and an image that is set
# to an http:// mirror could neither install Docker nor get security updates without this rule.
resource "aws_vpc_security_group_egress_rule" "host_to_http" {
  count = var.http_mirrors ? 1 : 0

  security_group_id = aws_security_group.host.id
  description       = "Debian mirrors (signed packages)"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

resource "aws_vpc_security_group_egress_rule" "host_to_modality" {
  for_each = local.modalities

  security_group_id = aws_security_group.host.id
  description       = each.value.description
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

# --- Database: no egress rule at all, it calls nobody

resource "aws_security_group" "database" {
  #checkov:skip=CKV2_AWS_5:modules/database attaches it to the instance.
  name        = "${var.name}-database"
  description = "Database of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-database" }
}

resource "aws_vpc_security_group_ingress_rule" "database_from_host" {
  security_group_id            = aws_security_group.database.id
  description                  = "PostgreSQL from hosts"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

# --- Interface endpoints: reached by hosts through their egress to TCP 443

resource "aws_security_group" "endpoints" {
  #checkov:skip=CKV2_AWS_5:modules/network attaches it to the interface endpoints.
  count = var.interface_endpoints ? 1 : 0

  name        = "${var.name}-endpoints"
  description = "Interface endpoints of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_host" {
  count = var.interface_endpoints ? 1 : 0

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "HTTPS from hosts"
  referenced_security_group_id = aws_security_group.host.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# --- Client VPN: its clients' packets come from the endpoint's network interfaces, which have this group

resource "aws_security_group" "vpn" {
  #checkov:skip=CKV2_AWS_5:modules/vpn attaches it to the endpoint.
  count = var.vpn ? 1 : 0

  name        = "${var.name}-vpn"
  description = "Client VPN of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-vpn" }
}

resource "aws_vpc_security_group_egress_rule" "vpn_to_front" {
  for_each = var.vpn ? local.front_ports : {}

  security_group_id            = aws_security_group.vpn[0].id
  description                  = "Site, ${each.key}"
  referenced_security_group_id = local.front_id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "front_from_vpn" {
  for_each = var.vpn ? local.front_ports : {}

  security_group_id            = local.front_id
  description                  = "Client VPN, ${each.key}"
  referenced_security_group_id = aws_security_group.vpn[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}
