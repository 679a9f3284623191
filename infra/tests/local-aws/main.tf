# Applies module aws to a local AWS, for infra/tests/agreement.py.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

variable "endpoint" {
  description = "URL of the local AWS."
  type        = string
}

variable "service_index" {
  description = "Whether module aws keeps the index by-service."
  type        = bool
  default     = false
}

variable "table_name" {
  description = "Name of the table of scans. A table that was restored from a backup has another one."
  type        = string
  default     = "by-terraform"
}

variable "max_write_units" {
  description = "The limit of the table and its indexes."
  type        = number
  default     = null
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "local"
  secret_key                  = "local"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true

  endpoints {
    cloudwatch = var.endpoint
    dynamodb   = var.endpoint
    iam        = var.endpoint
    sts        = var.endpoint
  }
}

module "aws" {
  source = "../../terraform/aws"

  table_name            = var.table_name
  history_table_name    = "history-by-terraform"
  oidc_issuer           = "https://container.googleapis.com/v1/projects/p/locations/europe-west1/clusters/c"
  lease_table_name      = "leases-by-terraform"
  webhooks_table_name   = "webhooks-by-terraform"
  deliveries_table_name = "deliveries-by-terraform"
  service_index         = var.service_index
  max_write_units       = var.max_write_units
  service_accounts = {
    consumer          = { namespace = "mini-scan", name = "mini-scan" }
    changes           = { namespace = "mini-scan", name = "mini-scan-changes" }
    changes_backfill  = { namespace = "mini-scan", name = "backfill" }
    stream_reader     = { namespace = "mini-scan", name = "reader" }
    api               = { namespace = "mini-scan", name = "api" }
    webhooks_operator = { namespace = "mini-scan", name = "operator" }
  }
}

output "consumer_environment" {
  value = module.aws.consumer_environment
}

output "changes_environment" {
  value = module.aws.changes_environment
}

output "roles" {
  value = module.aws.role_arns
}

output "alarm_names" {
  value = module.aws.alarm_names
}
