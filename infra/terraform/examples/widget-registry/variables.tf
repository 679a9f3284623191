variable "aws_region" {
  description = "AWS region of the tables. Run the cluster in the same region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "Must be an AWS region, e.g. eu-west-1."
  }
}

variable "oidc_issuer" {
  description = "URL of the token issuer of the cluster, e.g. output oidc_issuer of the example two-clouds."
  type        = string
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

variable "table_names" {
  description = "Names of the tables: of the widgets, and of the requests with an Idempotency-Key. A table that was restored has another one (docs/widgets-runbook.md)."
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
}

variable "table_write_quota" {
  description = "The quota \"Table-level write throughput limit\" of the account, in write units per second. An alarm fires at 80 % of it."
  type        = number
  default     = 40000
}

variable "operator_service_account" {
  description = "Kubernetes service account of Jobs that run `audit` and `tail`. null creates no role for them."
  type = object({
    namespace = string
    name      = string
  })
  default = null
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy them, set this to false and apply."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics to notify when an alarm fires and when it recovers."
  type        = list(string)
  default     = []
}
