# The provider is mocked, so these tests create nothing and call no cloud. Terraform still needs it for its schemas.

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project   = "my-project"
  cluster   = { name = "main", location = "europe-west1" }
  operators = ["group:oncall@example.com"]
}

run "the_subscriptions_match_setup" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.scans.ack_deadline_seconds == 60
    error_message = "The ack deadline must be 60 s."
  }
  assert {
    condition     = google_pubsub_subscription.scans.message_retention_duration == "604800s"
    error_message = "Scans must be kept 7 days."
  }
  assert {
    condition     = google_pubsub_subscription.dead_letters.message_retention_duration == "2678400s"
    error_message = "Dead letters must be kept 31 days."
  }
  assert {
    condition     = one(google_pubsub_subscription.scans.expiration_policy).ttl == "" && one(google_pubsub_subscription.dead_letters.expiration_policy).ttl == ""
    error_message = "No subscription may expire."
  }
  assert {
    condition     = one(google_pubsub_subscription.scans.retry_policy).minimum_backoff == "10s" && one(google_pubsub_subscription.scans.retry_policy).maximum_backoff == "600s"
    error_message = "The retry policy must be 10 to 600 s."
  }
  assert {
    condition     = length(google_pubsub_subscription.dead_letters.retry_policy) == 0
    error_message = "Dead letters must be redelivered without a backoff."
  }
  assert {
    condition     = one(google_pubsub_subscription.scans.dead_letter_policy).max_delivery_attempts == 100
    error_message = "An outage must not dead-letter good scans, so the limit must be 100 attempts."
  }
}

run "the_workload_reads_scans_and_publishes_dead_letters" {
  command = plan

  assert {
    condition = alltrue([
      for grant in [google_pubsub_subscription_iam_member.workload_reads_scans, google_pubsub_topic_iam_member.workload_publishes_dead_letters] :
      grant.member == "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/my-project.svc.id.goog/subject/ns/mini-scan/sa/mini-scan"
    ])
    error_message = "Only the consumer's service account must have the grants."
  }
  assert {
    condition     = google_pubsub_subscription_iam_member.workload_reads_scans.role == "roles/pubsub.subscriber" && google_pubsub_topic_iam_member.workload_publishes_dead_letters.role == "roles/pubsub.publisher"
    error_message = "It must be subscriber on the subscription and publisher on the dead-letter topic."
  }
}

run "the_service_agent_may_move_messages_to_the_dead_letter_topic" {
  command = plan

  assert {
    condition     = google_pubsub_topic_iam_member.agent_publishes_dead_letters.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    error_message = "The service agent of the subscription's project must be able to publish dead letters."
  }
}

run "operators_may_replay_scans" {
  command = plan

  assert {
    condition     = google_pubsub_topic.scans.message_retention_duration == "86400s"
    error_message = "The topic must keep messages for a day by default."
  }
  assert {
    condition = (
      toset(keys(google_pubsub_subscription_iam_member.operator_replays_scans)) == toset(["group:oncall@example.com"])
      && google_pubsub_subscription_iam_member.operator_replays_scans["group:oncall@example.com"].role == "roles/pubsub.subscriber"
      && google_pubsub_subscription_iam_member.operator_replays_scans["group:oncall@example.com"].subscription == "scan-sub"
    )
    error_message = "Each operator must be subscriber of the subscription of the scans, which a seek needs. Nobody else may be."
  }
}

run "operators_and_their_jobs_may_redrive_dead_letters" {
  command = plan

  variables {
    operator_service_account = { namespace = "mini-scan", name = "mini-scan-operator" }
  }

  assert {
    condition = alltrue([
      for members in [google_pubsub_subscription_iam_member.operator_takes_dead_letters, google_pubsub_topic_iam_member.operator_publishes_scans_again] :
      toset([for grant in values(members) : grant.member]) == toset([
        "group:oncall@example.com",
        "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/my-project.svc.id.goog/subject/ns/mini-scan/sa/mini-scan-operator",
      ])
    ])
    error_message = "Operators and the service account of their Jobs must be subscriber of the dead letters and publisher on the topic."
  }
  assert {
    condition     = length(google_pubsub_subscription_iam_member.operator_looks) == 4
    error_message = "Both must be viewer of both subscriptions."
  }
}

run "without_a_service_account_of_jobs_only_operators_have_grants" {
  command = plan

  assert {
    condition     = toset(keys(google_pubsub_subscription_iam_member.operator_takes_dead_letters)) == toset(["group:oncall@example.com"])
    error_message = "No service account may read dead letters."
  }
}

run "a_topic_may_keep_nothing_for_replays" {
  command = plan

  variables {
    replay_days = 0
  }

  assert {
    condition     = google_pubsub_topic.scans.message_retention_duration == null
    error_message = "Without replay_days, the topic must not retain messages."
  }
  assert {
    condition     = length(google_pubsub_subscription_iam_member.operator_replays_scans) == 0
    error_message = "Without replay_days there is nothing to replay, so operators must not be able to acknowledge scans."
  }
}

run "a_cluster_in_another_project_uses_the_pool_of_that_project" {
  command = plan

  variables {
    cluster = { name = "main", location = "europe-west1-b", project = "other-project" }
  }

  assert {
    condition     = strcontains(google_pubsub_subscription_iam_member.workload_reads_scans.member, "/other-project.svc.id.goog/")
    error_message = "The workload identity pool must belong to the cluster's project."
  }
  assert {
    condition     = output.oidc_issuer == "https://container.googleapis.com/v1/projects/other-project/locations/europe-west1-b/clusters/main"
    error_message = "The issuer must be the cluster's."
  }
}

run "the_metrics_scope_of_the_cluster_is_left_alone" {
  command = plan

  variables {
    cluster = { name = "main", location = "europe-west1", project = "other-project" }
  }

  assert {
    condition     = length(google_monitoring_monitored_project.pubsub) == 0
    error_message = "Only metrics_scope may change the metrics scope of another project."
  }
}

run "rules_of_a_cluster_in_another_project_see_the_backlog" {
  command = plan

  variables {
    cluster       = { name = "main", location = "europe-west1", project = "other-project" }
    metrics_scope = true
  }

  assert {
    condition     = one(google_monitoring_monitored_project.pubsub).metrics_scope == "other-project" && one(google_monitoring_monitored_project.pubsub).name == "my-project"
    error_message = "The scope of the cluster's project must contain the Pub/Sub project."
  }
  assert {
    condition     = one(google_project_iam_member.scaler_reads_metrics).project == "my-project" && strcontains(output.prometheus_address, "/projects/my-project/")
    error_message = "KEDA must ask the Pub/Sub project, which needs no metrics scope."
  }
}

run "a_metrics_scope_for_a_cluster_in_the_same_project_is_rejected" {
  command = plan
  variables {
    metrics_scope = true
  }
  expect_failures = [var.metrics_scope]
}

run "more_than_31_days_of_replays_are_rejected" {
  command = plan
  variables {
    replay_days = 32
  }
  expect_failures = [var.replay_days]
}

run "a_service_account_of_jobs_with_a_wildcard_is_rejected" {
  command = plan
  variables {
    operator_service_account = { namespace = "mini-scan", name = "*" }
  }
  expect_failures = [var.operator_service_account]
}

run "an_old_backlog_pages" {
  command = plan

  variables {
    page_channels = ["projects/my-project/notificationChannels/1"]
  }

  assert {
    condition     = google_monitoring_alert_policy.pubsub["backlog_old"].notification_channels == tolist(["projects/my-project/notificationChannels/1"])
    error_message = "The alert must notify page_channels."
  }
}

run "only_new_dead_letters_open_a_ticket" {
  command = plan

  variables {
    ticket_channels = ["projects/my-project/notificationChannels/2"]
  }

  assert {
    condition     = google_monitoring_alert_policy.pubsub["dead_letters"].notification_channels == tolist(["projects/my-project/notificationChannels/2"])
    error_message = "The alert must notify ticket_channels."
  }
  assert {
    condition = alltrue([
      for text in ["min_over_time", "subscription_id=\"scan-dead-letter\"", "project_id=\"my-project\""] :
      strcontains(one(one(google_monitoring_alert_policy.pubsub["dead_letters"].conditions).condition_prometheus_query_language).query, text)
    ])
    error_message = "The alert must compare the dead letters of this project with earlier ones."
  }
  assert {
    condition     = strcontains(one(one(google_monitoring_alert_policy.pubsub["backlog_old"].conditions).condition_threshold).filter, "project_id = \"my-project\"")
    error_message = "The alert must not see the subscriptions of other projects in the metrics scope."
  }
}

run "prometheus_may_alert_instead" {
  command = plan

  variables {
    alert_policies = false
  }

  assert {
    condition     = length(google_monitoring_alert_policy.pubsub) == 0
    error_message = "Without alert_policies there must be no alert policy."
  }
}

run "fewer_than_five_delivery_attempts_are_rejected" {
  command = plan
  variables {
    max_delivery_attempts = 4
  }
  expect_failures = [var.max_delivery_attempts]
}

run "the_same_topic_for_scans_and_dead_letters_is_rejected" {
  command = plan
  variables {
    dead_letter_topic = "scan-topic"
  }
  expect_failures = [var.dead_letter_topic]
}

run "all_users_as_operators_are_rejected" {
  command = plan
  variables {
    operators = ["allUsers"]
  }
  expect_failures = [var.operators]
}
