# Both providers are mocked, so these tests create nothing and call no cloud.

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

mock_provider "aws" {
  override_during = plan

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/a-role" }
  }
}

variables {
  project    = "my-project"
  cluster    = { name = "main", location = "europe-west1" }
  aws_region = "eu-west-1"
}

run "consumers_and_the_api_get_their_settings" {
  command = plan

  assert {
    condition     = output.consumer_env == <<-TEXT
      AWS_REGION=eu-west-1
      AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a-role
      MINI_SCAN_DEAD_LETTER_TOPIC=scan-dead-letter
      MINI_SCAN_PROJECT=my-project
      MINI_SCAN_SUBSCRIPTION=scan-sub
      MINI_SCAN_TABLE=scan-results
    TEXT
    error_message = "consumer_env must have the settings of both clouds."
  }
  assert {
    condition     = output.api_env == <<-TEXT
      AWS_REGION=eu-west-1
      AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a-role
      MINI_SCAN_TABLE=scan-results
    TEXT
    error_message = "api_env must have the settings of the API, without tables that do not exist."
  }
  assert {
    condition     = output.changes_env == null && toset(keys(output.role_envs)) == toset(["api", "consumer"])
    error_message = "Without the variable changes there must be no reader of changes."
  }
}

run "the_reader_of_changes_with_webhooks_gets_its_settings" {
  command = plan

  variables {
    changes  = true
    webhooks = true
  }

  assert {
    condition     = output.changes_env == <<-TEXT
      AWS_REGION=eu-west-1
      AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a-role
      MINI_SCAN_DELIVERIES_TABLE=scan-deliveries
      MINI_SCAN_HISTORY_TABLE=scan-history
      MINI_SCAN_LEASE_TABLE=scan-leases
      MINI_SCAN_TABLE=scan-results
      MINI_SCAN_WEBHOOKS_TABLE=scan-webhooks
    TEXT
    error_message = "changes_env must name all tables."
  }
  assert {
    condition     = strcontains(output.api_env, "MINI_SCAN_HISTORY_TABLE=scan-history\n") && strcontains(output.api_env, "MINI_SCAN_WEBHOOKS_TABLE=scan-webhooks\n")
    error_message = "The API must show the history, and manage webhooks."
  }
}

run "more_roles_get_their_settings" {
  command = plan

  variables {
    service_accounts = { exporter = { namespace = "mini-scan", name = "mini-scan-export" } }
  }

  assert {
    condition     = strcontains(output.role_envs["exporter"], "MINI_SCAN_TABLE=scan-results\n")
    error_message = "role_envs must have the settings of each role."
  }
}

run "an_identity_provider_that_exists_is_not_created" {
  command = plan

  variables {
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/container.googleapis.com/v1/projects/my-project/locations/europe-west1/clusters/main"
    service_account   = { namespace = "scans", name = "consumer" }
  }

  assert {
    condition     = output.oidc_provider_arn == var.oidc_provider_arn
    error_message = "An account has one identity provider per issuer, so the module must use the one that exists."
  }
  assert {
    condition     = local.service_accounts["consumer"] == var.service_account
    error_message = "Both clouds must grant their permissions to the same service account."
  }
}

run "an_index_that_needs_another_one_is_rejected" {
  command = plan
  variables {
    host_index    = false
    service_index = true
  }
  expect_failures = [var.service_index]
}

run "a_limit_of_reads_below_one_is_rejected" {
  command = plan
  variables {
    max_read_units = 0
  }
  expect_failures = [var.max_read_units]
}

run "webhooks_without_the_reader_of_changes_are_rejected" {
  command = plan
  variables {
    webhooks = true
  }
  expect_failures = [var.webhooks]
}

run "a_service_account_with_a_wildcard_is_rejected" {
  command = plan
  variables {
    service_account = { namespace = "mini-scan", name = "*" }
  }
  expect_failures = [var.service_account]
}

run "a_name_instead_of_an_identity_provider_is_rejected" {
  command = plan
  variables {
    oidc_provider_arn = "container.googleapis.com"
  }
  expect_failures = [var.oidc_provider_arn]
}
