# Invalid variables are rejected before any cloud is called.

mock_provider "aws" {}

variables {
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
}

run "an_invalid_table_name_is_rejected" {
  command = plan
  variables {
    table_name = "scan results"
  }
  expect_failures = [var.table_name]
}

run "an_issuer_without_tls_is_rejected" {
  command = plan
  variables {
    oidc_issuer = "http://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
  }
  expect_failures = [var.oidc_issuer]
}

run "a_wildcard_for_service_accounts_is_rejected" {
  command = plan
  variables {
    service_accounts = { consumer = { namespace = "mini-scan", name = "*" } }
  }
  expect_failures = [var.service_accounts]
}

run "an_unknown_role_is_rejected" {
  command = plan
  variables {
    service_accounts = { admin = { namespace = "mini-scan", name = "admin" } }
  }
  expect_failures = [var.service_accounts]
}

run "a_stream_reader_without_a_lease_table_is_rejected" {
  command = plan
  variables {
    service_accounts = { stream_reader = { namespace = "mini-scan", name = "reader" } }
  }
  expect_failures = [var.lease_table_name]
}

run "a_reader_of_changes_without_a_history_table_is_rejected" {
  command = plan
  variables {
    lease_table_name = "scan-leases"
    service_accounts = { changes = { namespace = "mini-scan", name = "mini-scan-changes" } }
  }
  expect_failures = [var.history_table_name]
}

run "one_of_the_two_tables_of_webhooks_is_rejected" {
  command = plan
  variables {
    webhooks_table_name = "scan-webhooks"
  }
  expect_failures = [var.deliveries_table_name]
}

run "an_operator_of_webhooks_without_their_tables_is_rejected" {
  command = plan
  variables {
    history_table_name = "scan-history"
    service_accounts   = { webhooks_operator = { namespace = "mini-scan", name = "operator" } }
  }
  expect_failures = [var.webhooks_table_name]
}

run "the_index_of_services_without_the_index_of_hosts_is_rejected" {
  command = plan
  variables {
    host_index    = false
    service_index = true
  }
  expect_failures = [var.service_index]
}

run "a_fraction_of_a_write_unit_is_rejected" {
  command = plan
  variables {
    max_write_units = 0.5
  }
  expect_failures = [var.max_write_units]
}

run "a_recovery_period_above_35_days_is_rejected" {
  command = plan
  variables {
    recovery_period_days = 36
  }
  expect_failures = [var.recovery_period_days]
}

run "the_short_name_of_an_alarm_topic_is_rejected" {
  command = plan
  variables {
    alarm_topic_arns = ["oncall"]
  }
  expect_failures = [var.alarm_topic_arns]
}
