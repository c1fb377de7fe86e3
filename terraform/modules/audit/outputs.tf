output "trail_arn" {
  description = "ARN of the CloudTrail trail."
  value       = aws_cloudtrail.this.arn
}

output "log_group_name" {
  description = "CloudWatch log group of the trail, for searches and metric filters."
  value       = aws_cloudwatch_log_group.this.name
}
