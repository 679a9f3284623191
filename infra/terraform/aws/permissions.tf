# The permissions of each role.

data "aws_partition" "this" {}
data "aws_caller_identity" "this" {}
data "aws_region" "this" {}

locals {
  lease_table_arn = var.lease_table_name == null ? null : join(":", [
    "arn", data.aws_partition.this.partition, "dynamodb", data.aws_region.this.name,
    data.aws_caller_identity.this.account_id, "table/${var.lease_table_name}"
  ])

  read_records = {
    sid       = "ReadRecords"
    actions   = ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable"]
    resources = [aws_dynamodb_table.scans.arn, "${aws_dynamodb_table.scans.arn}/index/*"]
  }

  permissions = {
    consumer = [
      {
        sid       = "WriteScans"
        actions   = concat(["dynamodb:PutItem", "dynamodb:DescribeTable"], var.batch_writes ? ["dynamodb:PartiQLUpdate", "dynamodb:PartiQLInsert"] : [])
        resources = [aws_dynamodb_table.scans.arn]
      },
    ]
    stream_reader = concat(
      [
        {
          sid       = "ReadChanges"
          actions   = ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"]
          resources = ["${aws_dynamodb_table.scans.arn}/stream/*"]
        },
      ],
      local.lease_table_arn == null ? [] : [
        {
          sid       = "KeepLeases"
          actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Scan"]
          resources = [local.lease_table_arn]
        },
      ],
    )
    # Without Scan, because one scan would read and bill the whole table.
    api = [local.read_records]
    # For an API with --allow-writes, which stores scans and deletes records.
    api_writer = [
      local.read_records,
      {
        sid       = "WriteRecords"
        actions   = ["dynamodb:PutItem", "dynamodb:DeleteItem"]
        resources = [aws_dynamodb_table.scans.arn]
      },
    ]
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
