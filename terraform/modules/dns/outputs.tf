output "fqdn" {
  description = "Name of the site as Route 53 has it."
  value       = one(concat(aws_route53_record.address[*].fqdn, aws_route53_record.alias[*].fqdn))
}
