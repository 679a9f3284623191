variable "project" {
  description = "Google Cloud project of the topics and subscriptions."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project ID must have 6 to 30 lower-case letters, digits and hyphens, and start with a letter."
  }
}

variable "cluster" {
  description = "The GKE cluster that runs the consumers. Its project defaults to the one above."
  type = object({
    name     = string
    location = string
    project  = optional(string)
  })

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.cluster.name))
    error_message = "A cluster name must have at most 40 lower-case letters, digits and hyphens, and start with a letter."
  }

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+(-[a-z])?$", var.cluster.location))
    error_message = "Must be a region or a zone, e.g. europe-west1 or europe-west1-b."
  }
}

variable "service_account" {
  description = "The Kubernetes service account of the consumers."
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

variable "topic" {
  description = "ID of the topic that scans are published to."
  type        = string
  default     = "scan-topic"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.topic)) && !startswith(var.topic, "goog")
    error_message = "A topic ID must have 3 to 255 characters, start with a letter, and not start with goog."
  }
}

variable "subscription" {
  description = "ID of the subscription that the consumers read."
  type        = string
  default     = "scan-sub"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.subscription)) && !startswith(var.subscription, "goog")
    error_message = "A subscription ID must have 3 to 255 characters, start with a letter, and not start with goog."
  }
}

variable "dead_letter_topic" {
  description = "ID of the topic for rejected messages, and of its subscription."
  type        = string
  default     = "scan-dead-letter"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.dead_letter_topic)) && !startswith(var.dead_letter_topic, "goog")
    error_message = "A topic ID must have 3 to 255 characters, start with a letter, and not start with goog."
  }

  validation {
    condition     = var.dead_letter_topic != var.topic && var.dead_letter_topic != var.subscription
    error_message = "Must differ from topic and subscription, because its own subscription has the same ID."
  }
}

variable "max_delivery_attempts" {
  description = <<-TEXT
    Pub/Sub moves a message to the dead-letter topic after this many delivery attempts. This protects against a message
    that crashes every instance. A low number would dead-letter good scans during an outage.
  TEXT
  type        = number
  default     = 100

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100 && floor(var.max_delivery_attempts) == var.max_delivery_attempts
    error_message = "Must be a whole number from 5 to 100."
  }
}

variable "replay_days" {
  description = "How many days the topic keeps messages that were delivered, so that operators can replay them. 0 keeps none. Google bills the storage."
  type        = number
  default     = 1

  validation {
    condition     = var.replay_days >= 0 && var.replay_days <= 31 && floor(var.replay_days) == var.replay_days
    error_message = "Must be a whole number from 0 to 31."
  }
}

variable "storage_regions" {
  description = "Regions in which Pub/Sub may store messages. An empty list allows any region."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for region in var.storage_regions : can(regex("^[a-z]+-[a-z]+[0-9]+$", region))])
    error_message = "Must be Google Cloud regions, e.g. europe-west1."
  }
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts the topics. null means Google's own key. Pub/Sub's service agent needs roles/cloudkms.cryptoKeyEncrypterDecrypter on it."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "Must be a full name: projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "operators" {
  description = <<-TEXT
    Members who may list and redrive dead letters, and replay scans (with replay_days), e.g. group:oncall@example.com. The
    role for replays also allows them to receive and acknowledge scans.
  TEXT
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(group|user|serviceAccount|principal|principalSet):", member))])
    error_message = "Members must start with group:, user:, serviceAccount:, principal: or principalSet:. allUsers is not allowed."
  }
}

variable "operator_service_account" {
  description = <<-TEXT
    The Kubernetes service account of Jobs that list and redrive dead letters (`mini-scan dead-letters`), in the same
    cluster. It may not replay scans. Everyone who may create pods in its namespace may use it. null means no grant.
  TEXT
  type = object({
    namespace = string
    name      = string
  })
  default = null

  validation {
    condition = var.operator_service_account == null || try(alltrue([
      for text in values(var.operator_service_account) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", text))
    ]), false)
    error_message = "Namespace and service account must be full names of lower-case letters, digits and hyphens."
  }
}

variable "metrics_scope" {
  description = <<-TEXT
    Whether to add the Pub/Sub project to the metrics scope of the cluster's project, if they differ. Then Prometheus rules
    and dashboards of the cluster see the backlog. Terraform needs roles/monitoring.admin on both projects. A scope contains
    a project once, so only one installation may set this for a pair of projects.
  TEXT
  type        = bool
  default     = false

  validation {
    condition     = !var.metrics_scope || coalesce(var.cluster.project, var.project) != var.project
    error_message = "metrics_scope needs a cluster.project that differs from project."
  }
}

variable "alert_policies" {
  description = <<-TEXT
    Whether Cloud Monitoring alerts on the age of the backlog and on dead letters. Set it to false if you install the Prometheus
    rules, which contain these alerts: otherwise both notify.
  TEXT
  type        = bool
  default     = true
}

variable "page_channels" {
  description = "Notification channels for pages."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Notification channels for tickets, which can wait until the morning."
  type        = list(string)
  default     = []
}

variable "labels" {
  description = "Labels of all resources that support labels."
  type        = map(string)
  default     = {}
}
