# Topology ha: hosts in every zone behind a Network Load Balancer, which passes TCP through: TLS ends on the hosts, as
# in every other topology, and a DICOM association may be silent for an hour.
locals {
  lifecycle_hook = "${var.name}-ready"

  # What a host cannot take over while it runs. Another value replaces the hosts, one after the other.
  generation = substr(sha256(jsonencode([local.ami_id, var.instance_type, var.disk_size, local.user_data_kind])), 0, 12)

  services = {
    https = { port = var.ports.https, sticky = true }
    dicom = { port = var.ports.dicom, sticky = false }
  }
}

resource "aws_launch_template" "this" {
  count = local.ha ? 1 : 0

  name                   = "${var.name}-host"
  description            = "Hosts of ${var.name}"
  image_id               = local.ami_id
  instance_type          = var.instance_type
  key_name               = one(aws_key_pair.this[*].key_name)
  ebs_optimized          = true
  update_default_version = true
  vpc_security_group_ids = [var.host_security_group_id]
  user_data              = base64encode(local.user_data)

  iam_instance_profile {
    arn = aws_iam_instance_profile.host.arn
  }

  metadata_options {
    #checkov:skip=CKV_AWS_341:One hop more than the default: the archive reads its credentials from within a container's network
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = local.metadata_hops
  }

  block_device_mappings {
    device_name = "/dev/xvda" # the root device of Debian's images

    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_size
      encrypted             = true
      kms_key_id            = var.data_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "network-interface", "volume"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = var.name })
    }
  }
}

resource "aws_autoscaling_group" "this" {
  count = local.ha ? 1 : 0

  name                = var.name
  min_size            = var.host_count
  desired_capacity    = var.host_count
  max_size            = 2 * var.host_count # room for new hosts beside the old ones
  vpc_zone_identifier = var.private_subnet_ids
  target_group_arns   = [for group in aws_lb_target_group.this : group.arn]
  enabled_metrics     = ["GroupDesiredCapacity", "GroupInServiceInstances"]

  # The load balancer's checks ask for the whole site, the index included. When that is away for a minute, as in a
  # failover of RDS, replacing every host would turn a minute into many: the load balancer stops sending to a host, and
  # EC2's own checks replace it.
  health_check_type         = "EC2"
  health_check_grace_period = 300

  # Whoever applies this pushes the images that hosts wait for; it must not wait for the hosts.
  wait_for_capacity_timeout = "0"

  # A host is in service when it says so, after it has seen the site work; the time is enough for a new database to be
  # made.
  initial_lifecycle_hook {
    name                 = local.lifecycle_hook
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    default_result       = "ABANDON"
    heartbeat_timeout    = 3600
  }

  # Always the newest version, and replaced for another generation only: a new image is applied by running hosts
  # themselves, and is in the template for those that come later.
  launch_template {
    id      = aws_launch_template.this[0].id
    version = "$Latest"
  }

  instance_refresh {
    strategy = "Rolling"
    triggers = ["tag"]

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150 # of two hosts: one at a time
      # A new host is registered when it says that it serves; it takes minutes until the load balancer sends to it.
      instance_warmup = 300
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = var.name, "orthweb:generation" = local.generation })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  depends_on = [aws_iam_role_policy.host, terraform_data.internet]
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:A Network Load Balancer logs the connections of TLS listeners alone; these are TCP. The edge and the flow logs have them
  #checkov:skip=CKV_AWS_150:Deletion protection follows the variable production
  count = local.ha ? 1 : 0

  name                             = var.name
  load_balancer_type               = "network"
  internal                         = false
  subnets                          = var.public_subnet_ids
  security_groups                  = [var.load_balancer_security_group_id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.production

  # Not all of the internet's readiness: the NAT gateways in it take two minutes, as the load balancer does itself.
  depends_on = [terraform_data.gateway]
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends on the hosts: TCP is passed through
  for_each = local.ha ? local.services : {}

  name                   = "${var.name}-${each.key}"
  port                   = each.value.port
  protocol               = "TCP"
  vpc_id                 = var.vpc_id
  target_type            = "instance"
  preserve_client_ip     = true # the edge's log says who came
  deregistration_delay   = 300
  connection_termination = true

  # A host that is about to leave says so by being unhealthy. It gets nothing new then; what is open goes on, for as long
  # as the host waits for it: 35 seconds until it is noticed, and 300.
  target_health_state {
    enable_unhealthy_connection_termination = false
    unhealthy_draining_interval             = 360
  }

  # One answer decides for both services: the archive works, index included, and the host is not about to leave. 429 says
  # that others ask too often: who may reach HTTPS must not be able to take a host out of service by asking.
  health_check {
    protocol            = "HTTPS"
    port                = var.ports.health
    path                = "/healthz"
    matcher             = "200,429"
    interval            = 10
    timeout             = 8
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  stickiness {
    enabled = each.value.sticky
    type    = "source_ip"
  }
}

resource "aws_lb_listener" "this" {
  #checkov:skip=CKV_AWS_2:TLS ends on the hosts: TCP is passed through
  #checkov:skip=CKV_AWS_103:TLS ends on the hosts: TCP is passed through
  for_each = local.ha ? local.services : {}

  load_balancer_arn        = aws_lb.this[0].arn
  port                     = each.value.port
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = 3600

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}
