output "identifier" {
  description = "Identifier of the RDS instance, known before it is there."
  value       = local.identifier
}

output "arn" {
  description = "ARN of the RDS instance."
  value       = aws_db_instance.this.arn
}

output "endpoint" {
  description = "Address and port of PostgreSQL (host:port)."
  value       = aws_db_instance.this.endpoint
}

output "final_snapshot" {
  description = "Name of the snapshot that `terraform destroy` leaves."
  value       = aws_db_instance.this.final_snapshot_identifier
}

output "log_group_names" {
  description = "CloudWatch log groups of PostgreSQL."
  value       = [for group in aws_cloudwatch_log_group.this : group.name]
}
