terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Knows messages of at most 256 KiB. A version that knows 1 MiB would be a reason to upgrade.
      version = "5.100.0"
    }
  }
}
