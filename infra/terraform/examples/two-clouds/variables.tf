variable "project" {
  description = "Google Cloud project."
  type        = string
}

variable "cluster" {
  description = "The GKE cluster that runs the consumers. Its project defaults to the one above."
  type = object({
    name     = string
    location = string
    project  = optional(string)
  })
}

variable "metrics_scope" {
  description = "Whether the cluster's project may see the metrics of the project above, if they differ. Its Prometheus rules and dashboards need it for the backlog."
  type        = bool
  default     = false
}

variable "service_account" {
  description = "The Kubernetes service account of the consumers. Both clouds grant it their permissions."
  type = object({
    namespace = string
    name      = string
  })
  default = { namespace = "mini-scan", name = "mini-scan" }

  validation {
    condition = alltrue([
      for text in values(var.service_account) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", text))
    ])
    error_message = "Namespace and service account must be full names of lower-case letters, digits and hyphens."
  }
}

variable "scaler" {
  description = "KEDA's Kubernetes service account, which reads the backlog from Cloud Monitoring. null means no grant."
  type = object({
    namespace = string
    name      = string
  })
  default = { namespace = "keda", name = "keda-operator" }
}

variable "oidc_provider_arn" {
  description = "ARN of the account's identity provider for the cluster's issuer, if it exists already (an account has one per URL). null creates it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/", var.oidc_provider_arn))
    error_message = "Must be an ARN: arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH."
  }
}

variable "aws_region" {
  description = "AWS region of the table. Choose one near the Google Cloud region of the messages."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "Must be an AWS region, e.g. eu-west-1."
  }
}

variable "table_name" {
  description = "Name of the table of scan records. A table that was restored from a backup has another one (docs/runbook.md)."
  type        = string
  default     = "scan-results"
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

variable "batch_writes" {
  description = "Whether the consumer may write with PartiQL, which --write-mode batch needs."
  type        = bool
  default     = false
}

variable "replay_days" {
  description = "How many days the topic keeps messages that were delivered, so that operators can replay them after a loss. 0 keeps none. Google bills the storage."
  type        = number
  default     = 1
}

variable "changes" {
  description = "Whether to create what the reader of changes needs: the tables of the history and of its leases, and its role."
  type        = bool
  default     = false
}

variable "webhooks" {
  description = "Whether to create what webhooks need: the tables of subscriptions and deliveries, and the role of their operator."
  type        = bool
  default     = false

  validation {
    condition     = !var.webhooks || var.changes
    error_message = "webhooks needs changes, because the reader of changes delivers them."
  }
}

variable "service_accounts" {
  description = "Kubernetes service accounts of more roles of module aws, e.g. { exporter = { namespace = \"mini-scan\", name = \"mini-scan-export\" } }."
  type = map(object({
    namespace = string
    name      = string
  }))
  default = {}
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy the installation, set this to false and apply. Pub/Sub has no such protection."
  type        = bool
  default     = true
}

variable "max_write_units" {
  description = "Write units per second above which DynamoDB throttles the table. null means no limit."
  type        = number
  default     = null
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

variable "operators" {
  description = "Members who may replay scans, and list and redrive dead letters, e.g. group:oncall@example.com."
  type        = list(string)
  default     = []
}

variable "operator_service_account" {
  description = "Kubernetes service account of Jobs that list and redrive dead letters: { namespace = \"mini-scan\", name = \"mini-scan-operator\" }. null means no grant."
  type = object({
    namespace = string
    name      = string
  })
  default = null
}

variable "alert_policies" {
  description = "Whether Cloud Monitoring alerts on the age of the backlog and on dead letters. Set it to false if you install the Prometheus rules, which contain these alerts."
  type        = bool
  default     = true
}

variable "page_channels" {
  description = "Cloud Monitoring notification channels for pages."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Cloud Monitoring notification channels for tickets."
  type        = list(string)
  default     = []
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics for the table's alarms."
  type        = list(string)
  default     = []
}
