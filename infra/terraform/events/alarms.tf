# SQS always reports its metrics for queues in use, so missing data is healthy. Module table has the alarms of
# the tables. AWS has no metric for how far a reader of the stream is behind: that alert is in infra/prometheus.

locals {
  ages = {
    events      = { text = "The oldest event has waited for more than 5 minutes.", seconds = 300, periods = 10, runbook = "eventpipelinemessagesold" }
    events_dlq  = { text = "The oldest dead event is more than 7 days old. SQS deletes it after 14 days.", seconds = 7 * local.day, periods = 10, runbook = "dead-letters-old" }
    deliver_dlq = { text = "The oldest dead delivery is more than 7 days old. SQS deletes it after 14 days.", seconds = 7 * local.day, periods = 10, runbook = "dead-letters-old" }
  }
}

resource "aws_cloudwatch_metric_alarm" "age" {
  for_each = local.ages

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}-old"
  alarm_description   = "${each.value.text} docs/events-runbook.md#${each.value.runbook}"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = local.queues[each.key].name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

# An increase, because dead letters may wait for a decision. It also counts messages that SQS moves itself, and those that
# somebody reads meanwhile.
resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each = aws_sqs_queue.dead_letters

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}-grows"
  alarm_description   = "More dead letters wait on ${each.value.name} than 5 minutes before. docs/events-runbook.md#${each.key == "events_dlq" ? "eventpipelinedeadletters" : "eventpipelinedeliveriesdead"}"
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags

  metric_query {
    id          = "increase"
    expression  = "DIFF(visible + in_flight)"
    label       = "New dead letters"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { visible = "ApproximateNumberOfMessagesVisible", in_flight = "ApproximateNumberOfMessagesNotVisible" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = each.value.name }
        stat        = "Maximum"
        period      = 300
      }
    }
  }
}
