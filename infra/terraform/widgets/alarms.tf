# Module table has the alarms of throttled requests.

# At the quota of the table, DynamoDB throttles all widgets, and raising it takes days. DynamoDB reports units in use only while
# there are any, so missing data is healthy.
resource "aws_cloudwatch_metric_alarm" "quota" {
  alarm_name          = "${var.name}-widgets-near-quota"
  alarm_description   = "For 15 minutes, more than 80 % of the write quota of ${local.made["widgets"].name} have been in use. docs/widgets-runbook.md#near-quota"
  evaluation_periods  = 15
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0.8 * var.table_write_quota
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags

  metric_query {
    id          = "per_second"
    expression  = "units / PERIOD(units)"
    label       = "Write units per second"
    return_data = true
  }

  metric_query {
    id = "units"

    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = "ConsumedWriteCapacityUnits"
      dimensions  = { TableName = local.made["widgets"].name }
      stat        = "Sum"
      period      = 60
    }
  }
}
