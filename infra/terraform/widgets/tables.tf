# The tables that `widget-registry setup` creates. Requests are on demand.

locals {
  # The key of each table, and what differs between them.
  tables = {
    # The stream tells `widget-registry tail` and other readers of each change.
    widgets = { hash = "serial", expires = false, stream = "NEW_AND_OLD_IMAGES", recoverable = true }
    # The requests with an Idempotency-Key, for a day. Without them, a repeated request is only done again.
    requests = { hash = "id", expires = true, stream = null, recoverable = false }
  }
}

module "tables" {
  for_each = local.tables
  source   = "../modules/table"

  name                 = var.table_names[each.key]
  hash_key             = each.value.hash
  expires              = each.value.expires
  stream               = each.value.stream
  max_write_units      = each.key == "widgets" ? var.max_write_units : null
  recovery_period_days = each.value.recoverable ? var.recovery_period_days : null
  kms_key_arn          = var.kms_key_arn
  deletion_protection  = var.deletion_protection
  alarm_prefix         = "${var.name}-${each.key}"
  runbook              = "docs/widgets-runbook.md#widgetregistrythrottled"
  alarm_topic_arns     = var.alarm_topic_arns
  tags                 = var.tags
}

locals {
  made = { for table, made in module.tables : table => made.table }
}
