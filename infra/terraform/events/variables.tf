variable "name" {
  description = "Begins the names of roles, policies and alarms."
  type        = string
  default     = "event-pipeline"

  validation {
    condition     = can(regex("^[a-z0-9-]{1,40}$", var.name))
    error_message = "Must be 1 to 40 lower-case letters, digits or hyphens."
  }
}

variable "queue_names" {
  description = "Names of the queues: of the events, of the dead events, and of the dead deliveries."
  type = object({
    events      = optional(string, "events")
    events_dlq  = optional(string, "events-dlq")
    deliver_dlq = optional(string, "deliver-dlq")
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.queue_names) : can(regex("^[A-Za-z0-9_-]{1,80}$", name))])
    error_message = "The name of a queue must have 1 to 80 letters, digits, underscores or hyphens. FIFO queues are not supported."
  }
}

variable "table_names" {
  description = "Names of the tables: of the events, the clients' routes, the deliveries that wait, and the leases of the stream's shards."
  type = object({
    events     = optional(string, "Events")
    routes     = optional(string, "routes")
    deliveries = optional(string, "deliveries")
    leases     = optional(string, "event-leases")
  })
  default = {}

  validation {
    condition     = alltrue([for name in values(var.table_names) : can(regex("^[A-Za-z0-9_.-]{3,255}$", name))])
    error_message = "A table name must have 3 to 255 letters, digits, underscores, dots or hyphens."
  }
}

variable "producer_principals" {
  description = "ARNs of the roles and users that may send events. Nobody else may, except the role operator."
  type        = list(string)

  validation {
    condition     = length(var.producer_principals) > 0
    error_message = "Name at least one producer."
  }

  validation {
    condition     = alltrue([for arn in var.producer_principals : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[^*?]+$", arn))])
    error_message = "Must be full ARNs of roles or users, without wildcards: arn:aws:iam::ACCOUNT:role/NAME."
  }
}

variable "max_receives" {
  description = "SQS moves an event to the dead-letter queue after this many receives."
  type        = number
  default     = 5

  validation {
    condition     = var.max_receives >= 1 && var.max_receives <= 1000 && floor(var.max_receives) == var.max_receives
    error_message = "Must be a whole number from 1 to 1000."
  }
}

variable "direct_dispatch" {
  description = "Whether the processor may deliver events itself, which --direct-dispatch needs."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy them, set this to false and apply."
  type        = bool
  default     = true
}

variable "recovery_period_days" {
  description = "How many days back the tables of events, routes and deliveries can be restored, to any second."
  type        = number
  default     = 35

  validation {
    condition     = var.recovery_period_days >= 1 && var.recovery_period_days <= 35
    error_message = "Point-in-time recovery must be 1 to 35 days."
  }
}

variable "kms_key_arn" {
  description = <<-TEXT
    ARN of the customer-managed key that encrypts queues and tables. Its policy must allow the producers kms:GenerateDataKey
    and kms:Decrypt. null means the keys of SQS and DynamoDB.
  TEXT
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
  description = <<-TEXT
    The Kubernetes service account that may assume each role: processor stores events, deliverer delivers them, scaler reads
    the length of the queue for KEDA, operator runs all other commands. Only the roles in this map are created.
  TEXT
  type = map(object({
    namespace = string
    name      = string
  }))
  default = {
    processor = { namespace = "event-pipeline", name = "event-pipeline-processor" }
    deliverer = { namespace = "event-pipeline", name = "event-pipeline-deliverer" }
    scaler    = { namespace = "keda", name = "keda-operator" }
  }

  validation {
    condition     = alltrue([for role in keys(var.service_accounts) : contains(["processor", "deliverer", "scaler", "operator"], role)])
    error_message = "Roles must be processor, deliverer, scaler or operator."
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
