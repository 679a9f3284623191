variable "table_name" {
  description = "Table of scan records."
  type        = string
  default     = "scan-results"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "A table's name has 3 to 255 letters, digits, underscores, dots and hyphens."
  }
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the table. WritePermit it off in a change of its own before destroying."
  type        = bool
  default     = true
}

variable "recovery_period_days" {
  description = "How far back the table can be restored to any second, in days."
  type        = number
  default     = 35

  validation {
    condition     = var.recovery_period_days >= 1 && var.recovery_period_days <= 35
    error_message = "Point-in-time recovery goes back 1 to 35 days."
  }
}

variable "kms_key_arn" {
  description = "Customer-managed key that encrypts the table; null is the account's key for DynamoDB (aws/dynamodb)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "Give the full name of a key: arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "max_write_units" {
  description = "Write units a second above which DynamoDB throttles the table, a bound on the bill; null is none."
  type        = number
  default     = null

  validation {
    condition     = var.max_write_units == null || try(var.max_write_units >= 1 && floor(var.max_write_units) == var.max_write_units, false)
    error_message = "A whole number of at least 1, or null."
  }
}

variable "max_read_units" {
  description = "Read units a second above which DynamoDB throttles the table, a bound on the bill; null is none."
  type        = number
  default     = null

  validation {
    condition     = var.max_read_units == null || try(var.max_read_units >= 1 && floor(var.max_read_units) == var.max_read_units, false)
    error_message = "A whole number of at least 1, or null."
  }
}

variable "oidc_issuer" {
  description = "Issuer of the cluster whose service accounts take the roles, as module gcp puts it out."
  type        = string

  validation {
    condition     = can(regex("^https://[^/?#]+(/[^?#]*[^/?#])?$", var.oidc_issuer))
    error_message = "A URL that starts with https:// and has no slash at its end, query or fragment."
  }
}

variable "oidc_provider_arn" {
  description = "The account's provider for that issuer, when it is already there: an account has one for a URL; null makes it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/", var.oidc_provider_arn))
    error_message = "Give its full name: arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH."
  }
}

variable "service_accounts" {
  description = <<-TEXT
    The Kubernetes service account that may take each role: consumer writes scans, stream_reader follows the table's
    changes, api reads records. A role that is not named is not made.
  TEXT
  type = map(object({
    namespace = string
    name      = string
  }))
  default = { consumer = { namespace = "mini-scan", name = "mini-scan" } }

  validation {
    condition     = alltrue([for role in keys(var.service_accounts) : contains(["consumer", "stream_reader", "api"], role)])
    error_message = "The roles are consumer, stream_reader and api."
  }

  validation {
    condition = alltrue(flatten([
      for account in values(var.service_accounts) : [
        for text in [account.namespace, account.name] : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", text))
      ]
    ]))
    error_message = "Namespaces and service accounts are named in full, by small letters, digits and hyphens: no wildcards."
  }
}

variable "batch_writes" {
  description = "Whether the consumer may write by PartiQL, as its batch mode does."
  type        = bool
  default     = false
}

variable "lease_table_name" {
  description = "Table in which readers of the stream keep their leases; needed by the role stream_reader."
  type        = string
  default     = null

  validation {
    condition     = var.lease_table_name == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.lease_table_name))
    error_message = "A table's name has 3 to 255 letters, digits, underscores, dots and hyphens."
  }

  validation {
    condition     = var.lease_table_name != null || !contains(keys(var.service_accounts), "stream_reader")
    error_message = "The role stream_reader needs lease_table_name."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told when an alarm goes off, and when it is over."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:", arn))])
    error_message = "Give the full names of SNS topics: arn:aws:sns:REGION:ACCOUNT:NAME."
  }
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
