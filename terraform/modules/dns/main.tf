terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# One record in both topologies: a change of topology changes it in place, and the name is never without an address.
resource "aws_route53_record" "this" {
  #checkov:skip=CKV2_AWS_23:The address is the Elastic IP or the load balancer that modules/compute makes.
  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"
  ttl     = var.topology == "single" ? 60 : null
  records = var.topology == "single" ? [var.public_ip] : null

  dynamic "alias" {
    for_each = var.topology == "ha" ? [var.load_balancer] : []

    content {
      name                   = alias.value.dns_name
      zone_id                = alias.value.zone_id
      evaluate_target_health = true
    }
  }
}
