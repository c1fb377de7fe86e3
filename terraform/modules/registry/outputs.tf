output "repository_urls" {
  description = "Address of each role's repository, without tag."
  value       = { for role, repository in aws_ecr_repository.this : role => repository.repository_url }
}

output "repository_arns" {
  description = "ARN of each role's repository."
  value       = { for role, repository in aws_ecr_repository.this : role => repository.arn }
}
