# Who may talk to whom: modules/security, without an account (a mocked provider).

mock_provider "aws" {}

variables {
  name              = "radiology"
  vpc_id            = "vpc-0123456789abcdef0"
  topology          = "single"
  https_cidr_blocks = ["203.0.113.0/24"]
  dicom_cidr_blocks = ["198.51.100.0/25", "198.51.100.128/25"]
}

run "single_is_open_for_what_was_asked_and_nothing_else" {
  variables {
    modality_endpoints = [
      { name = "CT1", cidr = "192.0.2.10/32", port = 104 },
      { name = "PACS", cidr = "192.0.2.0/24", port = 2762 },
    ]
  }

  module {
    source = "./modules/security"
  }

  assert {
    condition = toset([
      for rule in aws_vpc_security_group_ingress_rule.client : "${rule.from_port}-${rule.to_port}/${rule.ip_protocol} ${rule.cidr_ipv4}"
      ]) == toset([
      "443-443/tcp 203.0.113.0/24", "11112-11112/tcp 198.51.100.0/25", "11112-11112/tcp 198.51.100.128/25",
    ])
    error_message = "Clients must reach HTTPS and DICOM TLS from the ranges asked for, and nothing else."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.client : rule.security_group_id == aws_security_group.host.id])
    error_message = "In topology single clients come to the host."
  }
  assert {
    condition     = length(aws_security_group.load_balancer) == 0 && length(aws_vpc_security_group_ingress_rule.host_from_load_balancer) == 0
    error_message = "Topology single has no load balancer."
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.ssh) == 0
    error_message = "SSH must be closed by default."
  }
  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.database_from_host.referenced_security_group_id == aws_security_group.host.id &&
      aws_vpc_security_group_ingress_rule.database_from_host.cidr_ipv4 == null &&
      aws_vpc_security_group_ingress_rule.database_from_host.from_port == 5432 &&
      aws_vpc_security_group_ingress_rule.database_from_host.to_port == 5432
    )
    error_message = "PostgreSQL must be open to the hosts' security group and to no address."
  }
  assert {
    condition = !contains(concat(
      [
        aws_vpc_security_group_egress_rule.host_to_database.security_group_id,
        aws_vpc_security_group_egress_rule.host_to_https.security_group_id,
      ],
      [for rule in aws_vpc_security_group_egress_rule.host_to_http : rule.security_group_id],
      [for rule in aws_vpc_security_group_egress_rule.host_to_modality : rule.security_group_id],
      [for rule in aws_vpc_security_group_egress_rule.vpn_to_front : rule.security_group_id],
      [for rule in aws_vpc_security_group_egress_rule.load_balancer_to_host : rule.security_group_id],
    ), aws_security_group.database.id)
    error_message = "The database calls nobody."
  }
  assert {
    condition = toset(concat(
      ["${aws_vpc_security_group_egress_rule.host_to_https.from_port} ${aws_vpc_security_group_egress_rule.host_to_https.cidr_ipv4}"],
      [for rule in aws_vpc_security_group_egress_rule.host_to_http : "${rule.from_port} ${rule.cidr_ipv4}"],
      [for rule in aws_vpc_security_group_egress_rule.host_to_modality : "${rule.from_port} ${rule.cidr_ipv4}"],
    )) == toset(["443 0.0.0.0/0", "80 0.0.0.0/0", "104 192.0.2.10/32", "2762 192.0.2.0/24"])
    error_message = "Hosts must reach AWS, Debian's mirrors and the modalities that are named."
  }
}

run "ha_admits_clients_to_the_load_balancer_and_only_it_to_hosts" {
  variables {
    topology          = "ha"
    health_port       = 8081
    vpn               = true
    http_mirrors      = false
    https_cidr_blocks = ["0.0.0.0/0", "0.0.0.0/0"]
  }

  module {
    source = "./modules/security"
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.client : rule.security_group_id == aws_security_group.load_balancer[0].id])
    error_message = "In topology ha clients come to the load balancer."
  }
  assert {
    condition = alltrue([
      for rule in aws_vpc_security_group_ingress_rule.host_from_load_balancer :
      rule.referenced_security_group_id == aws_security_group.load_balancer[0].id && rule.cidr_ipv4 == null
    ])
    error_message = "Hosts must admit the load balancer's security group, and no address."
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.host_from_load_balancer)) == toset(["443", "11112", "8081"])
    error_message = "The load balancer must reach HTTPS, DICOM TLS and the health port."
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.front_from_vpn : rule.security_group_id == aws_security_group.load_balancer[0].id])
    error_message = "VPN clients must come to the load balancer too, so that a lost host does not matter to them."
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.client : rule.from_port if rule.cidr_ipv4 == "0.0.0.0/0"] == [443]
    error_message = "0.0.0.0/0 for HTTPS must open HTTPS alone, and once."
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.host_to_http) == 0
    error_message = "http_mirrors = false must close TCP 80."
  }
}

run "modalities_of_one_range_and_port_share_a_rule" {
  variables {
    modality_endpoints = [
      { name = "CT1", cidr = "192.0.2.0/24", port = 104 },
      { name = "MR1", cidr = "192.0.2.0/24", port = 104 },
      { name = "US1", cidr = "192.0.2.0/24", port = 11112 },
      { name = "CLOUD", cidr = "0.0.0.0/0", port = 443 },
    ]
  }

  module {
    source = "./modules/security"
  }

  assert {
    condition = toset([
      for rule in aws_vpc_security_group_egress_rule.host_to_modality : "${rule.description}: ${rule.cidr_ipv4} ${rule.from_port}"
    ]) == toset(["Modality CT1, MR1: 192.0.2.0/24 104", "Modality US1: 192.0.2.0/24 11112"])
    error_message = "AWS refuses two rules for the same range and port."
  }
}

run "ssh_for_the_world_host_bits_ipv6_and_two_modalities_of_one_name_are_refused" {
  command = plan

  variables {
    cli_cidr_block    = "0.0.0.0/0"
    https_cidr_blocks = ["203.0.113.7/24"]
    dicom_cidr_blocks = ["2001:db8::/32"]
    modality_endpoints = [
      { name = "CT1", cidr = "192.0.2.10/32", port = 104 },
      { name = "CT1", cidr = "192.0.2.11/32", port = 104 },
    ]
  }

  module {
    source = "./modules/security"
  }

  expect_failures = [var.cli_cidr_block, var.https_cidr_blocks, var.dicom_cidr_blocks, var.modality_endpoints]
}
