# Alerts on metrics that only Google Cloud has: the age of the backlog, and the dead letters. Alerts on the metrics of the
# instances are in infra/prometheus, with these alerts as well: alert_policies = false avoids that both notify.

locals {
  alerts = {
    backlog_old = {
      name         = "mini-scan: backlog is old"
      severity     = "CRITICAL"
      runbook      = "miniscanbacklogold"
      text         = "For 10 minutes, the oldest unacknowledged scan on ${var.subscription} has been older than 5 minutes."
      metric       = "oldest_unacked_message_age"
      subscription = var.subscription
      threshold    = 300
      duration     = "600s"
      channels     = var.page_channels
    }
    dead_letters_old = {
      name         = "mini-scan: dead letters are old"
      severity     = "WARNING"
      runbook      = "miniscandeadlettersold"
      text         = "The oldest dead letter on ${var.dead_letter_topic} is more than 7 days old. Pub/Sub deletes it after 31 days."
      metric       = "oldest_unacked_message_age"
      subscription = var.dead_letter_topic
      threshold    = 604800
      duration     = "600s"
      channels     = var.ticket_channels
    }
  }
}

resource "google_monitoring_alert_policy" "pubsub" {
  for_each = var.alert_policies ? local.alerts : {}

  project               = var.project
  display_name          = each.value.name
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = each.value.channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.text

    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        # The metrics scope of the project may contain other projects.
        "resource.labels.project_id = \"${var.project}\"",
        "resource.labels.subscription_id = \"${each.value.subscription}\"",
        "metric.type = \"pubsub.googleapis.com/subscription/${each.value.metric}\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration
      # Missing data does not mean an empty queue, so an open alert stays open until a new value closes it.
      evaluation_missing_data = "EVALUATION_MISSING_DATA_NO_OP"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.text} What to do: docs/runbook.md#${each.value.runbook}"
  }

  depends_on = [google_pubsub_subscription.scans, google_pubsub_subscription.dead_letters]
}

locals {
  dead_letters_text = "New dead letters are waiting on ${var.dead_letter_topic}."
  waiting           = "pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",project_id=\"${var.project}\",subscription_id=\"${var.dead_letter_topic}\"}"
}

# Dead letters that somebody has seen and left must not notify again, so this alert needs an increase, or the first value in a day.
resource "google_monitoring_alert_policy" "dead_letters" {
  count = var.alert_policies ? 1 : 0

  project               = var.project
  display_name          = "mini-scan: dead letters"
  severity              = "WARNING"
  combiner              = "OR"
  notification_channels = var.ticket_channels
  user_labels           = var.labels

  conditions {
    display_name = local.dead_letters_text

    condition_prometheus_query_language {
      query               = "(${local.waiting} - min_over_time(${local.waiting}[1h])) > 0 or (${local.waiting} unless max_over_time(${local.waiting}[1d] offset 15m)) > 0"
      duration            = "0s"
      evaluation_interval = "60s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${local.dead_letters_text} What to do: docs/runbook.md#miniscandeadletters"
  }

  depends_on = [google_pubsub_subscription.dead_letters]
}
