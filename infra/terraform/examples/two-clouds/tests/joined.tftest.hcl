# Nothing is made and no cloud is asked: both providers are mocked.

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

run "the_outputs_are_what_the_overlay_of_kubernetes_reads" {
  command = plan

  assert {
    condition     = output.consumer_env == file("../../../kubernetes/overlays/gke/consumer.env")
    error_message = "consumer.env must have the names that Terraform puts out."
  }
}
