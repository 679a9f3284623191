# A complete installation of event-pipeline in AWS. Copy this folder or call the module from your own configuration. Use your
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

module "events" {
  source = "../../events"

  oidc_issuer         = var.oidc_issuer
  oidc_provider_arn   = var.oidc_provider_arn
  producer_principals = var.producer_principals
  direct_dispatch     = var.direct_dispatch
  deletion_protection = var.deletion_protection
  alarm_topic_arns    = var.alarm_topic_arns
  service_accounts    = local.service_accounts
}

locals {
  service_accounts = merge(
    {
      processor = { namespace = "event-pipeline", name = "event-pipeline-processor" }
      deliverer = { namespace = "event-pipeline", name = "event-pipeline-deliverer" }
      scaler    = var.scaler
    },
    var.operator_service_account == null ? {} : { operator = var.operator_service_account },
  )
}
