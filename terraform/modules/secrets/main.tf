terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# Terraform makes the secrets, not their values: the first host fills in what is empty. So no secret passes through the
# plan, the state or the machine that Terraform runs on, but for a password or certificate that a person chooses to
# give: these are write-only arguments, which Terraform hands to AWS and forgets.
locals {
  secrets = {
    admin       = "First user of the site: JSON with username and password"
    certificate = "Own certificate of the site, empty without one: JSON with certificate (PEM, with its chain) and key (PEM)"
    index       = "The archive's own user of the database: JSON with username and password, rotated by the hosts"
    site        = "What the hosts share beside these: JSON"
    tls         = "Certificate authority of the site and what it issued: JSON, file name to PEM"
  }
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Hosts rotate the index's password and renew certificates themselves; a rotation function could not reach the archive
  for_each = local.secrets

  name        = "orthweb/${var.name}/${each.key}"
  description = each.value
  kms_key_id  = var.data_key_arn

  # Without production's window the name is free at once, so that a site can be destroyed and made again under its name.
  recovery_window_in_days = var.production ? 30 : 0

  lifecycle {
    # Before a site in production is destroyed, production has to be switched off: that must not take the window away.
    ignore_changes = [recovery_window_in_days]
  }
}

resource "aws_secretsmanager_secret_version" "admin" {
  count = contains(var.given, "admin") ? 1 : 0

  secret_id = aws_secretsmanager_secret.this["admin"].id
  # Sent when the secret is made or the version raised; in every other plan, and to destroy, nobody has to give it
  # again. Not given when it should be, it is sent empty: a host puts back what was there before, or else fills it as it
  # does without `given`.
  secret_string_wo         = var.admin_password == null ? "{}" : jsonencode({ username = "admin", password = var.admin_password })
  secret_string_wo_version = var.given_version
}

resource "aws_secretsmanager_secret_version" "certificate" {
  count = contains(var.given, "certificate") ? 1 : 0

  secret_id                = aws_secretsmanager_secret.this["certificate"].id
  secret_string_wo         = var.tls_key == null ? "{}" : jsonencode({ certificate = var.tls_certificate, key = var.tls_key })
  secret_string_wo_version = var.given_version
}
