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
    defaults = { arn = "arn:aws:iam::123456789012:role/scan-results-consumer" }
  }
}

variables {
  project    = "my-project"
  cluster    = { name = "main", location = "europe-west1" }
  aws_region = "eu-west-1"
}

run "the_outputs_match_the_kubernetes_overlay" {
  command = plan

  assert {
    condition     = output.consumer_env == file("../../../kubernetes/overlays/gke/consumer.env")
    error_message = "consumer.env of the overlay must equal the output consumer_env."
  }
}
