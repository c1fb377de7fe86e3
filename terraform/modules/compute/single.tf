# Topology single: one instance behind an Elastic IP address. Both hang on a network interface of its own, so that the
# address is there when the instance boots, and stays when the instance is replaced.
resource "aws_network_interface" "this" {
  count = local.single ? 1 : 0

  description     = "Host of ${var.name}"
  subnet_id       = var.public_subnet_ids[0]
  security_groups = [var.host_security_group_id]
  tags            = { Name = var.name }
}

resource "aws_eip" "this" {
  #checkov:skip=CKV2_AWS_19:It belongs to the host's network interface
  count = local.single ? 1 : 0

  domain = "vpc"
  tags   = { Name = var.name }
}

resource "aws_eip_association" "this" {
  count = local.single ? 1 : 0

  allocation_id        = aws_eip.this[0].id
  network_interface_id = aws_network_interface.this[0].id

  depends_on = [terraform_data.internet] # an address needs the internet gateway
}

resource "aws_instance" "this" {
  #checkov:skip=CKV_AWS_126:Status checks come every minute anyway; five minutes are enough for the rest
  count = local.single ? 1 : 0

  ami                     = local.ami_id
  instance_type           = var.instance_type
  key_name                = one(aws_key_pair.this[*].key_name)
  iam_instance_profile    = aws_iam_instance_profile.host.name
  ebs_optimized           = true
  disable_api_termination = var.production
  user_data               = local.user_data

  network_interface {
    device_index         = 0
    network_interface_id = aws_network_interface.this[0].id
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = local.metadata_hops
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.disk_size
    encrypted   = true
    kms_key_id  = var.data_key_arn
    tags        = { Name = var.name }
  }

  tags = { Name = var.name }

  lifecycle {
    # Only the first boot reads it; the provider would stop the instance to change it.
    ignore_changes = [user_data]
  }

  depends_on = [aws_eip_association.this, aws_iam_role_policy.host, terraform_data.internet]
}
