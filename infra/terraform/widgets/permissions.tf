# The permissions of each role.

data "aws_region" "this" {}

locals {
  tables_arn = { for table, made in local.made : table => made.arn }

  permissions = {
    # The API writes only in transactions, so that no fault can change one side of a connection alone. AWS checks each part of a
    # transaction like the same operation outside of one. ConditionCheckItem is not needed, because each part writes.
    api = [
      {
        sid         = "WriteWidgetsInTransactions"
        actions     = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]
        resources   = [local.tables_arn.widgets]
        only_within = "TransactWriteItems"
      },
      {
        sid         = "RememberRequestsInTransactions"
        actions     = ["dynamodb:PutItem"]
        resources   = [local.tables_arn.requests]
        only_within = "TransactWriteItems"
      },
      # GetItem is also for snapshots (TransactGetItems), and Scan for the pages of all widgets.
      {
        sid       = "ReadWidgets"
        actions   = ["dynamodb:GetItem", "dynamodb:Scan"]
        resources = [local.tables_arn.widgets]
      },
      {
        sid       = "DescribeTables"
        actions   = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.widgets, local.tables_arn.requests]
      },
    ]
    # For `audit` and `tail`. An operator changes widgets through the API, whose role runs `check`.
    operator = [
      {
        sid       = "Audit"
        actions   = ["dynamodb:Scan", "dynamodb:GetItem"]
        resources = [local.tables_arn.widgets]
      },
      {
        sid       = "FollowChanges"
        actions   = ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"]
        resources = ["${local.tables_arn.widgets}/stream/*"]
      },
      {
        sid       = "DescribeTables"
        actions   = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.tables_arn.widgets, local.tables_arn.requests]
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
  kms_services      = ["dynamodb"]
  tags              = var.tags
}
