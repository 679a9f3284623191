# The tables that `event-pipeline setup` creates. Requests are on demand.

locals {
  # The key of each table, and what differs between them.
  tables = {
    events     = { hash = "client_id", range = "event_key", expires = true, stream = "NEW_IMAGE", recoverable = true }
    routes     = { hash = "client_id", range = null, expires = false, stream = null, recoverable = true }
    deliveries = { hash = "queue", range = "id", expires = true, stream = null, recoverable = true }
    # Deliverers create missing leases, and read the last day of the stream again.
    leases = { hash = "leaseKey", range = null, expires = false, stream = null, recoverable = false }
  }
}

resource "aws_dynamodb_table" "tables" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  # checkov:skip=CKV_AWS_28:All tables but the leases have point-in-time recovery. Old leases are useless.
  for_each = local.tables

  name         = var.table_names[each.key]
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = each.value.hash
  range_key    = each.value.range

  dynamic "attribute" {
    for_each = merge({ for name in compact([each.value.hash, each.value.range]) : name => "S" }, each.key == "deliveries" ? { due = "N" } : {})

    content {
      name = attribute.key
      type = attribute.value
    }
  }

  # Only deliveries that wait have `due`, so the index has no other items.
  dynamic "global_secondary_index" {
    for_each = each.key == "deliveries" ? [1] : []

    content {
      name               = "by-due"
      hash_key           = "queue"
      range_key          = "due"
      projection_type    = "INCLUDE"
      non_key_attributes = ["token"]
    }
  }

  dynamic "ttl" {
    for_each = each.value.expires ? [1] : []

    content {
      enabled        = true
      attribute_name = "expires_at"
    }
  }

  stream_enabled   = each.value.stream != null
  stream_view_type = each.value.stream

  point_in_time_recovery {
    enabled                 = each.value.recoverable
    recovery_period_in_days = each.value.recoverable ? var.recovery_period_days : null
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags
}
