output "images_bucket_arn" {
  description = "ARN of the image bucket."
  value       = aws_s3_bucket.images.arn
}

output "images_bucket_name" {
  description = "Name of the image bucket."
  value       = aws_s3_bucket.images.bucket
}

output "images_bucket_url" {
  description = "s3:// address of the image bucket."
  value       = "s3://${aws_s3_bucket.images.bucket}"
}

output "logs_bucket_arn" {
  description = "ARN of the bucket of access logs and trails."
  value       = aws_s3_bucket.logs.arn
}

output "logs_bucket_name" {
  description = "Name of the bucket of access logs and trails, known once its policy admits the services that deliver there."
  value       = aws_s3_bucket_policy.logs.bucket
}
