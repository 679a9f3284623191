# The permissions of each role.

data "aws_region" "this" {}

locals {
  events      = aws_sqs_queue.events.arn
  events_dlq  = aws_sqs_queue.dead_letters["events_dlq"].arn
  deliver_dlq = aws_sqs_queue.dead_letters["deliver_dlq"].arn
  tables_arn  = { for table, made in local.made : table => made.arn }

  send_dead_deliveries = {
    sid       = "SendDeadDeliveries"
    actions   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
    resources = [local.deliver_dlq]
  }

  # With UpdateItem, a target that fails for days is disabled.
  use_routes = {
    sid       = "UseRoutes"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:DescribeTable"]
    resources = [local.tables_arn.routes]
  }

  keep_deliveries = {
    sid = "KeepDeliveries"
    actions = [
      "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:DescribeTable",
      "dynamodb:DescribeTimeToLive",
    ]
    resources = [local.tables_arn.deliveries, "${local.tables_arn.deliveries}/index/by-due"]
  }

  permissions = {
    processor = concat([
      {
        sid       = "ReceiveEvents"
        actions   = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
        resources = [local.events]
      },
      {
        sid       = "SendDeadEvents"
        actions   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
        resources = [local.events_dlq]
      },
      # For a direct event that is a duplicate, also without direct_dispatch.
      local.send_dead_deliveries,
      {
        sid       = "StoreEvents"
        actions   = ["dynamodb:PutItem", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.events]
      },
      ], var.direct_dispatch ? [local.use_routes, local.keep_deliveries] : [
      {
        sid       = "ReadRoutes"
        actions   = ["dynamodb:GetItem", "dynamodb:DescribeTable"]
        resources = [local.tables_arn.routes]
      },
      {
        sid       = "StoreDeliveries"
        actions   = ["dynamodb:PutItem", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.deliveries]
      },
    ])
    deliverer = [
      {
        sid       = "ReadStream"
        actions   = ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"]
        resources = ["${local.tables_arn.events}/stream/*"]
      },
      {
        sid       = "DescribeEvents"
        actions   = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.events]
      },
      {
        sid       = "KeepLeases"
        actions   = ["dynamodb:Scan", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:DescribeTable"]
        resources = [local.tables_arn.leases]
      },
      local.use_routes,
      local.keep_deliveries,
      local.send_dead_deliveries,
    ]
    # For KEDA.
    scaler = [
      {
        sid       = "ReadLength"
        actions   = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
        resources = [local.events]
      },
    ]
    # For the commands of operators, and for `setup --client-buckets` once queues and tables exist.
    operator = [
      {
        sid = "UseQueues"
        actions = [
          "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:ChangeMessageVisibility",
        ]
        resources = [local.events, local.events_dlq, local.deliver_dlq]
      },
      {
        sid       = "SendEvents"
        actions   = ["sqs:SendMessage"]
        resources = [local.events]
      },
      {
        sid       = "DeleteDeadLetters"
        actions   = ["sqs:DeleteMessage"]
        resources = [local.events_dlq, local.deliver_dlq]
      },
      {
        sid       = "ReadAndEraseEvents"
        actions   = ["dynamodb:Query", "dynamodb:Scan", "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.events]
      },
      {
        sid       = "KeepRoutes"
        actions   = ["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:DescribeTable"]
        resources = [local.tables_arn.routes]
      },
      local.keep_deliveries,
      {
        sid       = "DescribeLeases"
        actions   = ["dynamodb:DescribeTable"]
        resources = [local.tables_arn.leases]
      },
      {
        sid       = "DescribeStream"
        actions   = ["dynamodb:DescribeStream"]
        resources = ["${local.tables_arn.events}/stream/*"]
      },
    ]
  }
}

module "roles" {
  source = "../modules/roles"

  name              = var.name
  oidc_issuer       = var.oidc_issuer
  oidc_provider_arn = var.oidc_provider_arn
  service_accounts  = var.service_accounts
  permissions       = local.permissions
  kms_key_arn       = var.kms_key_arn
  kms_services      = ["dynamodb", "sqs"]
  roles_without_key = ["scaler"]
  tags              = var.tags
}
