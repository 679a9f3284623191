# Variables that would make something wrong are refused before anything is asked.

mock_provider "aws" {}

variables {
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
}

run "a_table_with_a_bad_name_is_refused" {
  command = plan
  variables {
    table_name = "scan results"
  }
  expect_failures = [var.table_name]
}

run "an_issuer_without_tls_is_refused" {
  command = plan
  variables {
    oidc_issuer = "http://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
  }
  expect_failures = [var.oidc_issuer]
}

run "every_service_account_of_a_namespace_is_refused" {
  command = plan
  variables {
    service_accounts = { consumer = { namespace = "mini-scan", name = "*" } }
  }
  expect_failures = [var.service_accounts]
}

run "a_role_that_does_not_exist_is_refused" {
  command = plan
  variables {
    service_accounts = { admin = { namespace = "mini-scan", name = "admin" } }
  }
  expect_failures = [var.service_accounts]
}

run "a_reader_of_the_stream_without_a_table_for_its_leases_is_refused" {
  command = plan
  variables {
    service_accounts = { stream_reader = { namespace = "mini-scan", name = "reader" } }
  }
  expect_failures = [var.lease_table_name]
}

run "half_a_write_unit_is_refused" {
  command = plan
  variables {
    max_write_units = 0.5
  }
  expect_failures = [var.max_write_units]
}

run "more_days_than_dynamodb_keeps_are_refused" {
  command = plan
  variables {
    recovery_period_days = 36
  }
  expect_failures = [var.recovery_period_days]
}

run "an_alarm_topic_by_its_short_name_is_refused" {
  command = plan
  variables {
    alarm_topic_arns = ["oncall"]
  }
  expect_failures = [var.alarm_topic_arns]
}
