terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Version 6 replaces arguments of the table (key_schema for indexes). Its warm_throughput and its indexes with several
      # partition keys would be reasons to upgrade.
      version = "5.100.0"
    }
  }
}
