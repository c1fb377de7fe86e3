output "data_key_arn" {
  description = "KMS key of all that holds patients' data or opens it: images, index, disks, secrets, container images, backups."
  value       = aws_kms_key.data.arn
}

output "logs_key_arn" {
  description = "KMS key of logs, trails and notifications, which AWS services write by themselves."
  value       = aws_kms_key.logs.arn
}
