# Each grant gives one identity one role on one resource. No Google service account and no key is created.

data "google_project" "pubsub" {
  project_id = var.project
}

data "google_project" "cluster" {
  project_id = local.cluster_project
}

locals {
  cluster_project = coalesce(var.cluster.project, var.project)
  pool            = "//iam.googleapis.com/projects/${data.google_project.cluster.number}/locations/global/workloadIdentityPools/${local.cluster_project}.svc.id.goog"
  workload        = "principal:${local.pool}/subject/ns/${var.service_account.namespace}/sa/${var.service_account.name}"
  pubsub_agent    = "serviceAccount:service-${data.google_project.pubsub.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# --- the consumers read the subscription and publish dead letters ---

resource "google_pubsub_subscription_iam_member" "workload_reads_scans" {
  project      = var.project
  subscription = google_pubsub_subscription.scans.name
  role         = "roles/pubsub.subscriber"
  member       = local.workload
}

resource "google_pubsub_topic_iam_member" "workload_publishes_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = local.workload
}

# --- Pub/Sub's service agent moves messages after max_delivery_attempts ---

resource "google_pubsub_topic_iam_member" "agent_publishes_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "agent_acknowledges_what_it_moved" {
  project      = var.project
  subscription = google_pubsub_subscription.scans.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# --- the autoscaler reads the backlog ---

resource "google_project_iam_member" "scaler_reads_metrics" {
  count = var.scaler == null ? 0 : 1

  project = var.project
  role    = "roles/monitoring.viewer"
  member  = "principal:${local.pool}/subject/ns/${var.scaler.namespace}/sa/${var.scaler.name}"
}

# Managed Prometheus in the cluster evaluates rules on the metrics scope of its own project. KEDA asks the Pub/Sub project.
resource "google_monitoring_monitored_project" "pubsub" {
  count = var.metrics_scope ? 1 : 0

  metrics_scope = local.cluster_project
  name          = var.project
}

# --- operators replay scans ---

# A seek needs `pubsub.subscriptions.consume`, which also allows to receive and acknowledge scans. No narrower permission exists.
resource "google_pubsub_subscription_iam_member" "operator_replays_scans" {
  for_each = var.replay_days == 0 ? [] : toset(var.operators)

  project      = var.project
  subscription = google_pubsub_subscription.scans.name
  role         = "roles/pubsub.subscriber"
  member       = each.value
}

# --- operators and their Jobs list dead letters and redrive them to the topic that they came from ---

locals {
  # The keys are known before the number of the cluster's project is.
  redrivers = merge(
    { for member in var.operators : member => member },
    var.operator_service_account == null ? {} : {
      job = "principal:${local.pool}/subject/ns/${var.operator_service_account.namespace}/sa/${var.operator_service_account.name}"
    },
  )
}

resource "google_pubsub_subscription_iam_member" "operator_takes_dead_letters" {
  for_each = local.redrivers

  project      = var.project
  subscription = google_pubsub_subscription.dead_letters.name
  role         = "roles/pubsub.subscriber"
  member       = each.value
}

resource "google_pubsub_topic_iam_member" "operator_publishes_scans_again" {
  for_each = local.redrivers

  project = var.project
  topic   = google_pubsub_topic.scans.name
  role    = "roles/pubsub.publisher"
  member  = each.value
}

# `dead-letters redrive` reads the subscription's topic, which the role `subscriber` does not allow.
resource "google_pubsub_subscription_iam_member" "operator_looks" {
  for_each = {
    for pair in setproduct(["scans", "dead_letters"], keys(local.redrivers)) : join(" ", pair) => { of = pair[0], member = local.redrivers[pair[1]] }
  }

  project      = var.project
  subscription = { scans = google_pubsub_subscription.scans.name, dead_letters = google_pubsub_subscription.dead_letters.name }[each.value.of]
  role         = "roles/pubsub.viewer"
  member       = each.value.member
}
