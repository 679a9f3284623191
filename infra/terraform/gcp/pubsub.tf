# The ack deadline, retention, expiry and retry policy equal those of `mini-scan setup`. infra/tests/agreement.py compares
# them.

resource "google_pubsub_topic" "scans" {
  # checkov:skip=CKV_GCP_83:Google's own key is the default. kms_key takes a customer-managed key.
  project                    = var.project
  name                       = var.topic
  kms_key_name               = var.kms_key
  message_retention_duration = var.replay_days == 0 ? null : "${var.replay_days * 86400}s"
  labels                     = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.storage_regions) == 0 ? [] : [1]

    content {
      allowed_persistence_regions = var.storage_regions
    }
  }
}

resource "google_pubsub_topic" "dead_letters" {
  # checkov:skip=CKV_GCP_83:Google's own key is the default. kms_key takes a customer-managed key.
  project      = var.project
  name         = var.dead_letter_topic
  kms_key_name = var.kms_key
  labels       = var.labels

  dynamic "message_storage_policy" {
    for_each = length(var.storage_regions) == 0 ? [] : [1]

    content {
      allowed_persistence_regions = var.storage_regions
    }
  }
}

resource "google_pubsub_subscription" "scans" {
  project = var.project
  name    = var.subscription
  topic   = google_pubsub_topic.scans.id
  labels  = var.labels

  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  # These cannot be changed later. The newest scan wins in any order, and a redelivery changes nothing.
  enable_message_ordering      = false
  enable_exactly_once_delivery = false

  expiration_policy {
    ttl = "" # never
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = var.max_delivery_attempts
  }
}

# A topic without a subscription stores nothing, so this subscription keeps the dead letters.
resource "google_pubsub_subscription" "dead_letters" {
  project = var.project
  name    = var.dead_letter_topic
  topic   = google_pubsub_topic.dead_letters.id
  labels  = var.labels

  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s"

  enable_message_ordering      = false
  enable_exactly_once_delivery = false

  expiration_policy {
    ttl = "" # never
  }

  # There is no retry policy, so that dead letters are available again as soon as `dead-letters list` nacks them.
}
