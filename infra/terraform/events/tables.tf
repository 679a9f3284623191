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

module "tables" {
  for_each = local.tables
  source   = "../modules/table"

  name      = var.table_names[each.key]
  hash_key  = each.value.hash
  range_key = each.value.range
  expires   = each.value.expires
  stream    = each.value.stream

  # Only deliveries that wait have `due`, so the index has no other items.
  index_attributes = each.key == "deliveries" ? { due = "N" } : {}
  indexes          = each.key == "deliveries" ? { by-due = { hash_key = "queue", range_key = "due", attributes = ["token"] } } : {}

  recovery_period_days = each.value.recoverable ? var.recovery_period_days : null
  kms_key_arn          = var.kms_key_arn
  deletion_protection  = var.deletion_protection
  alarm_prefix         = "${var.name}-${each.key}"
  runbook              = "docs/events-runbook.md#throttled"
  alarm_topic_arns     = var.alarm_topic_arns
  tags                 = var.tags
}

locals {
  made = { for table, made in module.tables : table => made.table }
}
