# What the hosts read. They ask for it every few seconds: a changed value is applied by them, one host after the other,
# and no instance is replaced. Nothing in here is secret.
locals {
  deployment = {
    account             = var.account_id
    autoscaling_group   = local.ha ? var.name : null
    bucket              = var.images_bucket_name
    database_identifier = var.database_identifier
    kms_key_arn         = var.data_key_arn
    lifecycle_hook      = local.ha ? local.lifecycle_hook : null
    log_groups          = var.log_group_names
    name                = var.name
    ports               = var.ports
    public_name         = local.public_name
    region              = var.region
    rotation_days       = var.rotation_days
    secrets             = var.secret_names
    store               = var.use_s3_storage ? "s3" : "database"
    topology            = var.topology
  }

  parameters = merge(
    {
      deployment = jsonencode(local.deployment)
      images     = jsonencode(var.image_references)
      # A parameter cannot be empty.
      site = trimspace(var.site_file) == "" ? "# All defaults.\n" : var.site_file
    },
    { for file, content in var.site_files : "files/${file}" => content },
  )
}

resource "aws_ssm_parameter" "this" {
  #checkov:skip=CKV2_AWS_34:Names, references and public certificates; what is secret is in Secrets Manager
  #checkov:skip=CKV_AWS_337:Names, references and public certificates; a key of their own would protect nothing
  for_each = local.parameters

  name        = "${local.parameter_prefix}/${each.key}"
  description = "Read by the hosts of the Orthweb site ${var.name}"
  type        = "String"
  tier        = "Intelligent-Tiering"
  # Not insecure_value, which the plan would show: an imported parameter would never get it, and its change would be
  # planned for ever (https://github.com/hashicorp/terraform-provider-aws/issues/37733).
  value = each.value
}
