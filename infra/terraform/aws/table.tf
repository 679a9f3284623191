# The table that `mini-scan setup` creates and the consumer expects: key pk (S), on demand, expiry by expires_at, and a
# stream of new and old images. infra/tests/agreement.py compares both.
resource "aws_dynamodb_table" "scans" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  name         = var.table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"

  attribute {
    name = "pk"
    type = "S"
  }

  ttl {
    enabled        = true
    attribute_name = "expires_at"
  }

  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"

  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = var.recovery_period_days
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  dynamic "on_demand_throughput" {
    for_each = var.max_write_units == null && var.max_read_units == null ? [] : [1]

    content {
      # -1 means no limit.
      max_write_request_units = coalesce(var.max_write_units, -1)
      max_read_request_units  = coalesce(var.max_read_units, -1)
    }
  }

  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags
}
