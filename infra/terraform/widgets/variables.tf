variable "name" {
  description = "Begins the names of roles, policies and alarms."
  type        = string
  default     = "widget-registry"

  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.name))
    error_message = "Must be 1 to 40 lower-case letters, digits or hyphens."
  }
}

variable "table_names" {
  description = "Names of the tables: of the widgets, and of the requests with an Idempotency-Key."
  type = object({
    widgets  = optional(string, "widgets")
    requests = optional(string, "widget-requests")
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.table_names) : can(regex("^[A-Za-z0-9_.-]{3,255}$", name))])
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }
}

variable "max_write_units" {
  description = "Write units per second above which DynamoDB throttles the table of widgets, to limit the bill. A connect takes 4. null means no limit."
  type        = number
  default     = null

  validation {
    condition     = var.max_write_units == null || try(var.max_write_units >= 4 && floor(var.max_write_units) == var.max_write_units, false)
    error_message = "Must be a whole number of at least 4, or null."
  }
}

variable "table_write_quota" {
  description = "The quota \"Table-level write throughput limit\" of the account, in write units per second. An alarm fires at 80 % of it."
  type        = number
  default     = 40000

  validation {
    condition     = var.table_write_quota >= 1
    error_message = "Must be at least 1."
  }
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy them, set this to false and apply."
  type        = bool
  default     = true
}

variable "recovery_period_days" {
  description = "How many days back the table of widgets can be restored, to any second."
  type        = number
  default     = 35

  validation {
    condition     = var.recovery_period_days >= 1 && var.recovery_period_days <= 35
    error_message = "Point-in-time recovery must be 1 to 35 days."
  }
}

variable "kms_key_arn" {
  description = "ARN of the customer-managed key that encrypts the tables. null means the key of DynamoDB."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "Must be the ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "oidc_issuer" {
  description = "URL of the token issuer of the cluster whose service accounts assume the roles."
  type        = string

  validation {
    condition     = can(regex("^https://[^/?#]+(/[^?#]*[^/?#])?$", var.oidc_issuer))
    error_message = "Must be a URL that starts with https:// and has no trailing slash, query or fragment."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the account's identity provider for that issuer, if it exists already (an account has one per URL), e.g. output oidc_provider_arn of module aws. null creates it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/", var.oidc_provider_arn))
    error_message = "Must be an ARN: arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH."
  }
}

variable "service_accounts" {
  description = "The Kubernetes service account that may assume each role: api serves the API, operator runs `audit` and `tail`. Only the roles in this map are created."
  type = map(object({
    namespace = string
    name      = string
  }))
  default = {
    api = { namespace = "widget-registry", name = "widget-registry" }
  }

  validation {
    condition     = alltrue([for role in keys(var.service_accounts) : contains(["api", "operator"], role)])
    error_message = "Roles must be api or operator."
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
