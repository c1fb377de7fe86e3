output "fqdn" {
  description = "Name of the site as Route 53 has it."
  value       = aws_route53_record.this.fqdn
}
