# Invalid variables are rejected before any cloud is called.

mock_provider "aws" {}

variables {
  oidc_issuer         = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
  producer_principals = ["arn:aws:iam::123456789012:role/shop"]
}

run "no_producer_is_rejected" {
  command = plan
  variables {
    producer_principals = []
  }
  expect_failures = [var.producer_principals]
}

run "a_whole_account_as_producer_is_rejected" {
  command = plan
  variables {
    producer_principals = ["arn:aws:iam::123456789012:root"]
  }
  expect_failures = [var.producer_principals]
}

run "a_wildcard_as_producer_is_rejected" {
  command = plan
  variables {
    producer_principals = ["arn:aws:iam::123456789012:role/*"]
  }
  expect_failures = [var.producer_principals]
}

run "a_fifo_queue_is_rejected" {
  command = plan
  variables {
    queue_names = { events = "events.fifo" }
  }
  expect_failures = [var.queue_names]
}

run "an_invalid_table_name_is_rejected" {
  command = plan
  variables {
    table_names = { routes = "client routes" }
  }
  expect_failures = [var.table_names]
}

run "a_fraction_of_a_receive_is_rejected" {
  command = plan
  variables {
    max_receives = 0.5
  }
  expect_failures = [var.max_receives]
}

run "an_unknown_role_is_rejected" {
  command = plan
  variables {
    service_accounts = { admin = { namespace = "event-pipeline", name = "admin" } }
  }
  expect_failures = [var.service_accounts]
}

run "a_wildcard_for_service_accounts_is_rejected" {
  command = plan
  variables {
    service_accounts = { processor = { namespace = "event-pipeline", name = "*" } }
  }
  expect_failures = [var.service_accounts]
}

run "an_issuer_without_tls_is_rejected" {
  command = plan
  variables {
    oidc_issuer = "http://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
  }
  expect_failures = [var.oidc_issuer]
}

run "the_short_name_of_an_alarm_topic_is_rejected" {
  command = plan
  variables {
    alarm_topic_arns = ["oncall"]
  }
  expect_failures = [var.alarm_topic_arns]
}
