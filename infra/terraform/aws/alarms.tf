# DynamoDB reports these metrics only when the event happens, so missing data is healthy. Failed conditions have no
# alarm, because every stale scan causes one.

locals {
  # DynamoDB reports errors and latency per operation, not for the whole table.
  operations = merge({ "" = "PutItem" }, var.batch_writes ? { "-of-batches" = "BatchExecuteStatement" } : {})

  changes_tables = { for what, table in { history = var.history_table_name, leases = var.lease_table_name } : what => table if table != null }

  # DynamoDB reports throttled writes of an index under the index alone.
  webhooks_throttles = merge(
    var.webhooks_table_name == null ? {} : {
      webhooks          = { TableName = var.webhooks_table_name }
      webhooks-by-owner = { TableName = var.webhooks_table_name, GlobalSecondaryIndexName = "by-owner" }
    },
    var.deliveries_table_name == null ? {} : {
      deliveries        = { TableName = var.deliveries_table_name }
      deliveries-by-due = { TableName = var.deliveries_table_name, GlobalSecondaryIndexName = "by-due" }
    },
  )

  alarms = merge(
    {
      write-throttled = {
        runbook    = "write-throttled"
        text       = "DynamoDB throttles writes to ${var.table_name}."
        metric     = "WriteThrottleEvents"
        statistic  = "Sum"
        threshold  = 0
        periods    = 15
        dimensions = { TableName = var.table_name }
      }
    },
    {
      # A throttled index throttles writes to the table, but DynamoDB reports it under the index alone.
      for index in keys(local.indexes) : "write-throttled-${index}" => {
        runbook    = "write-throttled"
        text       = "DynamoDB throttles writes to ${var.table_name} because of its index ${index}."
        metric     = "WriteThrottleEvents"
        statistic  = "Sum"
        threshold  = 0
        periods    = 15
        dimensions = { TableName = var.table_name, GlobalSecondaryIndexName = index }
      }
    },
    {
      # Nothing is lost while the stream keeps its records, which is a day.
      for what, table in local.changes_tables : "${what}-throttled" => {
        runbook    = "history-throttled"
        text       = "DynamoDB throttles writes to ${table}."
        metric     = "WriteThrottleEvents"
        statistic  = "Sum"
        threshold  = 0
        periods    = 15
        dimensions = { TableName = table }
      }
    },
    {
      # Then changes wait in the stream, and due deliveries in their table.
      for what, dimensions in local.webhooks_throttles : "${what}-throttled" => {
        runbook    = "webhooks-throttled"
        text       = "DynamoDB throttles writes to ${dimensions.TableName}${try(" because of its index ${dimensions.GlobalSecondaryIndexName}", "")}."
        metric     = "WriteThrottleEvents"
        statistic  = "Sum"
        threshold  = 0
        periods    = 15
        dimensions = dimensions
      }
    },
    {
      for suffix, operation in local.operations : "store-errors${suffix}" => {
        runbook    = "store-errors"
        text       = "DynamoDB returns server errors for ${operation} on ${var.table_name}."
        metric     = "SystemErrors"
        statistic  = "Sum"
        threshold  = 10
        periods    = 5
        dimensions = { TableName = var.table_name, Operation = operation }
      }
    },
    {
      for suffix, operation in local.operations : "store-slow${suffix}" => {
        runbook    = "store-slow"
        text       = "${operation} on ${var.table_name} takes more than 100 ms on average."
        metric     = "SuccessfulRequestLatency"
        statistic  = "Average"
        threshold  = 100
        periods    = 10
        dimensions = { TableName = var.table_name, Operation = operation }
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "table" {
  for_each = local.alarms

  alarm_name          = "${var.table_name}-${each.key}"
  alarm_description   = "${each.value.text} docs/runbook.md#${each.value.runbook}"
  namespace           = "AWS/DynamoDB"
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

# Exists only if the table has its own limit.
resource "aws_cloudwatch_metric_alarm" "near_write_limit" {
  count = var.max_write_units == null ? 0 : 1

  alarm_name          = "${var.table_name}-near-write-limit"
  alarm_description   = "Writes to ${var.table_name} use more than 80 % of max_write_units. docs/runbook.md#near-write-limit"
  namespace           = "AWS/DynamoDB"
  metric_name         = "ConsumedWriteCapacityUnits"
  dimensions          = { TableName = var.table_name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  # The metric is a sum over the period of 60 s, and the limit is per second.
  threshold          = var.max_write_units * 60 * 0.8
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_topic_arns
  ok_actions         = var.alarm_topic_arns
  tags               = var.tags
}
