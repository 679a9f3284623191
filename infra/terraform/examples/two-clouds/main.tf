# The complete installation: a subscription in Google Cloud, a table in AWS, and a GKE cluster whose consumers may use
# both without a stored key. Copy this folder or call the modules from your own configuration. Use your own backend for
# the state.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }
}

provider "google" {
  project = var.project
}

provider "aws" {
  region = var.aws_region
}

module "gcp" {
  source = "../../gcp"

  project         = var.project
  cluster         = var.cluster
  operators       = var.operators
  page_channels   = var.page_channels
  ticket_channels = var.ticket_channels
}

module "aws" {
  source = "../../aws"

  oidc_issuer      = module.gcp.oidc_issuer
  service_accounts = { consumer = module.gcp.service_account }
  max_write_units  = var.max_write_units
  alarm_topic_arns = var.alarm_topic_arns
}
