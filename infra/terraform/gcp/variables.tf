variable "project" {
  description = "Google Cloud project of topics and subscriptions."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens, and starts with a letter."
  }
}

variable "cluster" {
  description = "The GKE cluster in which the consumers run; its project is the one above unless it is named."
  type = object({
    name     = string
    location = string
    project  = optional(string)
  })

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", var.cluster.name))
    error_message = "A cluster's name has up to 40 small letters, digits and hyphens, and starts with a letter."
  }

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+(-[a-z])?$", var.cluster.location))
    error_message = "A region or zone, as europe-west1 or europe-west1-b."
  }
}

variable "service_account" {
  description = "The Kubernetes service account as which the consumers run."
  type = object({
    namespace = string
    name      = string
  })
  default = { namespace = "mini-scan", name = "mini-scan" }

  validation {
    condition = alltrue([
      for text in values(var.service_account) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", text))
    ])
    error_message = "Namespace and service account are named in full, by small letters, digits and hyphens."
  }
}

variable "scaler" {
  description = "KEDA's Kubernetes service account, which reads the backlog from Cloud Monitoring; null for none."
  type = object({
    namespace = string
    name      = string
  })
  default = { namespace = "keda", name = "keda-operator" }
}

variable "topic" {
  description = "Topic that scans are published to."
  type        = string
  default     = "scan-topic"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.topic)) && !startswith(var.topic, "goog")
    error_message = "A topic's id has 3 to 255 characters, starts with a letter, and not with goog."
  }
}

variable "subscription" {
  description = "Subscription that the consumers read."
  type        = string
  default     = "scan-sub"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.subscription)) && !startswith(var.subscription, "goog")
    error_message = "A subscription's id has 3 to 255 characters, starts with a letter, and not with goog."
  }
}

variable "dead_letter_topic" {
  description = "Topic for rejected messages, and the id of the subscription on it."
  type        = string
  default     = "scan-dead-letter"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", var.dead_letter_topic)) && !startswith(var.dead_letter_topic, "goog")
    error_message = "A topic's id has 3 to 255 characters, starts with a letter, and not with goog."
  }

  validation {
    condition     = var.dead_letter_topic != var.topic && var.dead_letter_topic != var.subscription
    error_message = "It must differ from the topic and from the subscription: its own subscription bears its name."
  }
}

variable "max_delivery_attempts" {
  description = <<-TEXT
    After so many attempts Pub/Sub itself moves a message to the dead-letter topic. It guards against a message that
    kills the process; a low number would move good scans aside in an outage.
  TEXT
  type        = number
  default     = 100

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100 && floor(var.max_delivery_attempts) == var.max_delivery_attempts
    error_message = "Pub/Sub takes 5 to 100."
  }
}

variable "replay_days" {
  description = "How long the topic keeps what it gave out, so that the subscription can be sought back, in days; 0 is not at all. It is billed as storage."
  type        = number
  default     = 0

  validation {
    condition     = var.replay_days >= 0 && var.replay_days <= 31 && floor(var.replay_days) == var.replay_days
    error_message = "Pub/Sub keeps 0 to 31 days."
  }
}

variable "storage_regions" {
  description = "Regions in which Pub/Sub may keep messages; empty for any."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for region in var.storage_regions : can(regex("^[a-z]+-[a-z]+[0-9]+$", region))])
    error_message = "Regions, as europe-west1."
  }
}

variable "kms_key" {
  description = "Cloud KMS key that encrypts the topics; null is Google's own. Pub/Sub's service agent needs roles/cloudkms.cryptoKeyEncrypterDecrypter on it."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "Give its full name: projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "operators" {
  description = "Who may look at dead letters and bring them back, as group:oncall@example.com."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(group|user|serviceAccount|principal|principalSet):", member))])
    error_message = "Members start with group:, user:, serviceAccount:, principal: or principalSet:, and are never all users."
  }
}

variable "page_channels" {
  description = "Notification channels that wake somebody."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Notification channels that can wait until the morning."
  type        = list(string)
  default     = []
}

variable "labels" {
  description = "Labels of everything that takes them."
  type        = map(string)
  default     = {}
}
