output "endpoint_id" {
  description = "Client VPN endpoint: `aws ec2 export-client-vpn-client-configuration` gives the clients' file for it."
  value       = aws_ec2_client_vpn_endpoint.this.id
}

output "log_group_name" {
  description = "CloudWatch log group of the connections."
  value       = aws_cloudwatch_log_group.this.name
}
