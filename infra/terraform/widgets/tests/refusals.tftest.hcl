# Invalid variables are rejected before any cloud is called.

mock_provider "aws" {}

variables {
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
}

run "an_invalid_table_name_is_rejected" {
  command = plan
  variables {
    table_names = { widgets = "all widgets" }
  }
  expect_failures = [var.table_names]
}

run "a_limit_below_one_connect_is_rejected" {
  command = plan
  variables {
    max_write_units = 3
  }
  expect_failures = [var.max_write_units]
}

run "a_quota_of_nothing_is_rejected" {
  command = plan
  variables {
    table_write_quota = 0
  }
  expect_failures = [var.table_write_quota]
}

run "an_unknown_role_is_rejected" {
  command = plan
  variables {
    service_accounts = { admin = { namespace = "widget-registry", name = "admin" } }
  }
  expect_failures = [var.service_accounts]
}

run "a_wildcard_for_service_accounts_is_rejected" {
  command = plan
  variables {
    service_accounts = { api = { namespace = "widget-registry", name = "*" } }
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
