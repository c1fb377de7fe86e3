terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

# Where the hosts pull their container images from. A tag always means the same image: a host that starts again a year
# later starts what was tested.
resource "aws_ecr_repository" "this" {
  for_each = var.roles

  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.production

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.data_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = var.roles # not the repositories: `terraform import` must know the keys while there are none

  repository = aws_ecr_repository.this[each.key].name
  policy = jsonencode({
    # A push may count three times: an index, an image and its attestation.
    rules = [{
      rulePriority = 1
      description  = "The 50 newest images are kept: the running one and some to go back to"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 50 }
      action       = { type = "expire" }
    }]
  })
}
