# The queues that `event-pipeline setup` creates, with the policies that say who may use them.

locals {
  day = 24 * 60 * 60
  # The most that this version of the provider knows.
  dead_letter_bytes = 256 * 1024
}

# SQS keeps the time of an event when it moves it, so a dead-letter queue needs more time than its source.
resource "aws_sqs_queue" "dead_letters" {
  for_each = { events_dlq = var.queue_names.events_dlq, deliver_dlq = var.queue_names.deliver_dlq }

  name                              = each.value
  message_retention_seconds         = 14 * local.day
  max_message_size                  = local.dead_letter_bytes
  visibility_timeout_seconds        = 30
  sqs_managed_sse_enabled           = var.kms_key_arn == null ? true : null
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = var.kms_key_arn == null ? null : 300
  tags                              = var.tags
}

resource "aws_sqs_queue" "events" {
  name                      = var.queue_names.events
  message_retention_seconds = 7 * local.day
  # An invalid event must fit into the dead-letter queue, with attributes that tell why.
  max_message_size                  = local.dead_letter_bytes - 8 * 1024
  visibility_timeout_seconds        = 30
  sqs_managed_sse_enabled           = var.kms_key_arn == null ? true : null
  kms_master_key_id                 = var.kms_key_arn
  kms_data_key_reuse_period_seconds = var.kms_key_arn == null ? null : 300
  tags                              = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters["events_dlq"].arn
    maxReceiveCount     = var.max_receives
  })
}

locals {
  queues = merge(aws_sqs_queue.dead_letters, { events = aws_sqs_queue.events })
  # `event-pipeline send` and `dlq redrive events` send events too.
  senders = concat(var.producer_principals, [for role, made in module.roles.roles : made.arn if role == "operator"])
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queues

  statement {
    sid       = "RequireTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  dynamic "statement" {
    for_each = each.key == "events" ? [1] : []

    content {
      sid       = "ProducersSend"
      actions   = ["sqs:SendMessage", "sqs:GetQueueUrl"]
      resources = [each.value.arn]

      principals {
        type        = "AWS"
        identifiers = var.producer_principals
      }
    }
  }

  # Without it, each principal of the account whose own policy allows it could send.
  dynamic "statement" {
    for_each = each.key == "events" ? [1] : []

    content {
      sid       = "NobodyElseSends"
      effect    = "Deny"
      actions   = ["sqs:SendMessage"]
      resources = [each.value.arn]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = local.senders
      }
    }
  }

  # SQS gives the messages that it moves new ids and times, so their events would be stored twice. `event-pipeline dlq redrive
  # events` keeps both.
  dynamic "statement" {
    for_each = each.key == "events_dlq" ? [1] : []

    content {
      sid       = "NobodyMovesMessages"
      effect    = "Deny"
      actions   = ["sqs:StartMessageMoveTask"]
      resources = [each.value.arn]

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }
}

resource "aws_sqs_queue_policy" "queue" {
  for_each = local.queues

  queue_url = each.value.id
  policy    = data.aws_iam_policy_document.queue[each.key].json
}
