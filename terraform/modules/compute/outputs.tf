output "role_arn" {
  description = "Role of the hosts."
  value       = aws_iam_role.host.arn
}

output "public_name" {
  description = "Name under which people and modalities reach the site."
  value       = local.public_name
}

output "public_ip" {
  description = "Elastic IP address of the host; null in topology ha."
  value       = one(aws_eip.this[*].public_ip)
}

output "load_balancer" {
  description = "DNS name, hosted zone and metric dimension of the Network Load Balancer; null in topology single."
  value = local.ha ? {
    dns_name   = aws_lb.this[0].dns_name
    zone_id    = aws_lb.this[0].zone_id
    arn_suffix = aws_lb.this[0].arn_suffix
  } : null
}

output "target_group_arn_suffixes" {
  description = "Metric dimension of each target group: https, dicom. Empty in topology single."
  value       = { for service, group in aws_lb_target_group.this : service => group.arn_suffix }
}

output "instance_id" {
  description = "Instance of the host; null in topology ha."
  value       = one(aws_instance.this[*].id)
}

output "autoscaling_group" {
  description = "Auto Scaling group of the hosts; null in topology single."
  value       = one(aws_autoscaling_group.this[*].name)
}

output "parameter_prefix" {
  description = "What the names of the site's parameters in Systems Manager begin with."
  value       = local.parameter_prefix
}

output "generation" {
  description = "What a host cannot take over while it runs, as one word: another one replaces the hosts of topology ha, one after the other."
  value       = local.generation
}

output "private_address" {
  description = "Address of the single host within the VPC; null in topology ha."
  value       = one(aws_network_interface.this[*].private_ip)
}
