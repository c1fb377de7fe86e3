output "vpc_id" {
  description = "VPC of the site."
  value       = aws_vpc.this.id
}

output "zones" {
  description = "Availability zones in use, in the order of the subnet lists."
  value       = [for i in local.zone_indexes : aws_subnet.this["public-${i}"].availability_zone]
}

output "public_subnet_ids" {
  description = "Subnets with a route to the internet gateway: the single host, or the load balancer and the NAT gateways."
  value       = [for i in local.zone_indexes : aws_subnet.this["public-${i}"].id]
}

output "private_subnet_ids" {
  description = "Subnets whose way out is a NAT gateway, if any: the hosts of topology ha, interface endpoints, client VPN."
  value       = [for i in local.zone_indexes : aws_subnet.this["private-${i}"].id]
}

output "isolated_subnet_ids" {
  description = "Subnets without a way out: the database."
  value       = [for i in local.zone_indexes : aws_subnet.this["isolated-${i}"].id]
}

output "flow_log_group_name" {
  description = "CloudWatch log group of the VPC's flow logs."
  value       = aws_cloudwatch_log_group.flow.name
}

output "internet_gateway_id" {
  description = "Known once the VPC has a way to the internet: AWS refuses a public load balancer before that."
  value       = aws_internet_gateway.this.id
}

output "internet_ready" {
  description = "Known once hosts can reach the internet: what boots in a subnet waits for it, not for the whole network."
  value       = join(" ", concat([aws_route.internet.id], [for route in aws_route.nat : route.id]))
}
