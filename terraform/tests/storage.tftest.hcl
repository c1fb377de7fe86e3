# Buckets and keys: modules/storage and modules/keys, without an account (a mocked provider).

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/radiology-replication" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  name             = "radiology"
  region           = "eu-central-1"
  account_id       = "123456789012"
  partition        = "aws"
  topology         = "single"
  production       = false
  data_key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-1111-1111-111111111111"
  archive_role_arn = "arn:aws:iam::123456789012:role/radiology-host"
}

run "images_are_encrypted_versioned_at_hand_and_for_the_archive_only" {
  variables {
    noncurrent_days = 45
    other_role_arns = ["arn:aws:iam::123456789012:role/radiology-backup"]
  }

  module {
    source = "./modules/storage"
  }

  assert {
    condition     = aws_s3_bucket.images.bucket == "radiology-images-123456789012-eu-central-1"
    error_message = "The bucket's name must be unique to site, account and region."
  }
  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.images.rule :
      rule.bucket_key_enabled && rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" &&
      rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.data_key_arn
    ])
    error_message = "Images must be encrypted with the site's KMS key and a bucket key."
  }
  assert {
    condition     = aws_s3_bucket_versioning.images.versioning_configuration[0].status == "Enabled"
    error_message = "Images must be versioned."
  }
  assert {
    condition = alltrue([
      for block in [aws_s3_bucket_public_access_block.images, aws_s3_bucket_public_access_block.logs] :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "No bucket may become public."
  }
  assert {
    condition     = aws_s3_bucket_ownership_controls.images.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "Access control lists must be off."
  }
  assert {
    condition     = aws_s3_bucket_logging.images.target_bucket == aws_s3_bucket.logs.id
    error_message = "Access to images must be logged."
  }
  assert {
    condition     = length(aws_s3_bucket_object_lock_configuration.images) == 0 && length(aws_s3_bucket_replication_configuration.images) == 0
    error_message = "Object lock and replication must be asked for."
  }
  assert {
    condition = flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : [for transition in rule.transition : transition.storage_class]
    ]) == ["INTELLIGENT_TIERING"]
    error_message = "Images must move to intelligent tiering, and to nothing that takes hours to read."
  }
  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule :
      alltrue([for expiration in rule.expiration : expiration.days == null || expiration.days == 0])
    ])
    error_message = "An image must never expire."
  }
  assert {
    condition = flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : [
        for expiration in rule.noncurrent_version_expiration : expiration.noncurrent_days
      ]
    ]) == [45]
    error_message = "Old versions must be kept for noncurrent_days."
  }
  assert {
    condition = flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.images.rule : [
        for upload in rule.abort_incomplete_multipart_upload : upload.days_after_initiation
      ]
    ]) == [1]
    error_message = "Parts of broken uploads must go after a day."
  }
  assert {
    condition = [
      for statement in data.aws_iam_policy_document.images.statement : statement.effect if statement.effect != "Deny"
    ] == []
    error_message = "The image bucket's policy only refuses: what is allowed is in the role's own policy."
  }
  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.images.statement :
      toset(flatten(statement.condition[*].values)) if statement.sid == "DenyImagesToOthers"
    ]) == toset(["arn:aws:iam::123456789012:role/radiology-host", "arn:aws:iam::123456789012:role/radiology-backup"])
    error_message = "Images must be refused to all but the archive and the roles that are named."
  }
  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.images.statement :
      toset(statement.condition[*].test) if statement.sid == "DenyImagesToOthers"
    ]) == toset(["ArnNotEquals"])
    error_message = "The refusal must be for whoever is none of them."
  }
  assert {
    condition = alltrue([
      for policy in [data.aws_iam_policy_document.images, data.aws_iam_policy_document.logs] : anytrue([
        for statement in policy.statement :
        statement.effect == "Deny" && statement.actions == toset(["s3:*"]) && contains(statement.condition[*].variable, "aws:SecureTransport")
      ])
    ])
    error_message = "Both buckets must refuse requests without TLS."
  }
  assert {
    condition = !anytrue([
      for statement in data.aws_iam_policy_document.images.statement :
      statement.effect == "Deny" && length(setintersection(statement.actions, ["s3:DeleteObject*", "s3:DeleteObjectVersion"])) > 0
    ])
    error_message = "Outside production terraform destroy must be able to empty the bucket."
  }
  assert {
    condition     = aws_s3_bucket.images.force_destroy && aws_s3_bucket.logs.force_destroy
    error_message = "Outside production terraform destroy must be able to empty the buckets."
  }
}

run "production_keeps_images_and_logs_locked_and_replicated" {
  variables {
    production         = true
    object_lock_days   = 30
    replica_bucket_arn = "arn:aws:s3:::radiology-replica"
    replica_key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/22222222-2222-2222-2222-222222222222"
  }

  module {
    source = "./modules/storage"
  }

  assert {
    condition     = !aws_s3_bucket.images.force_destroy && !aws_s3_bucket.logs.force_destroy
    error_message = "In production terraform destroy must not empty buckets."
  }
  assert {
    condition = alltrue([
      for policy in [data.aws_iam_policy_document.images, data.aws_iam_policy_document.logs] : anytrue([
        for statement in policy.statement :
        statement.effect == "Deny" && contains(statement.actions, "s3:DeleteObjectVersion") && length(statement.condition) == 0
      ])
    ])
    error_message = "In production nobody removes versions."
  }
  assert {
    condition     = aws_s3_bucket_object_lock_configuration.images[0].rule[0].default_retention[0].days == 30
    error_message = "object_lock_days must lock."
  }
  assert {
    condition = (
      aws_s3_bucket_replication_configuration.images[0].rule[0].destination[0].encryption_configuration[0].replica_kms_key_id == var.replica_key_arn &&
      aws_s3_bucket_replication_configuration.images[0].rule[0].source_selection_criteria[0].sse_kms_encrypted_objects[0].status == "Enabled" &&
      aws_s3_bucket_replication_configuration.images[0].rule[0].delete_marker_replication[0].status == "Disabled"
    )
    error_message = "Encrypted images must be replicated, encrypted, and deletions must not."
  }
  assert {
    condition = contains(one([
      for statement in data.aws_iam_policy_document.images.statement :
      flatten(statement.condition[*].values) if statement.sid == "DenyImagesToOthers"
    ]), aws_iam_role.replication[0].arn)
    error_message = "The bucket's policy must let S3's own replication read."
  }
  assert {
    condition     = contains(data.aws_iam_policy_document.replication[0].statement[4].condition[*].values[0], "s3.eu-west-1.amazonaws.com")
    error_message = "The replica's key must be used through S3 of the replica's region."
  }
}

run "a_replica_without_a_key_and_a_wildcard_among_the_roles_are_refused" {
  command = plan

  variables {
    replica_bucket_arn = "arn:aws:s3:::radiology-replica"
    other_role_arns    = ["arn:aws:iam::123456789012:role/*"]
  }

  module {
    source = "./modules/storage"
  }

  expect_failures = [var.replica_key_arn, var.other_role_arns]
}

run "keys_rotate" {
  module {
    source = "./modules/keys"
  }

  assert {
    condition     = aws_kms_key.data.enable_key_rotation && aws_kms_key.logs.enable_key_rotation
    error_message = "Keys must rotate."
  }
  assert {
    condition     = aws_kms_key.data.deletion_window_in_days == 30 && aws_kms_key.logs.deletion_window_in_days == 30
    error_message = "Outside production keys go as soon as AWS lets them."
  }
  assert {
    condition     = length(data.aws_iam_policy_document.data.statement) == 1
    error_message = "In topology single the data key is for the account's own policies only."
  }
}

run "keys_of_production_can_be_called_back_for_a_month" {
  variables {
    production = true
    topology   = "ha"
  }

  module {
    source = "./modules/keys"
  }

  assert {
    condition     = aws_kms_key.data.deletion_window_in_days == 30 && aws_kms_key.logs.deletion_window_in_days == 30
    error_message = "In production a key's deletion must wait 30 days."
  }
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.data.statement :
      anytrue([for principal in statement.principals : contains(principal.identifiers, "*")])
      ? anytrue([for condition in statement.condition : condition.variable == "aws:PrincipalArn"])
      && anytrue([for condition in statement.condition : condition.variable == "kms:CallerAccount"])
      : true
    ])
    error_message = "A key's policy that names everybody must narrow it to one role of the account."
  }
}

run "china_is_refused_in_words" {
  command = plan

  variables {
    partition = "aws-cn"
  }

  module {
    source = "./modules/keys"
  }

  expect_failures = [var.partition]
}
