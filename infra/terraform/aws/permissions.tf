# The permissions of each role.

data "aws_region" "this" {}

locals {
  history_arns = aws_dynamodb_table.history[*].arn
  lease_arns   = aws_dynamodb_table.leases[*].arn

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
    changes = [
      local.read_stream,
      local.keep_leases,
      local.write_history,
      {
        sid       = "DescribeTable"
        actions   = ["dynamodb:DescribeTable"]
        resources = [aws_dynamodb_table.scans.arn]
      },
    ]
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
    api = concat([local.read_records], local.read_history)
    # For an API with --allow-writes, which stores scans and deletes records.
    api_writer = concat([local.read_records], local.read_history, [
      {
        sid       = "WriteRecords"
        actions   = ["dynamodb:PutItem", "dynamodb:DeleteItem"]
        resources = [aws_dynamodb_table.scans.arn]
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
