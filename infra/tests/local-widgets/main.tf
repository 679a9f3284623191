# Applies module widgets to a local AWS, for infra/tests/widgets.py.

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

module "widgets" {
  source = "../../terraform/widgets"

  table_names = { widgets = "widgets-by-terraform", requests = "requests-by-terraform" }
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/europe-west1/clusters/c"
  service_accounts = {
    api      = { namespace = "widget-registry", name = "widget-registry" }
    operator = { namespace = "widget-registry", name = "operator" }
  }
}

output "environment" {
  value = module.widgets.environment
}

output "roles" {
  value = module.widgets.role_arns
}
