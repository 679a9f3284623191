# Applies module events to a local AWS, for infra/tests/events.py.

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
    sqs        = var.endpoint
    sts        = var.endpoint
  }
}

module "events" {
  source = "../../terraform/events"

  queue_names         = { events = "events-by-terraform", events_dlq = "events-dlq-by-terraform", deliver_dlq = "deliver-dlq-by-terraform" }
  table_names         = { events = "events-by-terraform", routes = "routes-by-terraform", deliveries = "deliveries-by-terraform", leases = "leases-by-terraform" }
  producer_principals = ["arn:aws:iam::123456789012:role/shop"]
  oidc_issuer         = "https://container.googleapis.com/v1/projects/p/locations/europe-west1/clusters/c"
  service_accounts = {
    processor = { namespace = "event-pipeline", name = "event-pipeline-processor" }
    deliverer = { namespace = "event-pipeline", name = "event-pipeline-deliverer" }
    scaler    = { namespace = "keda", name = "keda-operator" }
    operator  = { namespace = "event-pipeline", name = "operator" }
  }
}

output "environment" {
  value = module.events.environment
}

output "roles" {
  value = module.events.role_arns
}

output "queue_urls" {
  value = module.events.queue_urls
}
