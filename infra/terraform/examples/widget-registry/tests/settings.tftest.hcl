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
  aws_region  = "eu-west-1"
  oidc_issuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
}

run "the_api_gets_its_settings" {
  command = plan

  assert {
    condition     = output.widgets_env == <<-TEXT
      AWS_REGION=eu-west-1
      AWS_ROLE_ARN=arn:aws:iam::123456789012:role/a-role
      WIDGET_REGISTRY_REQUESTS_TABLE=widget-requests
      WIDGET_REGISTRY_WIDGETS_TABLE=widgets
    TEXT
    error_message = "widgets_env must have the settings of the API."
  }
  assert {
    condition     = output.operator_env == null
    error_message = "Only operator_service_account may create the role operator."
  }
}

run "an_operator_gets_the_settings_of_the_commands" {
  command = plan

  variables {
    operator_service_account = { namespace = "widget-registry", name = "widget-registry-operator" }
  }

  assert {
    condition     = strcontains(output.operator_env, "WIDGET_REGISTRY_WIDGETS_TABLE=widgets\n")
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

run "restored_tables_have_other_names" {
  command = plan

  variables {
    table_names = { widgets = "widgets-restored" }
  }

  assert {
    condition     = strcontains(output.widgets_env, "WIDGET_REGISTRY_REQUESTS_TABLE=widget-requests\nWIDGET_REGISTRY_WIDGETS_TABLE=widgets-restored\n")
    error_message = "The module must use the given names, and the defaults of the others."
  }
}

run "a_table_name_with_a_space_is_rejected" {
  command = plan
  variables {
    table_names = { widgets = "my widgets" }
  }
  expect_failures = [var.table_names]
}
