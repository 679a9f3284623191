# The tables that `mini-scan setup changes` creates and `mini-scan changes` expects. infra/tests/agreement.py compares both.

resource "aws_dynamodb_table" "history" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  count = var.history_table_name == null ? 0 : 1

  name         = var.history_table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "ip"
  range_key    = "entry"

  attribute {
    name = "ip"
    type = "S"
  }

  attribute {
    name = "entry"
    type = "S"
  }

  ttl {
    enabled        = true
    attribute_name = "expires_at"
  }

  # Nothing can compute the history again, because the stream keeps its records for a day.
  point_in_time_recovery {
    enabled                 = true
    recovery_period_in_days = var.recovery_period_days
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags
}

resource "aws_dynamodb_table" "leases" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default. kms_key_arn takes a customer-managed key.
  # checkov:skip=CKV_AWS_28:An old lease is useless. Readers create missing leases, and read the last day of the stream again.
  count = var.lease_table_name == null ? 0 : 1

  name         = var.lease_table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "leaseKey"

  attribute {
    name = "leaseKey"
    type = "S"
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags
}
