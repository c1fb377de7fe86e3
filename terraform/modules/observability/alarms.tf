# What somebody should look at. Thresholds are late enough that an alarm means something, early enough to act on.
locals {
  ha   = var.topology == "ha"
  gibi = pow(1024, 3)

  database = { DBInstanceIdentifier = var.database_identifier }
  host     = local.ha ? { AutoScalingGroupName = var.autoscaling_group } : { InstanceId = var.instance_id }

  alarms = merge(
    {
      host-cpu = {
        description = "Hosts have worked at more than 90 % for half an hour: take a larger instance_type"
        namespace   = "AWS/EC2", metric = "CPUUtilization", dimensions = local.host
        statistic   = "Average", above = true, threshold = 90, period = 300, periods = 6, missing = "notBreaching"
      }
      host-disk = {
        description = "A host's disk is 85 % full: make the cache smaller, or enlarge disk_size (topology single: then reboot the host)"
        namespace   = local.namespace, metric = "disk-used", dimensions = {}
        statistic   = "Maximum", above = true, threshold = 85, period = 300, periods = 2, missing = "notBreaching"
      }
      host-memory = {
        description = "A host's memory is 95 % in use: take a larger instance_type"
        namespace   = local.namespace, metric = "memory-used", dimensions = {}
        statistic   = "Maximum", above = true, threshold = 95, period = 300, periods = 3, missing = "notBreaching"
      }
      host-errors = {
        description = "A host reports errors: see the log group /orthweb/${var.name}/host"
        namespace   = local.namespace, metric = "host-errors", dimensions = {}
        statistic   = "Sum", above = true, threshold = 5, period = 300, periods = 2, missing = "notBreaching"
      }
      # Long enough for a new site: its database takes some ten minutes.
      site-silent = {
        description = "No host has said for half an hour how it is: see Session Manager and the instance's console output"
        namespace   = local.namespace, metric = "site-healthy", dimensions = {}
        statistic   = "SampleCount", above = false, threshold = 1, period = 600, periods = 3, missing = "breaching"
      }
      site-unhealthy = {
        description = "A host has said for five minutes that the site does not work on it"
        namespace   = local.namespace, metric = "site-healthy", dimensions = {}
        statistic   = "Minimum", above = false, threshold = 1, period = 60, periods = 5, missing = "notBreaching"
      }
      # Hosts renew what they made themselves a month before its end.
      certificate-days = {
        description = "A certificate of the site ends within two weeks: replace your own (orthweb up), or see why hosts do not renew theirs"
        namespace   = local.namespace, metric = "certificate-days", dimensions = {}
        statistic   = "Minimum", above = false, threshold = 14, period = 3600, periods = 1, missing = "notBreaching"
      }
      archive-errors = {
        description = "The archive reports many errors: see the log group /orthweb/${var.name}/containers"
        namespace   = local.namespace, metric = "archive-errors", dimensions = {}
        statistic   = "Sum", above = true, threshold = 50, period = 300, periods = 2, missing = "notBreaching"
      }
      failed-sign-ins = {
        description = "Many wrong passwords: somebody may be guessing. The edge's log says from which address"
        namespace   = local.namespace, metric = "failed-sign-ins", dimensions = {}
        statistic   = "Sum", above = true, threshold = 30, period = 300, periods = 1, missing = "notBreaching"
      }
      database-cpu = {
        description = "The database has worked at more than 90 % for half an hour: take a larger database_instance_class"
        namespace   = "AWS/RDS", metric = "CPUUtilization", dimensions = local.database
        statistic   = "Average", above = true, threshold = 90, period = 300, periods = 6, missing = "notBreaching"
      }
      # RDS enlarges the volume when less than a tenth is free: half of that means that it no longer can.
      database-storage = {
        description = "The database's volume is nearly full and has not grown: raise database_max_storage"
        namespace   = "AWS/RDS", metric = "FreeStorageSpace", dimensions = local.database
        statistic   = "Minimum", above = false, threshold = floor(var.database_storage * local.gibi * 0.05), period = 300, periods = 3, missing = "notBreaching"
      }
      database-memory = {
        description = "The database has less than 200 MiB of memory left: take a larger database_instance_class"
        namespace   = "AWS/RDS", metric = "FreeableMemory", dimensions = local.database
        statistic   = "Minimum", above = false, threshold = 200 * 1024 * 1024, period = 300, periods = 3, missing = "notBreaching"
      }
      # PostgreSQL on the smallest class that is recommended admits some 400.
      database-connections = {
        description = "The database has more than 300 connections: fewer index connections for each process, or a larger class"
        namespace   = "AWS/RDS", metric = "DatabaseConnections", dimensions = local.database
        statistic   = "Maximum", above = true, threshold = 300, period = 300, periods = 3, missing = "notBreaching"
      }
    },
    local.ha ? {
      host-status = {
        description = "EC2's own checks of a host fail: Auto Scaling replaces it"
        namespace   = "AWS/EC2", metric = "StatusCheckFailed", dimensions = local.host
        statistic   = "Maximum", above = true, threshold = 0, period = 60, periods = 5, missing = "notBreaching"
      }
    } : {},
    # The services by name: `terraform import` must know the keys while there are no target groups.
    local.ha ? merge([for service in ["dicom", "https"] : {
      "unhealthy-${service}" = {
        description = "The load balancer finds a host of ${service} unhealthy: the others carry on"
        namespace   = "AWS/NetworkELB", metric = "UnHealthyHostCount"
        dimensions  = { LoadBalancer = var.load_balancer_arn_suffix, TargetGroup = var.target_group_arn_suffixes[service] }
        statistic   = "Maximum", above = true, threshold = 0, period = 60, periods = 5, missing = "notBreaching"
      }
      "no-host-${service}" = {
        description = "The load balancer finds no healthy host of ${service}: the site does not answer"
        namespace   = "AWS/NetworkELB", metric = "HealthyHostCount"
        dimensions  = { LoadBalancer = var.load_balancer_arn_suffix, TargetGroup = var.target_group_arn_suffixes[service] }
        statistic   = "Maximum", above = false, threshold = 1, period = 60, periods = 3, missing = "breaching"
      }
    }]...) : {},
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.above ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  depends_on = [aws_sns_topic_policy.alarms]
}

# In topology single AWS repairs the instance by itself: it moves it to other hardware, or starts it again.
resource "aws_cloudwatch_metric_alarm" "repair" {
  for_each = local.ha ? {} : {
    StatusCheckFailed_Instance = { action = "reboot", minutes = 5, description = "The host's system does not answer: EC2 starts it again" }
    StatusCheckFailed_System   = { action = "recover", minutes = 2, description = "AWS's hardware fails: EC2 moves the host" }
  }

  alarm_name          = "${var.name}-host-${each.value.action}"
  alarm_description   = each.value.description
  namespace           = "AWS/EC2"
  metric_name         = each.key
  dimensions          = local.host
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = each.value.minutes
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn, "arn:${var.partition}:automate:${var.region}:ec2:${each.value.action}"]
  ok_actions          = [aws_sns_topic.alarms.arn]

  depends_on = [aws_sns_topic_policy.alarms]
}
