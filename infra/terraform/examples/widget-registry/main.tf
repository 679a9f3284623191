# A complete installation of widget-registry in AWS. Copy this folder or call the module from your own configuration. Use your
# own backend for the state.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = var.aws_region
}

module "widgets" {
  source = "../../widgets"

  oidc_issuer         = var.oidc_issuer
  oidc_provider_arn   = var.oidc_provider_arn
  table_names         = var.table_names
  max_write_units     = var.max_write_units
  table_write_quota   = var.table_write_quota
  deletion_protection = var.deletion_protection
  alarm_topic_arns    = var.alarm_topic_arns
  service_accounts    = local.service_accounts
}

locals {
  service_accounts = merge(
    { api = { namespace = "widget-registry", name = "widget-registry" } },
    var.operator_service_account == null ? {} : { operator = var.operator_service_account },
  )
}
