output "arns" {
  description = "ARN of each secret."
  value       = { for secret, resource in aws_secretsmanager_secret.this : secret => resource.arn }
}

output "names" {
  description = "Name of each secret in Secrets Manager."
  value       = { for secret, resource in aws_secretsmanager_secret.this : secret => resource.name }
}
