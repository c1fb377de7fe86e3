output "host_security_group_id" {
  description = "Security group of the hosts."
  value       = aws_security_group.host.id
}

output "load_balancer_security_group_id" {
  description = "Security group of the Network Load Balancer; null in topology single."
  value       = one(aws_security_group.load_balancer[*].id)
}

output "database_security_group_id" {
  description = "Security group of the database."
  value       = aws_security_group.database.id
}

output "endpoints_security_group_id" {
  description = "Security group of the interface endpoints; null without them."
  value       = one(aws_security_group.endpoints[*].id)
}

output "vpn_security_group_id" {
  description = "Security group of the client VPN endpoint; null without it."
  value       = one(aws_security_group.vpn[*].id)
}

output "https_port" {
  description = "TCP port of HTTPS on the hosts and the load balancer."
  value       = local.https_port
}

output "dicom_port" {
  description = "TCP port of DICOM TLS on the hosts and the load balancer."
  value       = local.dicom_port
}

output "health_port" {
  description = "TCP port on the hosts that health checks may ask."
  value       = var.health_port
}
