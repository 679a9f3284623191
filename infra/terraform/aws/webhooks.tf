# The tables that `mini-scan setup webhooks` creates and `mini-scan changes --webhooks` expects. infra/tests/agreement.py
# compares both.

locals {
  webhooks_environment = var.webhooks_table_name == null || var.deliveries_table_name == null ? {} : {
    MINI_SCAN_WEBHOOKS_TABLE   = one(aws_dynamodb_table.webhooks[*].name)
    MINI_SCAN_DELIVERIES_TABLE = one(aws_dynamodb_table.deliveries[*].name)
  }
}

resource "aws_dynamodb_table" "webhooks" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  count = var.webhooks_table_name == null ? 0 : 1

  name         = var.webhooks_table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "bucket"
  range_key    = "id"

  dynamic "attribute" {
    for_each = { bucket = "S", id = "S", owner = "S" }

    content {
      name = attribute.key
      type = attribute.value
    }
  }

  # The list of one owner must not read the subscriptions of all others.
  global_secondary_index {
    name            = "by-owner"
    hash_key        = "owner"
    range_key       = "id"
    projection_type = "ALL"
  }

  # Nothing else has the subscriptions of the users.
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

resource "aws_dynamodb_table" "deliveries" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default. kms_key_arn takes a customer-managed key.
  count = var.deliveries_table_name == null ? 0 : 1

  name         = var.deliveries_table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "queue"
  range_key    = "id"

  dynamic "attribute" {
    for_each = { queue = "S", id = "S", due = "N" }

    content {
      name = attribute.key
      type = attribute.value
    }
  }

  # Only deliveries that wait have `due`, so the index has no other items.
  global_secondary_index {
    name               = "by-due"
    hash_key           = "queue"
    range_key          = "due"
    projection_type    = "INCLUDE"
    non_key_attributes = ["token"]
  }

  ttl {
    enabled        = true
    attribute_name = "expires_at"
  }

  # A delivery that is restored is made again, with the same webhook-id.
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
