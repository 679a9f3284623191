# A table with requests on demand, as `setup` of a program creates it, and the alarms of its throttled requests. Module events
# and module widgets use it.

resource "aws_dynamodb_table" "this" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  # checkov:skip=CKV_AWS_28:recovery_period_days is null only for tables whose loss costs nothing.
  name         = var.name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = var.hash_key
  range_key    = var.range_key

  dynamic "attribute" {
    for_each = merge({ for name in compact([var.hash_key, var.range_key]) : name => "S" }, var.index_attributes)

    content {
      name = attribute.key
      type = attribute.value
    }
  }

  dynamic "global_secondary_index" {
    for_each = var.indexes

    content {
      name               = global_secondary_index.key
      hash_key           = global_secondary_index.value.hash_key
      range_key          = global_secondary_index.value.range_key
      projection_type    = "INCLUDE"
      non_key_attributes = global_secondary_index.value.attributes
    }
  }

  dynamic "ttl" {
    for_each = var.expires ? [1] : []

    content {
      enabled        = true
      attribute_name = "expires_at"
    }
  }

  stream_enabled   = var.stream != null
  stream_view_type = var.stream

  point_in_time_recovery {
    enabled                 = var.recovery_period_days != null
    recovery_period_in_days = var.recovery_period_days
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  dynamic "on_demand_throughput" {
    for_each = var.max_write_units == null ? [] : [1]

    content {
      max_write_request_units = var.max_write_units
    }
  }

  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags
}

locals {
  # DynamoDB reports throttled requests of an index under the index alone.
  throttled = merge(
    { (var.alarm_prefix) = { TableName = aws_dynamodb_table.this.name } },
    { for index in keys(var.indexes) : "${var.alarm_prefix}-${index}" => { TableName = aws_dynamodb_table.this.name, GlobalSecondaryIndexName = index } },
  )
  throttles = merge(flatten([
    for what, dimensions in local.throttled : [
      for kind in ["Read", "Write"] : { "${what}-${lower(kind)}s-throttled" = { kind = kind, dimensions = dimensions } }
    ]
  ])...)
}

# DynamoDB reports throttling only when it happens, so missing data is healthy.
resource "aws_cloudwatch_metric_alarm" "throttled" {
  for_each = local.throttles

  alarm_name          = each.key
  alarm_description   = "DynamoDB throttles ${lower(each.value.kind)}s of ${each.value.dimensions.TableName}${try(" through its index ${each.value.dimensions.GlobalSecondaryIndexName}", "")}. ${var.runbook}"
  namespace           = "AWS/DynamoDB"
  metric_name         = "${each.value.kind}ThrottleEvents"
  dimensions          = each.value.dimensions
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 15
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}
