terraform {
  # 1.11 is the first with write-only arguments: they keep secrets out of the plan and the state. OpenTofu has them as
  # well.
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 6.0.0"
    }
  }
}

provider "aws" {
  region = var.region

  # Other credentials than those that were meant must not make the site a second time in another account.
  allowed_account_ids = var.account_id == null ? null : [var.account_id]

  default_tags {
    tags = local.tags
  }
}
