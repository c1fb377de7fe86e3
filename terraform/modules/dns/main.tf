terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

resource "aws_route53_record" "address" {
  #checkov:skip=CKV2_AWS_23:The address is the Elastic IP that modules/compute makes.
  count = var.topology == "single" ? 1 : 0

  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"
  ttl     = 60
  records = [var.public_ip]
}

resource "aws_route53_record" "alias" {
  count = var.topology == "ha" ? 1 : 0

  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"

  alias {
    name                   = var.load_balancer.dns_name
    zone_id                = var.load_balancer.zone_id
    evaluate_target_health = true
  }
}
