output "vault_arn" {
  description = "ARN of the backup vault."
  value       = aws_backup_vault.this.arn
}

output "vault_name" {
  description = "Name of the backup vault."
  value       = aws_backup_vault.this.name
}

output "role_arns" {
  description = "Roles that read images to back them up and write images to restore them."
  value       = [aws_iam_role.backup.arn, aws_iam_role.restore.arn]
}
