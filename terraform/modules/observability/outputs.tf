output "log_group_arns" {
  description = "ARN of each log group that hosts write to: containers, host."
  value       = { for kind, group in aws_cloudwatch_log_group.this : kind => group.arn }
}

output "log_group_names" {
  description = "Name of each log group that hosts write to: containers, host."
  value       = { for kind, group in aws_cloudwatch_log_group.this : kind => group.name }
}

output "topic_arn" {
  description = "SNS topic that alarms are published to."
  value       = aws_sns_topic.alarms.arn
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
