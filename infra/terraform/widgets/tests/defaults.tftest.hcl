# These tests only plan and call no cloud. The overrides supply values that a plan cannot know.

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_resource {
  target          = module.tables["widgets"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/widgets" }
}

override_resource {
  target          = module.tables["requests"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/widget-requests" }
}

override_resource {
  target          = module.roles.aws_iam_openid_connect_provider.cluster
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:oidc-provider/container.googleapis.com/v1/projects/p/locations/l/clusters/c" }
}

override_resource {
  target          = module.roles.aws_iam_role.workload["api"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/widget-registry-api" }
}

variables {
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
}

run "the_tables_match_the_program_and_are_protected" {
  command = plan

  assert {
    condition     = jsonencode({ for table, made in local.made : table => [made.name, made.hash_key, made.range_key] }) == jsonencode({ widgets = ["widgets", "serial", null], requests = ["widget-requests", "id", null] })
    error_message = "The tables must have the names and keys that the program expects."
  }
  assert {
    condition     = { for table, made in local.made : table => made.stream_view_type if made.stream_enabled } == { widgets = "NEW_AND_OLD_IMAGES" }
    error_message = "The stream of the widgets must have both images, and the requests must have none."
  }
  assert {
    condition     = { for table, made in local.made : table => one(made.ttl[*].attribute_name) if length(made.ttl) > 0 } == { requests = "expires_at" }
    error_message = "Only the requests expire."
  }
  assert {
    condition = alltrue([
      for table, made in local.made : alltrue([
        made.billing_mode == "PAY_PER_REQUEST", made.deletion_protection_enabled, one(made.server_side_encryption).enabled,
        one(made.point_in_time_recovery).enabled == (table == "widgets"), length(made.on_demand_throughput) == 0,
      ])
    ])
    error_message = "Deletion protection, encryption, and recovery of the widgets must be on."
  }
}

run "the_api_writes_only_in_transactions" {
  command = plan

  assert {
    condition = { for statement in jsondecode(module.roles.permissions["api"]).Statement : statement.Sid => [statement.Action, statement.Resource, try(statement.Condition, null)] } == {
      WriteWidgetsInTransactions = [
        ["dynamodb:UpdateItem", "dynamodb:PutItem", "dynamodb:DeleteItem"], "arn:aws:dynamodb:eu-west-1:123456789012:table/widgets",
        { "ForAnyValue:StringEquals" = { "dynamodb:EnclosingOperation" = "TransactWriteItems" } },
      ]
      RememberRequestsInTransactions = [
        "dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/widget-requests",
        { "ForAnyValue:StringEquals" = { "dynamodb:EnclosingOperation" = "TransactWriteItems" } },
      ]
      ReadWidgets = [["dynamodb:Scan", "dynamodb:GetItem"], "arn:aws:dynamodb:eu-west-1:123456789012:table/widgets", null]
      DescribeTables = [
        ["dynamodb:DescribeTimeToLive", "dynamodb:DescribeTable"],
        ["arn:aws:dynamodb:eu-west-1:123456789012:table/widgets", "arn:aws:dynamodb:eu-west-1:123456789012:table/widget-requests"], null,
      ]
    }
    error_message = "The API must have its permissions, and no others."
  }
  assert {
    condition     = keys(module.roles.roles) == ["api"]
    error_message = "The role of operators is created on demand only."
  }
}

run "an_operator_reads_and_changes_nothing" {
  command = plan

  variables {
    service_accounts = { for role in ["api", "operator"] : role => { namespace = "widget-registry", name = role } }
  }

  assert {
    condition = alltrue([
      for action in ["PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQL"] : !strcontains(module.roles.permissions["operator"], "dynamodb:${action}")
    ])
    error_message = "An operator must change widgets through the API."
  }
  assert {
    condition = anytrue([
      for statement in jsondecode(module.roles.permissions["operator"]).Statement :
      contains(flatten([statement.Action]), "dynamodb:GetRecords") && statement.Resource == "arn:aws:dynamodb:eu-west-1:123456789012:table/widgets/stream/*"
    ])
    error_message = "An operator must be able to follow the changes."
  }
  assert {
    condition = alltrue([
      for role in ["api", "operator"] : alltrue([
        for action in ["*", "DeleteTable", "UpdateTable"] : !strcontains(module.roles.permissions[role], ":${action}\"")
      ])
    ])
    error_message = "No role may delete or change a table."
  }
}

run "only_one_service_account_of_the_cluster_may_assume_the_role" {
  command = plan

  assert {
    condition = jsondecode(module.roles.trust["api"]).Statement[0].Condition == {
      StringEquals = {
        "container.googleapis.com/v1/projects/p/locations/l/clusters/c:sub" = "system:serviceaccount:widget-registry:widget-registry"
        "container.googleapis.com/v1/projects/p/locations/l/clusters/c:aud" = "sts.amazonaws.com"
      }
    }
    error_message = "The role must trust exactly this service account."
  }
}

run "every_alarm_links_to_the_runbook_and_missing_data_is_healthy" {
  command = plan

  assert {
    condition = output.alarm_names == tolist([
      "widget-registry-requests-reads-throttled", "widget-registry-requests-writes-throttled",
      "widget-registry-widgets-near-quota", "widget-registry-widgets-reads-throttled", "widget-registry-widgets-writes-throttled",
    ])
    error_message = "There must be alarms for throttling and for the quota."
  }
  assert {
    condition = alltrue([
      for alarm in concat([aws_cloudwatch_metric_alarm.quota], flatten([for made in values(module.tables) : values(made.alarms)])) :
      strcontains(alarm.alarm_description, "docs/widgets-runbook.md#") && alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "Each alarm must link to its runbook section and treat missing data as healthy."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.quota.threshold == 32000
    error_message = "The alarm must fire at 80 % of the default quota of a table."
  }
}

run "the_outputs_match_the_kubernetes_manifests" {
  command = plan

  assert {
    condition     = join("", [for name, value in output.role_environments["api"] : "${name}=${value}\n"]) == file("../../tests/settings/widget-registry/widgets.env")
    error_message = "The settings that the manifests are checked with must equal the output role_environments."
  }
}

run "a_limit_bounds_the_bill_of_the_widgets" {
  command = plan

  variables {
    max_write_units     = 50000
    table_write_quota   = 100000
    deletion_protection = false
  }

  assert {
    condition     = jsonencode({ for table, made in local.made : table => made.on_demand_throughput[*].max_write_request_units }) == jsonencode({ widgets = [50000], requests = [] })
    error_message = "The limit must apply to the widgets alone."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.quota.threshold == 80000
    error_message = "The alarm must follow the quota."
  }
  assert {
    condition     = !anytrue([for made in values(local.made) : made.deletion_protection_enabled])
    error_message = "Deletion protection must be a choice."
  }
}

run "a_customer_managed_key_encrypts_everything" {
  command = plan

  variables {
    kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/0"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/there"
  }

  assert {
    condition     = alltrue([for table in values(local.made) : one(table.server_side_encryption).kms_key_arn == var.kms_key_arn])
    error_message = "The tables must use the key."
  }
  assert {
    condition     = strcontains(module.roles.permissions["api"], "dynamodb.eu-west-1.amazonaws.com")
    error_message = "The key may only be used through DynamoDB."
  }
  assert {
    condition     = length(module.roles.identity_providers) == 0
    error_message = "An existing identity provider must not be created again."
  }
}
