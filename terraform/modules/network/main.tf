terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

data "aws_ec2_instance_type_offerings" "zones" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

data "aws_availability_zones" "this" {
  #checkov:skip=CKV_AWS_394:A zone that AWS adds moves nothing: subnets ignore a change of their zone.
  filter {
    name   = "zone-type"
    values = ["availability-zone"]
  }
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required", "opted-in"]
  }
}

locals {
  tiers        = ["public", "private", "isolated"]
  zone_indexes = range(var.zone_count)

  # Some zones lack an instance type, and which letter they have differs between accounts.
  zones_offered = [
    for zone in sort(data.aws_availability_zones.this.names) :
    zone if contains(data.aws_ec2_instance_type_offerings.zones.locations, zone)
  ]

  # "tier-index": each tier has a quarter of the VPC, so that a third zone moves no subnet.
  subnets = merge([
    for t, tier in local.tiers : {
      for i in local.zone_indexes : "${tier}-${i}" => {
        tier = tier
        zone = i
        cidr = cidrsubnet(cidrsubnet(var.vpc_cidr, 2, t), 4, i)
      }
    }
  ]...)

  nats = toset([for i in var.nat == "none" ? [] : var.nat == "single" ? [0] : local.zone_indexes : tostring(i)])

  # What a host calls: its parameters and secrets, its database's address, container images, logs, the launch signal and
  # Session Manager.
  endpoint_services = ["autoscaling", "ecr.api", "ecr.dkr", "logs", "rds", "secretsmanager", "ssm", "ssmmessages"]
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Without rules: whatever somebody starts in this VPC without a security group can reach nothing and is reached by
# nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-default-closed" }
}

resource "aws_subnet" "this" {
  for_each = local.subnets

  vpc_id                  = aws_vpc.this.id
  cidr_block              = each.value.cidr
  availability_zone       = try(local.zones_offered[each.value.zone], null)
  map_public_ip_on_launch = false

  tags = { Name = "${var.name}-${each.key}" }

  lifecycle {
    # A zone that AWS adds, or another instance type, must not move subnets: the database and its hosts live in them.
    ignore_changes = [availability_zone]

    precondition {
      condition = length(local.zones_offered) >= var.zone_count
      error_message = join(" ", [
        "instance_type: ${var.instance_type} is offered in ${length(local.zones_offered)} zones of ${var.region},",
        "zone_count wants ${var.zone_count}. Choose another type or region.",
      ])
    }
  }
}

# --- Ways out

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_eip" "nat" {
  #checkov:skip=CKV2_AWS_19:The address belongs to a NAT gateway, not to an instance.
  for_each = local.nats

  domain = "vpc"

  tags = { Name = "${var.name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = local.nats

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.this["public-${each.key}"].id

  tags = { Name = "${var.name}-${each.key}" }

  depends_on = [aws_route.internet]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table" "private" {
  count = var.zone_count

  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_route" "nat" {
  count = var.nat == "none" ? 0 : var.zone_count

  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.nat == "single" ? "0" : tostring(count.index)].id
}

# The database calls nobody: no route leads out of its subnets.
resource "aws_route_table" "isolated" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-isolated" }
}

resource "aws_route_table_association" "this" {
  for_each = local.subnets

  subnet_id = aws_subnet.this[each.key].id
  route_table_id = {
    public   = aws_route_table.public.id
    private  = aws_route_table.private[each.value.zone].id
    isolated = aws_route_table.isolated.id
  }[each.value.tier]
}

# A second lock beside the database's security group: PostgreSQL from inside the VPC and its answers, nothing else.
resource "aws_network_acl" "isolated" {
  #checkov:skip=CKV2_AWS_1:It is attached to the isolated subnets, which checkov does not find in a list that is computed.
  vpc_id     = aws_vpc.this.id
  subnet_ids = [for i in local.zone_indexes : aws_subnet.this["isolated-${i}"].id]

  ingress {
    rule_no    = 100
    action     = "allow"
    protocol   = "tcp"
    cidr_block = var.vpc_cidr
    from_port  = 5432
    to_port    = 5432
  }

  egress {
    rule_no    = 100
    action     = "allow"
    protocol   = "tcp"
    cidr_block = var.vpc_cidr
    from_port  = 1024
    to_port    = 65535
  }

  tags = { Name = "${var.name}-isolated" }
}

# --- AWS services without the internet

# S3 for what a host needs: the account's own images, layers of container images, Session Manager's agent. Whoever takes
# over a host cannot carry images to a bucket of his own through it.
data "aws_iam_policy_document" "s3" {
  #checkov:skip=CKV_AWS_283:Images are for the account's own principals by condition; the agent's package is public at AWS itself.
  statement {
    sid = "Images"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetBucketLocation",
      "s3:GetObject",
      "s3:GetObjectVersion",
      "s3:ListBucket",
      "s3:ListBucketMultipartUploads",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    resources = [var.images_bucket_arn, "${var.images_bucket_arn}/*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [var.account_id]
    }
  }

  statement {
    sid     = "LayersAndAgent"
    actions = ["s3:GetObject"]
    resources = [
      "arn:${var.partition}:s3:::prod-${var.region}-starport-layer-bucket/*",
      "arn:${var.partition}:s3:::amazon-ssm-${var.region}/*",
    ]

    # The agent's package is public and fetched without a signature: there is no account to ask for.
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["true"]
    }
  }
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat([aws_route_table.public.id], aws_route_table.private[*].id)
  policy            = data.aws_iam_policy_document.s3.json

  tags = { Name = "${var.name}-s3" }
}

# Who may call through an endpoint; what they may do there is for their own policies. Credentials of another account,
# which would carry data out, are refused.
data "aws_iam_policy_document" "interface" {
  for_each = toset(local.endpoint_services)

  statement {
    sid       = "OwnAccount"
    actions   = ["${split(".", each.key)[0]}:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = var.interface_endpoints ? toset(local.endpoint_services) : toset([])

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  policy              = data.aws_iam_policy_document.interface[each.key].json
  security_group_ids  = [var.endpoints_security_group_id]

  # An endpoint costs by the hour in each of its zones: one zone where one host is.
  subnet_ids = [
    for i in local.zone_indexes : aws_subnet.this["private-${i}"].id if var.topology == "ha" || i == 0
  ]

  tags = { Name = "${var.name}-${each.key}" }
}

# --- Flow logs: who talked to whom, when, how much; no content

resource "aws_cloudwatch_log_group" "flow" {
  #checkov:skip=CKV_AWS_338:The default is 400 days; a site may decide on less.
  name              = "/orthweb/${var.name}/vpc-flow"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_key_arn
}

data "aws_iam_policy_document" "flow_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${var.partition}:ec2:${var.region}:${var.account_id}:vpc-flow-log/*"]
    }
  }
}

resource "aws_iam_role" "flow" {
  name               = "${var.name}-vpc-flow"
  description        = "VPC flow logs of ${var.name} to CloudWatch Logs"
  assume_role_policy = data.aws_iam_policy_document.flow_trust.json
}

# Not logs:CreateLogGroup: the group would come back by itself after a destroy.
data "aws_iam_policy_document" "flow" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.flow.arn}:*"]
  }
}

resource "aws_iam_role_policy" "flow" {
  name   = "write"
  role   = aws_iam_role.flow.id
  policy = data.aws_iam_policy_document.flow.json
}

resource "aws_flow_log" "this" {
  vpc_id                   = aws_vpc.this.id
  traffic_type             = "ALL"
  log_destination_type     = "cloud-watch-logs"
  log_destination          = aws_cloudwatch_log_group.flow.arn
  iam_role_arn             = aws_iam_role.flow.arn
  max_aggregation_interval = 600

  tags = { Name = var.name }
}
