terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # This version has no warm_throughput: `widget-registry setup` and the runbook warm the table.
      version = "5.100.0"
    }
  }
}
