output "table" {
  description = "The table, with all its attributes."
  value       = aws_dynamodb_table.this
}

output "alarms" {
  description = "The alarms, by name."
  value       = aws_cloudwatch_metric_alarm.throttled
}
