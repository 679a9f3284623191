# The provider is mocked, so these tests create nothing and call no cloud.

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
  aws_region          = "eu-west-1"
  oidc_issuer         = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
  producer_principals = ["arn:aws:iam::123456789012:role/shop"]
}

run "both_programs_get_their_settings" {
  command = plan

  assert {
    condition     = output.processor_env == <<-TEXT
      AWS_REGION=eu-west-1
      AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a-role
      EVENT_PIPELINE_DEAD_LETTER_QUEUE=events-dlq
      EVENT_PIPELINE_DELIVERIES_TABLE=deliveries
      EVENT_PIPELINE_DELIVER_DEAD_LETTER_QUEUE=deliver-dlq
      EVENT_PIPELINE_EVENTS_TABLE=Events
      EVENT_PIPELINE_LEASES_TABLE=event-leases
      EVENT_PIPELINE_QUEUE=events
      EVENT_PIPELINE_ROUTES_TABLE=routes
    TEXT
    error_message = "processor_env must have the settings of the processors."
  }
  assert {
    condition     = output.deliverer_env == output.processor_env
    error_message = "deliverer_env must have the settings of the deliverers. Here, both roles have the same ARN."
  }
  assert {
    condition     = output.operator_env == null
    error_message = "Only operator_service_account may create the role operator."
  }
}

run "an_operator_gets_the_settings_of_the_commands" {
  command = plan

  variables {
    operator_service_account = { namespace = "event-pipeline", name = "event-pipeline-operator" }
  }

  assert {
    condition     = strcontains(output.operator_env, "EVENT_PIPELINE_QUEUE=events\n")
    error_message = "operator_env must have the settings of the commands."
  }
}

run "a_name_instead_of_an_identity_provider_is_rejected" {
  command = plan
  variables {
    oidc_provider_arn = "oidc.eks.eu-west-1.amazonaws.com"
  }
  expect_failures = [var.oidc_provider_arn]
}
