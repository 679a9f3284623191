output "topic" {
  description = "Full name of the topic, for publishers."
  value       = google_pubsub_topic.scans.id
}

output "subscription" {
  description = "Full name of the subscription, for --subscription."
  value       = google_pubsub_subscription.scans.id
}

output "dead_letter_topic" {
  description = "Full name of the dead-letter topic, for --dead-letter-topic."
  value       = google_pubsub_topic.dead_letters.id
}

output "dead_letter_subscription" {
  description = "Full name of the subscription to the dead-letter topic."
  value       = google_pubsub_subscription.dead_letters.id
}

output "oidc_issuer" {
  description = "URL of the issuer of the cluster's service account tokens, which module aws trusts."
  value       = "https://container.googleapis.com/v1/projects/${local.cluster_project}/locations/${var.cluster.location}/clusters/${var.cluster.name}"
}

output "service_account" {
  description = "The Kubernetes service account that has the permissions, for module aws."
  value       = var.service_account
}

output "prometheus_address" {
  description = "Address of Cloud Monitoring's Prometheus API, for the autoscaler's query."
  value       = "https://monitoring.googleapis.com/v1/projects/${var.project}/location/global/prometheus"
}

output "consumer_environment" {
  description = "The consumer's Google Cloud settings, by environment variable."
  value = {
    MINI_SCAN_PROJECT           = var.project
    MINI_SCAN_SUBSCRIPTION      = google_pubsub_subscription.scans.name
    MINI_SCAN_DEAD_LETTER_TOPIC = google_pubsub_topic.dead_letters.name
  }
}
