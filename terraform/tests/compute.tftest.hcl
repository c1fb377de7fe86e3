# The hosts of both topologies, with a mocked provider.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                   = "radiology"
  production             = false
  use_s3_storage         = true
  site_file              = ""
  site_files             = {}
  rotation_days          = 30
  region                 = "eu-central-1"
  account_id             = "123456789012"
  partition              = "aws"
  tags                   = { "orthweb:site" = "radiology" }
  vpc_id                 = "vpc-0123456789abcdef0"
  public_subnet_ids      = ["subnet-1", "subnet-2"]
  private_subnet_ids     = ["subnet-3", "subnet-4"]
  internet_gateway_id    = "igw-1"
  internet_ready         = "yes"
  host_security_group_id = "sg-1"
  ports                  = { https = 443, dicom = 11112, health = 443 }
  instance_type          = "t3.large"
  host_count             = 2
  disk_size              = 60
  ami_id                 = "ami-0fedcba9876543210"
  data_key_arn           = "arn:aws:kms:eu-central-1:123456789012:key/0"
  images_bucket_arn      = "arn:aws:s3:::radiology-images"
  images_bucket_name     = "radiology-images"
  database_identifier    = "radiology-index"
  secret_arns            = { admin = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:admin" }
  secret_names           = { admin = "orthweb/radiology/admin" }
  log_group_arns         = { host = "arn:aws:logs:eu-central-1:123456789012:log-group:host" }
  log_group_names        = { host = "/orthweb/radiology/host" }
  repository_arns        = { ops = "arn:aws:ecr:eu-central-1:123456789012:repository/radiology/ops" }
  image_references       = { archive = "archive:1", edge = "edge:1", ops = "ops:1" }
}

run "single" {
  command = plan

  module {
    source = "./modules/compute"
  }

  variables {
    production     = true
    topology       = "single"
    use_s3_storage = false
    site_files     = { "ct1-ca.pem" = "-----BEGIN CERTIFICATE-----\n" }
    hostname       = "images.example.org"
    image_references = {
      archive = "registry.example.org/orthweb/archive:1"
      edge    = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/shared/edge@sha256:0"
      ops     = "debian/ops"
    }
  }

  assert {
    condition = (
      aws_instance.this[0].metadata_options[0].http_tokens == "required" &&
      aws_instance.this[0].metadata_options[0].http_put_response_hop_limit == 1 &&
      aws_instance.this[0].root_block_device[0].encrypted && aws_instance.this[0].root_block_device[0].kms_key_id == var.data_key_arn &&
      aws_instance.this[0].disable_api_termination && length(aws_key_pair.this) == 0 && aws_instance.this[0].ami == var.ami_id
    )
    error_message = "The host must have IMDSv2, an encrypted disk, no key that was not given, and production's protection."
  }
  assert {
    condition     = aws_network_interface.this[0].subnet_id == "subnet-1"
    error_message = "The host must be in the first zone: the database is."
  }
  assert {
    condition = (
      length(data.aws_ami.debian) == 0 &&
      length(aws_lb.this) + length(aws_autoscaling_group.this) + length(aws_launch_template.this) == 0
    )
    error_message = "Topology single must neither search an image that was given nor have what ha has."
  }
  assert {
    condition = (
      aws_ssm_parameter.this["site"].value == "# All defaults.\n" &&
      aws_ssm_parameter.this["files/ct1-ca.pem"].name == "/orthweb/radiology/files/ct1-ca.pem"
    )
    error_message = "Hosts must find the site file and its files."
  }
  assert {
    condition = (
      jsondecode(aws_ssm_parameter.this["deployment"].value).store == "database" &&
      jsondecode(aws_ssm_parameter.this["deployment"].value).public_name == "images.example.org" &&
      jsondecode(aws_ssm_parameter.this["deployment"].value).lifecycle_hook == null
    )
    error_message = "The deployment must tell hosts where the images go and what the site is called."
  }
  assert {
    condition     = one(local.foreign_repositories) == "arn:aws:ecr:eu-west-1:210987654321:repository/shared/edge"
    error_message = "Hosts must be allowed to pull what is referred to in other repositories of ECR, and nothing else."
  }
  assert {
    condition     = length(base64encode(aws_instance.this[0].user_data)) < 4 * 8192 / 3
    error_message = "User data must stay below 8 kB."
  }
}

run "ha" {
  command = plan

  module {
    source = "./modules/compute"
  }

  variables {
    production                      = true
    topology                        = "ha"
    load_balancer_security_group_id = "sg-2"
    ssh_public_key                  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJlcG9ydC10aGlzLWtleS1pcy1ub3QtcmVhbC0tLS0tLS0t"
    site_file                       = "[archive]\nwriters = 2\n"
  }

  assert {
    condition = (
      aws_launch_template.this[0].metadata_options[0].http_tokens == "required" &&
      alltrue([for device in aws_launch_template.this[0].block_device_mappings : tobool(device.ebs[0].encrypted) && device.ebs[0].kms_key_id == var.data_key_arn]) &&
      aws_launch_template.this[0].vpc_security_group_ids == toset(["sg-1"])
    )
    error_message = "Hosts must have IMDSv2 and encrypted disks."
  }
  assert {
    condition = (
      toset(aws_autoscaling_group.this[0].vpc_zone_identifier) == toset(["subnet-3", "subnet-4"]) &&
      aws_autoscaling_group.this[0].health_check_type == "EC2" && aws_autoscaling_group.this[0].wait_for_capacity_timeout == "0" &&
      one(aws_autoscaling_group.this[0].initial_lifecycle_hook).default_result == "ABANDON"
    )
    error_message = "Hosts must be in private subnets, in service when they say so, and not replaced while the database fails over."
  }
  assert {
    condition = (
      aws_lb.this[0].load_balancer_type == "network" && aws_lb.this[0].enable_cross_zone_load_balancing && aws_lb.this[0].enable_deletion_protection &&
      alltrue([for listener in aws_lb_listener.this : listener.protocol == "TCP" && listener.tcp_idle_timeout_seconds == 3600])
    )
    error_message = "The load balancer must pass TCP through, for as long as an association may be silent."
  }
  assert {
    condition     = aws_launch_template.this[0].metadata_options[0].http_put_response_hop_limit == 2
    error_message = "The archive must reach its credentials from within a container's network."
  }
  assert {
    condition = alltrue([
      for group in aws_lb_target_group.this :
      !group.target_health_state[0].enable_unhealthy_connection_termination && group.target_health_state[0].unhealthy_draining_interval >= 335
    ])
    error_message = "What is open to a host that is about to leave must go on for as long as that waits for it."
  }
  assert {
    condition = alltrue([
      for preferences in aws_autoscaling_group.this[0].instance_refresh[0].preferences :
      preferences.min_healthy_percentage == 100 && preferences.max_healthy_percentage * var.host_count < 200 * var.host_count && preferences.instance_warmup >= 300
    ])
    error_message = "Hosts must be replaced one after the other, each when the load balancer sends to it."
  }
  assert {
    condition = alltrue([
      for group in aws_lb_target_group.this :
      group.health_check[0].path == "/healthz" && group.health_check[0].protocol == "HTTPS" && tobool(group.preserve_client_ip) && tobool(group.connection_termination)
    ])
    error_message = "Both services must follow the health of the whole site, and hosts must see who came."
  }
  assert {
    condition     = length(aws_instance.this) + length(aws_eip.this) == 0
    error_message = "Topology ha must not have what single has."
  }
}

run "a_new_image_is_no_new_generation_of_hosts" {
  command = plan

  module {
    source = "./modules/compute"
  }

  variables {
    topology                        = "ha"
    load_balancer_security_group_id = "sg-2"
    image_references                = { archive = "archive:2", edge = "edge:2", ops = "ops:2" }
  }

  assert {
    condition     = output.generation == run.ha.generation && strcontains(local.user_data, "ops:2")
    error_message = "A new image must be what new hosts start with, and no reason to replace those that run."
  }
}
