# The permissions of each role.

data "aws_region" "this" {}

locals {
  history_arns = aws_dynamodb_table.history[*].arn
  lease_arns   = aws_dynamodb_table.leases[*].arn
  # Both exist, or none.
  webhooks_arns   = aws_dynamodb_table.webhooks[*].arn
  deliveries_arns = aws_dynamodb_table.deliveries[*].arn

  read_records = {
    sid       = "ReadRecords"
    actions   = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable"]
    resources = [aws_dynamodb_table.scans.arn, "${aws_dynamodb_table.scans.arn}/index/*"]
  }

  read_stream = {
    sid       = "ReadChanges"
    actions   = ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"]
    resources = ["${aws_dynamodb_table.scans.arn}/stream/*"]
  }

  keep_leases = {
    sid       = "KeepLeases"
    actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Scan", "dynamodb:DescribeTable"]
    resources = local.lease_arns
  }

  write_history = {
    sid = "WriteHistory"
    actions = [
      "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query",
      "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive",
    ]
    resources = local.history_arns
  }

  read_history = length(local.history_arns) == 0 ? [] : [
    {
      sid       = "ReadHistory"
      actions   = ["dynamodb:BatchGetItem", "dynamodb:Query"]
      resources = local.history_arns
    },
  ]

  # What makes deliveries neither creates nor removes subscriptions.
  deliver_webhooks = length(local.webhooks_arns) == 0 ? [] : [
    {
      sid       = "ReadSubscriptions"
      actions   = ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem", "dynamodb:DescribeTable"]
      resources = local.webhooks_arns
    },
    local.keep_deliveries,
  ]

  keep_subscriptions = {
    sid = "KeepSubscriptions"
    actions = [
      "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:DescribeTable",
    ]
    resources = concat(local.webhooks_arns, [for arn in local.webhooks_arns : "${arn}/index/by-owner"])
  }

  # An API lists the subscriptions of one owner at a time.
  manage_webhooks = length(local.webhooks_arns) == 0 ? [] : [
    local.keep_subscriptions,
    local.keep_deliveries,
    {
      sid       = "ShowDeliveries"
      actions   = ["dynamodb:GetItem"]
      resources = local.deliveries_arns
    },
  ]

  keep_deliveries = {
    sid = "KeepDeliveries"
    actions = [
      "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:DescribeTable",
      "dynamodb:DescribeTimeToLive",
    ]
    resources = concat(local.deliveries_arns, [for arn in local.deliveries_arns : "${arn}/index/by-due"])
  }

  permissions = {
    consumer = [
      {
        sid       = "WriteScans"
        actions   = concat(["dynamodb:PutItem", "dynamodb:DescribeTable"], var.batch_writes ? ["dynamodb:PartiQLUpdate", "dynamodb:PartiQLInsert"] : [])
        resources = [aws_dynamodb_table.scans.arn]
      },
    ]
    # For readers of the stream by others.
    stream_reader = [local.read_stream, local.keep_leases]
    # For `mini-scan changes`.
    changes = concat([
      local.read_stream,
      local.keep_leases,
      local.write_history,
      {
        sid       = "DescribeTable"
        actions   = ["dynamodb:DescribeTable"]
        resources = [aws_dynamodb_table.scans.arn]
      },
    ], local.deliver_webhooks)
    # For `mini-scan changes backfill`, which reads both tables as a whole.
    changes_backfill = [
      local.write_history,
      {
        sid       = "ReadTables"
        actions   = ["dynamodb:Scan", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:DescribeTable"]
        resources = concat([aws_dynamodb_table.scans.arn], local.history_arns)
      },
      {
        sid       = "ReadLeases"
        actions   = ["dynamodb:GetItem", "dynamodb:Scan"]
        resources = local.lease_arns
      },
    ]
    # Without Scan, because one scan would read and bill the whole table.
    api = concat([local.read_records], local.read_history, local.manage_webhooks)
    # For an API with --allow-writes, which stores scans and deletes records.
    api_writer = concat([local.read_records], local.read_history, [
      {
        sid       = "WriteRecords"
        actions   = ["dynamodb:PutItem", "dynamodb:DeleteItem"]
        resources = [aws_dynamodb_table.scans.arn]
      },
    ], local.manage_webhooks)
    # For the commands of `mini-scan webhooks`, which list all subscriptions. A replay may read the whole history.
    webhooks_operator = concat(local.manage_webhooks, [
      {
        sid       = "ListSubscriptions"
        actions   = ["dynamodb:Scan"]
        resources = local.webhooks_arns
      },
      {
        sid       = "ReadHistory"
        actions   = ["dynamodb:Scan", "dynamodb:Query", "dynamodb:DescribeTable"]
        resources = local.history_arns
      },
    ])
    # For `mini-scan export`.
    exporter = [
      {
        sid       = "ReadTable"
        actions   = ["dynamodb:Scan", "dynamodb:DescribeTable"]
        resources = [aws_dynamodb_table.scans.arn]
      },
    ]
  }
}

data "aws_iam_policy_document" "role" {
  for_each = var.service_accounts

  dynamic "statement" {
    for_each = local.permissions[each.key]

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources
    }
  }

  # DynamoDB uses a customer-managed key with the caller's permissions. The account's own key already trusts DynamoDB.
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [1]

    content {
      sid       = "UseKeyThroughDynamoDB"
      actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      resources = [var.kms_key_arn]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["dynamodb.${data.aws_region.this.name}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_policy" "role" {
  for_each = var.service_accounts

  name        = "${var.table_name}-${each.key}"
  description = "Permissions of ${each.key} on ${var.table_name}"
  policy      = data.aws_iam_policy_document.role[each.key].json
  tags        = var.tags
}
