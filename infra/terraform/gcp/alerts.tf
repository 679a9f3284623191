# Alerts on metrics that only Google Cloud has: the age of the backlog, and the dead letters. They are the same as in
# infra/prometheus/mini-scan.yml, which has alerts on the metrics of the instances too. A check compares them. Missing data does not
# mean an empty queue, so an open alert on a threshold stays open until a new value closes it.

locals {
  waiting_dead_letters = join("", [
    "pubsub_googleapis_com:subscription_num_undelivered_messages",
    "{monitored_resource=\"pubsub_subscription\",subscription_id=\"${var.dead_letter_topic}\",project_id=\"${var.project}\"}",
  ])

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
    # New ones: more than at the lowest point within the hour, or the first ones within a day.
    dead_letters = {
      name     = "mini-scan: dead letters"
      severity = "WARNING"
      runbook  = "miniscandeadletters"
      text     = "New dead letters are waiting on ${var.dead_letter_topic}."
      query    = <<-PROMQL
        (
          max by (project_id, subscription_id) (${local.waiting_dead_letters})
          - min by (project_id, subscription_id) (min_over_time(${local.waiting_dead_letters}[1h]))
          > 0
        )
        or (
          max by (project_id, subscription_id) (${local.waiting_dead_letters})
          unless max by (project_id, subscription_id) (max_over_time(${local.waiting_dead_letters}[1d] offset 15m))
        ) > 0
      PROMQL
      duration = "600s"
      channels = var.ticket_channels
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
  # Prometheus may have these alerts instead.
  for_each = { for name, alert in local.alerts : name => alert if var.alert_policies }

  project               = var.project
  display_name          = each.value.name
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = each.value.channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.text

    dynamic "condition_threshold" {
      for_each = can(each.value.threshold) ? [each.value] : []

      content {
        filter = join(" AND ", [
          "resource.type = \"pubsub_subscription\"",
          # The metrics scope of the project may contain other projects.
          "resource.labels.project_id = \"${var.project}\"",
          "resource.labels.subscription_id = \"${condition_threshold.value.subscription}\"",
          "metric.type = \"pubsub.googleapis.com/subscription/${condition_threshold.value.metric}\"",
        ])
        comparison              = "COMPARISON_GT"
        threshold_value         = condition_threshold.value.threshold
        duration                = condition_threshold.value.duration
        evaluation_missing_data = "EVALUATION_MISSING_DATA_NO_OP"

        aggregations {
          alignment_period     = "60s"
          per_series_aligner   = "ALIGN_MAX"
          cross_series_reducer = "REDUCE_MAX"
        }
      }
    }

    dynamic "condition_prometheus_query_language" {
      for_each = can(each.value.query) ? [each.value] : []

      content {
        query               = condition_prometheus_query_language.value.query
        duration            = condition_prometheus_query_language.value.duration
        evaluation_interval = "60s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.text} What to do: docs/runbook.md#${each.value.runbook}"
  }

  depends_on = [google_pubsub_subscription.scans, google_pubsub_subscription.dead_letters]
}
