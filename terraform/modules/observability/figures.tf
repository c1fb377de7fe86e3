# Figures that come out of the logs. The container logs hold what the programs write: the edge one JSON object for each
# request, Orthanc lines that begin with their level. The host log holds the host agent's own JSON objects: with "level"
# in each, and one with "event": "figures" every minute.
locals {
  namespace = "Orthweb/${var.name}"

  figures = {
    failed-sign-ins = {
      log_group = "containers"
      pattern   = "{ $.details = \"invalid_credential_for_basic_auth\" }" # a browser's first request, without any, is none
      value     = "1"
      unit      = "Count"
    }
    archive-errors = {
      log_group = "containers"
      pattern   = "%^E[01][0-9][0-3][0-9]%" # Orthanc: E, month and day
      value     = "1"
      unit      = "Count"
    }
    edge-errors = {
      log_group = "containers"
      pattern   = "{ $.status >= 500 }"
      value     = "1"
      unit      = "Count"
    }
    host-errors = {
      log_group = "host"
      pattern   = "{ $.level = \"error\" }"
      value     = "1"
      unit      = "Count"
    }
    disk-used = {
      log_group = "host"
      pattern   = "{ $.event = \"figures\" && $.disk_used_percent >= 0 }"
      value     = "$.disk_used_percent"
      unit      = "Percent"
    }
    memory-used = {
      log_group = "host"
      pattern   = "{ $.event = \"figures\" && $.memory_used_percent >= 0 }"
      value     = "$.memory_used_percent"
      unit      = "Percent"
    }
    certificate-days = {
      log_group = "host"
      pattern   = "{ $.event = \"figures\" && $.certificate_days >= -10000 }"
      value     = "$.certificate_days"
      unit      = "Count"
    }
    site-healthy = {
      log_group = "host"
      pattern   = "{ $.event = \"figures\" && $.healthy >= 0 }" # 1 or 0
      value     = "$.healthy"
      unit      = "Count"
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.figures

  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.this[each.value.log_group].name
  pattern        = each.value.pattern

  metric_transformation {
    namespace = local.namespace
    name      = each.key
    value     = each.value.value
    unit      = each.value.unit
  }
}
