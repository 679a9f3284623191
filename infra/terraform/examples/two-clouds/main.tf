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

  project                  = var.project
  cluster                  = var.cluster
  metrics_scope            = var.metrics_scope
  service_account          = var.service_account
  scaler                   = var.scaler
  replay_days              = var.replay_days
  operators                = var.operators
  operator_service_account = var.operator_service_account
  alert_policies           = var.alert_policies
  page_channels            = var.page_channels
  ticket_channels          = var.ticket_channels
}

locals {
  namespace = module.gcp.service_account.namespace
  # Roles cost nothing. The tables of the optional programs do, once they have records.
  service_accounts = merge(
    {
      consumer = module.gcp.service_account
      api      = { namespace = local.namespace, name = "mini-scan-api" }
    },
    var.changes ? { changes = { namespace = local.namespace, name = "mini-scan-changes" } } : {},
    var.webhooks ? { webhooks_operator = { namespace = local.namespace, name = "webhooks-operator" } } : {},
    var.service_accounts,
  )
}

module "aws" {
  source = "../../aws"

  oidc_issuer           = module.gcp.oidc_issuer
  oidc_provider_arn     = var.oidc_provider_arn
  service_accounts      = local.service_accounts
  batch_writes          = var.batch_writes
  table_name            = var.table_name
  host_index            = var.host_index
  service_index         = var.service_index
  history_table_name    = var.changes ? "scan-history" : null
  lease_table_name      = var.changes ? "scan-leases" : null
  webhooks_table_name   = var.webhooks ? "scan-webhooks" : null
  deliveries_table_name = var.webhooks ? "scan-deliveries" : null
  max_read_units        = var.max_read_units
  max_write_units       = var.max_write_units
  deletion_protection   = var.deletion_protection
  alarm_topic_arns      = var.alarm_topic_arns
}
