variable "table_name" {
  description = "Name of the table of scan records."
  type        = string
  default     = "scan-results"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }
}

variable "host_index" {
  description = "Whether the table has the index by-ip, which reads of a host and of a network need. It costs one write unit per new key."
  type        = bool
  default     = true
}

variable "service_index" {
  description = <<-TEXT
    Whether to keep the index by-service, which reads of a service need. Terraform cannot create it:
    `mini-scan setup table --service-index` adds it to the table. Set this right afterwards, or the next apply deletes it.
  TEXT
  type        = bool
  default     = false

  validation {
    condition     = !var.service_index || var.host_index
    error_message = "service_index needs host_index."
  }
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy them, set this to false and apply."
  type        = bool
  default     = true
}

variable "recovery_period_days" {
  description = "How many days back the tables of scans, of the history and of webhooks can be restored, to any second."
  type        = number
  default     = 35

  validation {
    condition     = var.recovery_period_days >= 1 && var.recovery_period_days <= 35
    error_message = "Point-in-time recovery must be 1 to 35 days."
  }
}

variable "kms_key_arn" {
  description = "ARN of the customer-managed key that encrypts the tables. null means the account's key for DynamoDB (aws/dynamodb)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "Must be the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "max_write_units" {
  description = "Write units per second above which DynamoDB throttles the table, to limit the bill. null means no limit."
  type        = number
  default     = null

  validation {
    condition     = var.max_write_units == null || try(var.max_write_units >= 1 && floor(var.max_write_units) == var.max_write_units, false)
    error_message = "Must be a whole number of at least 1, or null."
  }
}

variable "max_read_units" {
  description = "Read units per second above which DynamoDB throttles the table, to limit the bill. null means no limit."
  type        = number
  default     = null

  validation {
    condition     = var.max_read_units == null || try(var.max_read_units >= 1 && floor(var.max_read_units) == var.max_read_units, false)
    error_message = "Must be a whole number of at least 1, or null."
  }
}

variable "oidc_issuer" {
  description = "URL of the token issuer of the cluster whose service accounts assume the roles: output oidc_issuer of module gcp."
  type        = string

  validation {
    condition     = can(regex("^https://[^/?#]+(/[^?#]*[^/?#])?$", var.oidc_issuer))
    error_message = "Must be a URL that starts with https:// and has no trailing slash, query or fragment."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the account's identity provider for that issuer, if it exists already (an account has one per URL). null creates it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/", var.oidc_provider_arn))
    error_message = "Must be an ARN: arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH."
  }
}

variable "service_accounts" {
  description = <<-TEXT
    The Kubernetes service account that may assume each role: consumer writes scans, changes writes the history,
    changes_backfill completes it, stream_reader reads the table's stream, api reads records, api_writer also stores and
    deletes them, exporter reads the whole table, webhooks_operator manages webhooks. Only the roles in this map are created.
  TEXT
  type = map(object({
    namespace = string
    name      = string
  }))
  default = { consumer = { namespace = "mini-scan", name = "mini-scan" } }

  validation {
    condition     = alltrue([for role in keys(var.service_accounts) : contains(["consumer", "changes", "changes_backfill", "stream_reader", "api", "api_writer", "exporter", "webhooks_operator"], role)])
    error_message = "Roles must be consumer, changes, changes_backfill, stream_reader, api, api_writer, exporter or webhooks_operator."
  }

  validation {
    condition = alltrue(flatten([
      for account in values(var.service_accounts) : [
        for text in [account.namespace, account.name] : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", text))
      ]
    ]))
    error_message = "Namespaces and service accounts must be full names of lower-case letters, digits and hyphens, without wildcards."
  }
}

variable "batch_writes" {
  description = "Whether the consumer may write with PartiQL, which --write-mode batch needs."
  type        = bool
  default     = false
}

variable "history_table_name" {
  description = "Name of the table of the history. null creates none. The roles changes, changes_backfill and webhooks_operator need it."
  type        = string
  default     = null

  validation {
    condition     = var.history_table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.history_table_name))
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }

  validation {
    condition     = var.history_table_name != null || length(setintersection(keys(var.service_accounts), ["changes", "changes_backfill", "webhooks_operator"])) == 0
    error_message = "The roles changes, changes_backfill and webhooks_operator need history_table_name."
  }
}

variable "lease_table_name" {
  description = "Name of the table in which the readers of the stream keep their leases. null creates none. The roles changes, changes_backfill and stream_reader need it."
  type        = string
  default     = null

  validation {
    condition     = var.lease_table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.lease_table_name))
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }

  validation {
    condition     = var.lease_table_name != null || length(setintersection(keys(var.service_accounts), ["changes", "changes_backfill", "stream_reader"])) == 0
    error_message = "The roles changes, changes_backfill and stream_reader need lease_table_name."
  }
}

variable "webhooks_table_name" {
  description = "Name of the table of the subscriptions to webhooks. null creates none, and gives no role permissions for webhooks. It needs deliveries_table_name."
  type        = string
  default     = null

  validation {
    condition     = var.webhooks_table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.webhooks_table_name))
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }

  validation {
    condition     = var.webhooks_table_name != null || !contains(keys(var.service_accounts), "webhooks_operator")
    error_message = "The role webhooks_operator needs webhooks_table_name."
  }
}

variable "deliveries_table_name" {
  description = "Name of the table of the deliveries that wait or are dead. null creates none. It needs webhooks_table_name."
  type        = string
  default     = null

  validation {
    condition     = var.deliveries_table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.deliveries_table_name))
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }

  validation {
    condition     = (var.deliveries_table_name == null) == (var.webhooks_table_name == null)
    error_message = "Set both webhooks_table_name and deliveries_table_name, or none of them."
  }
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics to notify when an alarm fires and when it recovers."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:", arn))])
    error_message = "Must be ARNs of SNS topics: arn:aws:sns:REGION:ACCOUNT:NAME."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
