locals {
  host_metric = local.ha ? ["AutoScalingGroupName", var.autoscaling_group] : ["InstanceId", var.instance_id]

  graphs = [
    { title = "Hosts: processor (%)", stat = "Average", metrics = [concat(["AWS/EC2", "CPUUtilization"], local.host_metric)] },
    { title = "Hosts: disk and memory in use (%)", stat = "Maximum", metrics = [[local.namespace, "disk-used"], [local.namespace, "memory-used"]] },
    {
      title   = "Hosts: network (bytes)", stat = "Sum",
      metrics = [concat(["AWS/EC2", "NetworkIn"], local.host_metric), concat(["AWS/EC2", "NetworkOut"], local.host_metric)]
    },
    { title = "Site works (1) or not (0)", stat = "Minimum", metrics = [[local.namespace, "site-healthy"]] },
    {
      title   = "Errors and failed sign-ins", stat = "Sum",
      metrics = [for figure in ["archive-errors", "edge-errors", "host-errors", "failed-sign-ins"] : [local.namespace, figure]]
    },
    {
      title   = "Database: processor (%)", stat = "Average",
      metrics = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.database_identifier]]
    },
    {
      title   = "Database: read and write latency (s)", stat = "Average",
      metrics = [for metric in ["ReadLatency", "WriteLatency"] : ["AWS/RDS", metric, "DBInstanceIdentifier", var.database_identifier]]
    },
    {
      title   = "Database: connections", stat = "Maximum",
      metrics = [["AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier", var.database_identifier]]
    },
    {
      title   = "Database: free storage (bytes)", stat = "Minimum",
      metrics = [["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", var.database_identifier]]
    },
  ]

  columns = 3
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.name}-${var.region}" # dashboards of all regions share their names

  dashboard_body = jsonencode({
    widgets = concat(
      [for place, graph in local.graphs : {
        type   = "metric"
        x      = 8 * (place % local.columns)
        y      = 6 * floor(place / local.columns)
        width  = 8
        height = 6
        properties = {
          title   = graph.title
          metrics = graph.metrics
          stat    = graph.stat
          period  = 300
          region  = var.region
          view    = "timeSeries"
        }
      }],
      [{
        type   = "log"
        x      = 0
        y      = 6 * ceil(length(local.graphs) / local.columns)
        width  = 24
        height = 6
        properties = {
          title  = "What hosts report, newest first"
          region = var.region
          view   = "table"
          query  = "SOURCE '${aws_cloudwatch_log_group.this["host"].name}' | fields @timestamp, @logStream, level, event, message | filter event != 'figures' | sort @timestamp desc | limit 50"
        }
      }],
    )
  })
}
