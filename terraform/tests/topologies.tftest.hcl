# The whole of each topology with a mocked provider: how the modules fit together, and what must hold for all of them.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "radiology"
  https_cidr_blocks = ["203.0.113.0/24"]
  dicom_cidr_blocks = ["198.51.100.0/24"]
  # An apply under test needs a value for every write-only variable.
  given_secrets   = ["admin", "certificate"]
  admin_password  = "correct horse battery"
  tls_certificate = "-----BEGIN CERTIFICATE-----\n"
  tls_key         = "-----BEGIN PRIVATE KEY-----\n"
}

run "single" {
  variables {
    instance_type = "g6.xlarge" # the g of a graphics instance is not that of an ARM processor
  }

  assert {
    condition = (
      output.autoscaling_group == null && output.instance_id != null &&
      output.dns_target == module.compute.public_ip
    )
    error_message = "Topology single must be an instance with an address of its own."
  }
  assert {
    condition = (
      output.site_url == "https://${module.compute.public_name}" &&
      output.hostinfo == "admin@${module.compute.public_name}"
    )
    error_message = "Without hostname the site must be reached by the name that AWS gives."
  }
  assert {
    condition     = output.images["edge"] == "123456789012.dkr.ecr.eu-central-1.amazonaws.com/x:${var.image_tag}"
    error_message = "Images must come from the site's own repositories by default."
  }
  assert {
    condition     = alltrue([for secret, name in output.secrets : name == "orthweb/radiology/${secret}"])
    error_message = "Secrets must be named after the site."
  }
  assert {
    condition     = length(module.backup) + length(module.audit) + length(module.vpn) + length(module.dns) == 0
    error_message = "What costs extra must be asked for."
  }
}

run "ha" {
  variables {
    topology    = "ha"
    zone_count  = 3
    production  = true
    hostname    = "images.example.org"
    backup      = true
    audit       = true
    alarm_email = "images@example.org"
    images      = { edge = "registry.example.org/edge:1" }
  }

  assert {
    condition = (
      output.autoscaling_group == "radiology" && output.instance_id == null &&
      output.dns_target == module.compute.load_balancer.dns_name
    )
    error_message = "Topology ha must be a group of hosts behind a load balancer."
  }
  assert {
    condition = (
      output.site_url == "https://images.example.org" && output.dicom_endpoint == "images.example.org:11112"
    )
    error_message = "A site with a hostname must be reached by it."
  }
  assert {
    condition = (
      output.images["edge"] == "registry.example.org/edge:1" &&
      output.images["ops"] == "123456789012.dkr.ecr.eu-central-1.amazonaws.com/x:${var.image_tag}"
    )
    error_message = "An image that is given by reference must be taken, the others from the site's repositories."
  }
  assert {
    condition     = local.nat == "single"
    error_message = "Hosts in private subnets must have a way out by default."
  }
  assert {
    condition     = !strcontains(output.next_steps, "docker push registry.example.org")
    error_message = "Nobody must be told to push what is not the site's."
  }
  assert {
    condition     = terraform_data.guard.output
    error_message = "A site in production must refuse to be destroyed."
  }
}

# Also what lets the end of this test remove what the runs above made: a site in production refuses.
run "production_is_switched_off" {
  variables {
    topology   = "ha"
    production = false
  }

  assert {
    condition     = !terraform_data.guard.output
    error_message = "Applying production = false must be all that lets a destroy happen."
  }
}
