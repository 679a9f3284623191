locals {
  # The attributes of an index never change in a record, so a rescan costs nothing in it.
  indexes = merge(
    var.host_index ? { by-ip = { hash_key = "ip", range_key = "port" } } : {},
    # Keeps the index that `mini-scan setup table --service-index` has added. Its partition key is port and service, of which
    # this version of the provider reads only the last attribute. The precondition prevents that it creates such an index.
    var.service_index ? { by-service = { hash_key = "service", range_key = "ip" } } : {},
  )
}

# The table that `mini-scan setup` creates and the consumer expects: key pk (S), on demand, expiry by expires_at, a stream
# of new and old images, and the index by-ip for reads. infra/tests/agreement.py compares both.
resource "aws_dynamodb_table" "scans" {
  # checkov:skip=CKV_AWS_119:The account's own key is the default, because losing a key means losing the table. kms_key_arn takes a customer-managed key.
  name         = var.table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"

  attribute {
    name = "pk"
    type = "S"
  }

  # DynamoDB accepts only attributes that are part of a key.
  dynamic "attribute" {
    for_each = merge(var.host_index ? { ip = "S", port = "N" } : {}, var.service_index ? { service = "S" } : {})

    content {
      name = attribute.key
      type = attribute.value
    }
  }

  dynamic "global_secondary_index" {
    for_each = local.indexes

    content {
      name            = global_secondary_index.key
      hash_key        = global_secondary_index.value.hash_key
      range_key       = global_secondary_index.value.range_key
      projection_type = "KEYS_ONLY"

      dynamic "on_demand_throughput" {
        for_each = var.max_write_units == null && var.max_read_units == null ? [] : [1]

        content {
          max_write_request_units = coalesce(var.max_write_units, -1)
          max_read_request_units  = coalesce(var.max_read_units, -1)
        }
      }
    }
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

  lifecycle {
    precondition {
      condition     = !var.service_index || contains(flatten(data.aws_dynamodb_table.existing[*].global_secondary_index[*].name), "by-service")
      error_message = "The table has no index by-service, and Terraform cannot create it. Run `mini-scan setup table --service-index` first, with service_index = false."
    }
  }
}

# Fails if the table does not exist.
data "aws_dynamodb_table" "existing" {
  count = var.service_index ? 1 : 0
  name  = var.table_name
}
