terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.x replaces arguments of the table (indexes by key_schema); its warm_throughput would be the reason to move.
      version = "5.100.0"
    }
  }
}
