# Subnets, routes and flow logs: modules/network, without an account (a mocked provider).

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { locations = ["eu-central-1c", "eu-central-1b", "eu-central-1a"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/orthweb/radiology/vpc-flow" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/radiology-vpc-flow" }
  }
}

variables {
  name              = "radiology"
  region            = "eu-central-1"
  account_id        = "123456789012"
  partition         = "aws"
  topology          = "single"
  vpc_cidr          = "10.83.0.0/16"
  instance_type     = "t3.large"
  images_bucket_arn = "arn:aws:s3:::radiology-images-123456789012-eu-central-1"
  logs_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "single_costs_nothing_by_the_hour_and_records_its_traffic" {
  module {
    source = "./modules/network"
  }

  assert {
    condition     = output.zones == ["eu-central-1a", "eu-central-1b"]
    error_message = "Zones must be the first that offer the instance type."
  }
  assert {
    condition     = length(output.public_subnet_ids) == 2 && length(output.private_subnet_ids) == 2 && length(output.isolated_subnet_ids) == 2
    error_message = "Each zone must have a public, a private and an isolated subnet."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.nat) == 0 && length(aws_vpc_endpoint.interface) == 0
    error_message = "What costs by the hour must be asked for."
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.this : !subnet.map_public_ip_on_launch])
    error_message = "Nothing must get a public address by itself."
  }
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.s3.statement :
      !contains(statement.resources, "*") && !anytrue([for action in statement.actions : strcontains(action, "*")])
    ])
    error_message = "The S3 endpoint's policy must name buckets and actions."
  }
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_flow_log.this.log_destination == aws_cloudwatch_log_group.flow.arn
    error_message = "Flow logs must record accepted and refused traffic."
  }
  assert {
    condition     = aws_cloudwatch_log_group.flow.kms_key_id == var.logs_key_arn && aws_cloudwatch_log_group.flow.retention_in_days == 400
    error_message = "Flow logs must be encrypted with the site's key, and kept."
  }
  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "The default security group must be without rules."
  }
}

run "the_databases_subnets_have_no_way_out_whatever_the_others_have" {
  variables {
    nat                         = "single"
    interface_endpoints         = true
    endpoints_security_group_id = "sg-0123456789abcdef0"
  }

  module {
    source = "./modules/network"
  }

  assert {
    condition = alltrue(concat(
      [aws_route.internet.route_table_id != aws_route_table.isolated.id],
      [for route in aws_route.nat : route.route_table_id != aws_route_table.isolated.id],
      [!contains(aws_vpc_endpoint.s3.route_table_ids, aws_route_table.isolated.id)],
      [for i in [0, 1] : aws_route_table_association.this["isolated-${i}"].route_table_id == aws_route_table.isolated.id],
    ))
    error_message = "No route may lead out of the isolated subnets."
  }
  assert {
    condition     = [for rule in aws_network_acl.isolated.ingress : "${rule.from_port}-${rule.to_port} ${rule.cidr_block}"] == ["5432-5432 10.83.0.0/16"]
    error_message = "The isolated subnets must admit PostgreSQL from the VPC only."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.nat) == 2
    error_message = "nat = single must be one gateway that all zones use."
  }
  assert {
    condition = alltrue([
      for endpoint in aws_vpc_endpoint.interface : endpoint.subnet_ids == toset([aws_subnet.this["private-0"].id]) && endpoint.private_dns_enabled
    ])
    error_message = "One host needs the endpoints in one zone."
  }
  assert {
    condition = alltrue([
      for service in ["ecr.api", "ecr.dkr", "logs", "rds", "secretsmanager", "ssm"] : contains(keys(aws_vpc_endpoint.interface), service)
    ])
    error_message = "What a host calls must have an endpoint."
  }
}

run "three_zones_with_a_nat_each_move_no_subnet" {
  variables {
    topology   = "ha"
    nat        = "per_zone"
    zone_count = 3
  }

  module {
    source = "./modules/network"
  }

  assert {
    condition     = [for route in aws_route.nat : route.nat_gateway_id] == [for i in ["0", "1", "2"] : aws_nat_gateway.this[i].id]
    error_message = "Each zone must leave through its own gateway."
  }
  assert {
    condition = {
      for key, subnet in aws_subnet.this : key => subnet.cidr_block
      } == {
      public-0   = "10.83.0.0/22", public-1 = "10.83.4.0/22", public-2 = "10.83.8.0/22",
      private-0  = "10.83.64.0/22", private-1 = "10.83.68.0/22", private-2 = "10.83.72.0/22",
      isolated-0 = "10.83.128.0/22", isolated-1 = "10.83.132.0/22", isolated-2 = "10.83.136.0/22",
    }
    error_message = "A subnet's range must not depend on how many zones there are."
  }
}

run "an_instance_type_that_too_few_zones_offer_is_refused" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type_offerings.zones
    values = { locations = ["eu-central-1b"] }
  }

  module {
    source = "./modules/network"
  }

  expect_failures = [aws_subnet.this]
}

run "a_small_vpc_unknown_periods_and_endpoints_without_a_group_are_refused" {
  command = plan

  variables {
    vpc_cidr            = "10.83.0.0/24"
    log_retention_days  = 100
    interface_endpoints = true
  }

  module {
    source = "./modules/network"
  }

  expect_failures = [var.vpc_cidr, var.log_retention_days, var.endpoints_security_group_id]
}
