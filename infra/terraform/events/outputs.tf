output "environment" {
  description = "The settings of all programs, by environment variable, without AWS_ROLE_ARN."
  value       = local.environment
}

output "role_environments" {
  description = "The settings of each role, by environment variable."
  value       = { for role, made in module.roles.roles : role => merge(local.environment, { AWS_ROLE_ARN = made.arn }) }
}

output "queue_urls" {
  description = "URLs of the queues. Producers send to `events`."
  value       = { for queue, made in local.queues : queue => made.id }
}

output "stream_arn" {
  description = "ARN of the stream of the events."
  value       = local.made["events"].stream_arn
}

output "role_arns" {
  description = "ARN of the role of each service account, for AWS_ROLE_ARN."
  value       = { for role, made in module.roles.roles : role => made.arn }
}

output "alarm_names" {
  description = "Names of the alarms."
  value       = sort(flatten([for alarms in concat([aws_cloudwatch_metric_alarm.age, aws_cloudwatch_metric_alarm.dead_letters], values(module.tables)[*].alarms) : values(alarms)[*].alarm_name]))
}

locals {
  environment = {
    AWS_REGION                               = data.aws_region.this.name
    EVENT_PIPELINE_QUEUE                     = aws_sqs_queue.events.name
    EVENT_PIPELINE_DEAD_LETTER_QUEUE         = aws_sqs_queue.dead_letters["events_dlq"].name
    EVENT_PIPELINE_DELIVER_DEAD_LETTER_QUEUE = aws_sqs_queue.dead_letters["deliver_dlq"].name
    EVENT_PIPELINE_EVENTS_TABLE              = local.made["events"].name
    EVENT_PIPELINE_ROUTES_TABLE              = local.made["routes"].name
    EVENT_PIPELINE_DELIVERIES_TABLE          = local.made["deliveries"].name
    EVENT_PIPELINE_LEASES_TABLE              = local.made["leases"].name
  }
}
