output "table_name" {
  description = "For --table."
  value       = aws_dynamodb_table.scans.name
}

output "table_arn" {
  description = "Full name of the table."
  value       = aws_dynamodb_table.scans.arn
}

output "stream_arn" {
  description = "The table's stream, for its readers."
  value       = aws_dynamodb_table.scans.stream_arn
}

output "region" {
  description = "For AWS_REGION."
  value       = data.aws_region.this.name
}

output "role_arns" {
  description = "The role of each service account, for AWS_ROLE_ARN."
  value       = { for role, made in aws_iam_role.workload : role => made.arn }
}

output "oidc_provider_arn" {
  description = "The provider of the cluster's issuer, for other modules that trust it."
  value       = local.oidc_provider_arn
}

output "alarm_names" {
  description = "Every alarm that was made."
  value       = sort(concat([for alarm in aws_cloudwatch_metric_alarm.table : alarm.alarm_name], aws_cloudwatch_metric_alarm.near_write_limit[*].alarm_name))
}

output "consumer_environment" {
  description = "The consumer's settings of AWS, by environment variable; empty names where no consumer's role was asked for."
  value = {
    MINI_SCAN_TABLE = aws_dynamodb_table.scans.name
    AWS_REGION      = data.aws_region.this.name
    AWS_ROLE_ARN    = try(aws_iam_role.workload["consumer"].arn, "")
  }
}
