output "environment" {
  description = "The settings of all commands, by environment variable, without AWS_ROLE_ARN."
  value       = local.environment
}

output "role_environments" {
  description = "The settings of each role, by environment variable."
  value       = { for role, made in module.roles.roles : role => merge(local.environment, { AWS_ROLE_ARN = made.arn }) }
}

output "stream_arn" {
  description = "ARN of the stream of the widgets."
  value       = local.made["widgets"].stream_arn
}

output "role_arns" {
  description = "ARN of the role of each service account, for AWS_ROLE_ARN."
  value       = { for role, made in module.roles.roles : role => made.arn }
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = sort(concat([aws_cloudwatch_metric_alarm.quota.alarm_name], flatten([for made in values(module.tables) : values(made.alarms)[*].alarm_name])))
}

locals {
  environment = {
    AWS_REGION                     = data.aws_region.this.name
    WIDGET_REGISTRY_REQUESTS_TABLE = local.made["requests"].name
    WIDGET_REGISTRY_WIDGETS_TABLE  = local.made["widgets"].name
  }
}
