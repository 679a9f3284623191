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
