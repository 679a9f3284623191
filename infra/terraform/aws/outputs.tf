output "table_name" {
  description = "Name of the table, for --table."
  value       = aws_dynamodb_table.scans.name
}

output "table_arn" {
  description = "ARN of the table."
  value       = aws_dynamodb_table.scans.arn
}

output "stream_arn" {
  description = "ARN of the table's stream, for its readers."
  value       = aws_dynamodb_table.scans.stream_arn
}

output "region" {
  description = "Region of the table, for AWS_REGION."
  value       = data.aws_region.this.name
}

output "role_arns" {
  description = "ARN of the role of each service account, for AWS_ROLE_ARN."
  value       = { for role, made in aws_iam_role.workload : role => made.arn }
}

output "oidc_provider_arn" {
  description = "ARN of the identity provider of the cluster's issuer, for other modules that trust it."
  value       = local.oidc_provider_arn
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = sort(concat([for alarm in aws_cloudwatch_metric_alarm.table : alarm.alarm_name], aws_cloudwatch_metric_alarm.near_write_limit[*].alarm_name))
}

output "consumer_environment" {
  description = "The consumer's AWS settings, by environment variable. AWS_ROLE_ARN is empty if service_accounts has no consumer."
  value = {
    MINI_SCAN_TABLE = aws_dynamodb_table.scans.name
    AWS_REGION      = data.aws_region.this.name
    AWS_ROLE_ARN    = try(aws_iam_role.workload["consumer"].arn, "")
  }
}

output "changes_environment" {
  description = "The AWS settings of `mini-scan changes`, by environment variable. Empty without history_table_name and lease_table_name, AWS_ROLE_ARN also if service_accounts has no changes."
  value = var.history_table_name == null || var.lease_table_name == null ? {} : merge(
    {
      MINI_SCAN_TABLE         = aws_dynamodb_table.scans.name
      MINI_SCAN_HISTORY_TABLE = one(aws_dynamodb_table.history[*].name)
      MINI_SCAN_LEASE_TABLE   = one(aws_dynamodb_table.leases[*].name)
      AWS_REGION              = data.aws_region.this.name
      AWS_ROLE_ARN            = try(aws_iam_role.workload["changes"].arn, "")
    },
    local.webhooks_environment,
  )
}

output "webhooks_environment" {
  description = "The tables of webhooks, by environment variable, for `mini-scan changes`, `mini-scan api` and `mini-scan webhooks`. Empty without webhooks_table_name."
  value       = local.webhooks_environment
}

output "role_environments" {
  description = "The AWS settings of the program with each role, by environment variable."
  value = {
    for role, made in aws_iam_role.workload : role => merge(
      { AWS_REGION = data.aws_region.this.name, AWS_ROLE_ARN = made.arn, MINI_SCAN_TABLE = aws_dynamodb_table.scans.name },
      contains(["changes", "changes_backfill", "webhooks_operator", "api", "api_writer"], role) ? local.history_environment : {},
      contains(["changes", "changes_backfill", "stream_reader"], role) ? local.lease_environment : {},
      contains(["changes", "webhooks_operator", "api", "api_writer"], role) ? local.webhooks_environment : {},
    )
  }
}

locals {
  history_environment = var.history_table_name == null ? {} : { MINI_SCAN_HISTORY_TABLE = one(aws_dynamodb_table.history[*].name) }
  lease_environment   = var.lease_table_name == null ? {} : { MINI_SCAN_LEASE_TABLE = one(aws_dynamodb_table.leases[*].name) }
}
