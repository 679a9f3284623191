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
  target          = aws_dynamodb_table.scans
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results" }
}

override_resource {
  target          = aws_dynamodb_table.history
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-history" }
}

override_resource {
  target          = aws_dynamodb_table.leases
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-leases" }
}

override_resource {
  target          = aws_dynamodb_table.webhooks
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-webhooks" }
}

override_resource {
  target          = aws_dynamodb_table.deliveries
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-deliveries" }
}

override_resource {
  target          = aws_iam_openid_connect_provider.cluster
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:oidc-provider/container.googleapis.com/v1/projects/p/locations/l/clusters/c" }
}

variables {
  oidc_issuer = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
}

run "the_table_matches_the_consumer_and_is_protected" {
  command = plan

  assert {
    condition     = aws_dynamodb_table.scans.hash_key == "pk" && aws_dynamodb_table.scans.range_key == null
    error_message = "The key must be pk alone."
  }
  assert {
    condition     = aws_dynamodb_table.scans.billing_mode == "PAY_PER_REQUEST"
    error_message = "The table must be on demand."
  }
  assert {
    condition     = one(aws_dynamodb_table.scans.ttl).enabled && one(aws_dynamodb_table.scans.ttl).attribute_name == "expires_at"
    error_message = "Records must expire at expires_at."
  }
  assert {
    condition     = aws_dynamodb_table.scans.stream_view_type == "NEW_AND_OLD_IMAGES"
    error_message = "The stream must contain new and old images."
  }
  assert {
    condition = alltrue([
      aws_dynamodb_table.scans.deletion_protection_enabled,
      one(aws_dynamodb_table.scans.point_in_time_recovery).enabled,
      one(aws_dynamodb_table.scans.server_side_encryption).enabled,
    ])
    error_message = "Deletion protection, recovery and encryption must be on."
  }
}

run "the_table_has_the_index_of_hosts" {
  command = plan

  assert {
    condition = [for index in aws_dynamodb_table.scans.global_secondary_index : [
      index.name, index.hash_key, index.range_key, index.projection_type
    ]] == [["by-ip", "ip", "port", "KEYS_ONLY"]]
    error_message = "The table must have the index by-ip on ip and port, with the keys only."
  }
  assert {
    condition     = { for attribute in aws_dynamodb_table.scans.attribute : attribute.name => attribute.type } == { pk = "S", ip = "S", port = "N" }
    error_message = "The attributes must be those of the keys, with the types of records."
  }
}

run "the_index_of_hosts_can_be_left_out" {
  command = plan

  variables {
    host_index = false
  }

  assert {
    condition     = length(aws_dynamodb_table.scans.global_secondary_index) == 0 && length(aws_dynamodb_table.scans.attribute) == 1
    error_message = "Without host_index there must be no index, and no attribute but the key."
  }
}

run "the_index_of_services_is_kept_if_the_table_has_it" {
  command = plan

  variables {
    service_index   = true
    max_write_units = 5000
  }

  override_data {
    target = data.aws_dynamodb_table.existing
    values = { global_secondary_index = [{ name = "by-ip" }, { name = "by-service" }] }
  }

  # The provider reads only the last attribute of the partition key, so the configuration must name only that one.
  assert {
    condition = [for index in aws_dynamodb_table.scans.global_secondary_index : [
      index.name, index.hash_key, index.range_key, index.projection_type, one(index.on_demand_throughput).max_write_request_units
    ]] == [["by-ip", "ip", "port", "KEYS_ONLY", 5000], ["by-service", "service", "ip", "KEYS_ONLY", 5000]]
    error_message = "The table must keep the index by-service, with the limit of the table."
  }
  assert {
    condition     = { for attribute in aws_dynamodb_table.scans.attribute : attribute.name => attribute.type } == { pk = "S", ip = "S", port = "N", service = "S" }
    error_message = "The attributes must be those of the keys of both indexes."
  }
  assert {
    condition = [
      for index in ["by-ip", "by-service"] : aws_cloudwatch_metric_alarm.table["write-throttled-${index}"].dimensions.GlobalSecondaryIndexName
    ] == ["by-ip", "by-service"]
    error_message = "Each index must have an alarm, because DynamoDB reports its throttled writes separately."
  }
}

run "the_index_of_services_is_never_created" {
  command = plan

  variables {
    service_index = true
  }

  override_data {
    target = data.aws_dynamodb_table.existing
    values = { global_secondary_index = [{ name = "by-ip" }] }
  }

  expect_failures = [aws_dynamodb_table.scans]
}

run "the_consumer_may_write_scans_and_nothing_else" {
  command = plan

  assert {
    condition     = keys(aws_iam_role.workload) == ["consumer"]
    error_message = "By default only the consumer's role must be created."
  }
  assert {
    condition = jsondecode(data.aws_iam_policy_document.role["consumer"].json).Statement == [{
      Sid      = "WriteScans"
      Effect   = "Allow"
      Action   = ["dynamodb:PutItem", "dynamodb:DescribeTable"]
      Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results"
    }]
    error_message = "The consumer must have PutItem and DescribeTable on the table, and nothing else."
  }
}

run "every_alarm_links_to_the_runbook_and_missing_data_is_healthy" {
  command = plan

  assert {
    condition = output.alarm_names == tolist([
      "scan-results-store-errors", "scan-results-store-slow", "scan-results-write-throttled", "scan-results-write-throttled-by-ip",
    ])
    error_message = "There must be alarms for throttling, errors and latency, and none for failed conditions."
  }
  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.table : strcontains(alarm.alarm_description, "docs/runbook.md#") && alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "Each alarm must link to its runbook section and treat missing data as healthy."
  }
}

run "only_one_service_account_of_the_cluster_may_assume_the_role" {
  command = plan

  assert {
    condition = jsondecode(data.aws_iam_policy_document.trust["consumer"].json).Statement[0].Condition == {
      StringEquals = {
        "container.googleapis.com/v1/projects/p/locations/l/clusters/c:sub" = "system:serviceaccount:mini-scan:mini-scan"
        "container.googleapis.com/v1/projects/p/locations/l/clusters/c:aud" = "sts.amazonaws.com"
      }
    }
    error_message = "The trust policy must name the issuer, the service account and the audience exactly."
  }
}

run "a_stream_reader_and_an_api_get_their_permissions" {
  command = plan

  variables {
    lease_table_name = "scan-leases"
    service_accounts = {
      stream_reader = { namespace = "mini-scan", name = "reader" }
      api           = { namespace = "mini-scan", name = "api" }
    }
  }

  assert {
    condition = jsondecode(data.aws_iam_policy_document.role["stream_reader"].json).Statement == [
      {
        Sid      = "ReadChanges"
        Effect   = "Allow"
        Action   = ["dynamodb:GetShardIterator", "dynamodb:GetRecords", "dynamodb:DescribeStream"]
        Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results/stream/*"
      },
      {
        Sid      = "KeepLeases"
        Effect   = "Allow"
        Action   = ["dynamodb:UpdateItem", "dynamodb:Scan", "dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DescribeTable", "dynamodb:DeleteItem"]
        Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-leases"
      },
    ]
    error_message = "The stream reader must be able to read the stream and to keep leases."
  }
  assert {
    condition     = !strcontains(data.aws_iam_policy_document.role["api"].json, "Scan\"")
    error_message = "The API must not scan."
  }
  assert {
    condition     = keys(aws_iam_role.workload) == ["api", "stream_reader"]
    error_message = "Only the roles in service_accounts must be created."
  }
}

run "without_the_history_its_tables_and_alarms_are_missing" {
  command = plan

  assert {
    condition     = length(aws_dynamodb_table.history) == 0 && length(aws_dynamodb_table.leases) == 0 && length(output.changes_environment) == 0
    error_message = "By default there must be neither a history table nor a lease table."
  }
}

run "the_history_is_protected_and_its_reader_gets_its_permissions" {
  command = plan

  variables {
    history_table_name = "scan-history"
    lease_table_name   = "scan-leases"
    service_accounts = {
      changes          = { namespace = "mini-scan", name = "mini-scan-changes" }
      changes_backfill = { namespace = "mini-scan", name = "backfill" }
      api              = { namespace = "mini-scan", name = "api" }
    }
  }

  assert {
    condition = alltrue([
      aws_dynamodb_table.history[0].hash_key == "ip", aws_dynamodb_table.history[0].range_key == "entry",
      one(aws_dynamodb_table.history[0].ttl).attribute_name == "expires_at",
      aws_dynamodb_table.leases[0].hash_key == "leaseKey", aws_dynamodb_table.leases[0].range_key == null,
    ])
    error_message = "The tables must have the keys and the expiry that the program expects."
  }
  assert {
    condition = alltrue([
      one(aws_dynamodb_table.history[0].point_in_time_recovery).enabled,
      aws_dynamodb_table.history[0].deletion_protection_enabled, aws_dynamodb_table.leases[0].deletion_protection_enabled,
    ])
    error_message = "The history must be recoverable, because nothing can compute it again."
  }
  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.role["changes"].json).Statement : statement.Sid => [statement.Action, statement.Resource]
      } == {
      ReadChanges = [
        ["dynamodb:GetShardIterator", "dynamodb:GetRecords", "dynamodb:DescribeStream"],
        "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results/stream/*",
      ]
      KeepLeases = [
        ["dynamodb:UpdateItem", "dynamodb:Scan", "dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DescribeTable", "dynamodb:DeleteItem"],
        "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-leases",
      ]
      WriteHistory = [
        [
          "dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DescribeTimeToLive",
          "dynamodb:DescribeTable", "dynamodb:DeleteItem",
        ],
        "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-history",
      ]
      DescribeTable = ["dynamodb:DescribeTable", "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results"]
    }
    error_message = "The reader of changes must not read or write the table of scans."
  }
  assert {
    condition = [
      for role in ["changes", "changes_backfill", "api"] : contains(flatten([
        for statement in jsondecode(data.aws_iam_policy_document.role[role].json).Statement : statement.Action
        if statement.Sid != "KeepLeases" && statement.Sid != "ReadLeases"
      ]), "dynamodb:Scan")
    ] == [false, true, false]
    error_message = "Only the backfill may scan the tables."
  }
  assert {
    condition = contains(jsondecode(data.aws_iam_policy_document.role["api"].json).Statement, {
      Sid      = "ReadHistory"
      Effect   = "Allow"
      Action   = ["dynamodb:Query", "dynamodb:BatchGetItem"]
      Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-history"
    })
    error_message = "The API must be able to read the history."
  }
  assert {
    condition     = length(setintersection(output.alarm_names, ["scan-results-history-throttled", "scan-results-leases-throttled"])) == 2
    error_message = "Each of both tables must have an alarm for throttling."
  }
  assert {
    condition = [for name in ["MINI_SCAN_TABLE", "MINI_SCAN_HISTORY_TABLE", "MINI_SCAN_LEASE_TABLE", "AWS_REGION"] : output.changes_environment[name]] == [
      "scan-results", "scan-history", "scan-leases", "eu-west-1",
    ]
    error_message = "The output must have every AWS setting of mini-scan changes."
  }
}

run "without_webhooks_their_tables_alarms_and_permissions_are_missing" {
  command = plan

  variables {
    history_table_name = "scan-history"
    lease_table_name   = "scan-leases"
    service_accounts = {
      changes = { namespace = "mini-scan", name = "mini-scan-changes" }
      api     = { namespace = "mini-scan", name = "api" }
    }
  }

  assert {
    condition     = length(aws_dynamodb_table.webhooks) == 0 && length(aws_dynamodb_table.deliveries) == 0 && length(output.webhooks_environment) == 0
    error_message = "By default there must be no tables of webhooks."
  }
  assert {
    condition = alltrue([
      for role in ["changes", "api"] : alltrue([
        for sid in ["ReadSubscriptions", "KeepSubscriptions", "KeepDeliveries", "ShowDeliveries"] : !strcontains(data.aws_iam_policy_document.role[role].json, sid)
      ])
    ])
    error_message = "Without webhooks, no role may have permissions for them."
  }
  assert {
    condition     = length([for name in output.alarm_names : name if strcontains(name, "webhooks") || strcontains(name, "deliveries")]) == 0
    error_message = "Without webhooks there must be no alarm for them."
  }
}

run "the_tables_of_webhooks_are_protected_and_their_programs_get_their_permissions" {
  command = plan

  variables {
    history_table_name    = "scan-history"
    lease_table_name      = "scan-leases"
    webhooks_table_name   = "scan-webhooks"
    deliveries_table_name = "scan-deliveries"
    service_accounts = {
      changes           = { namespace = "mini-scan", name = "mini-scan-changes" }
      changes_backfill  = { namespace = "mini-scan", name = "backfill" }
      api               = { namespace = "mini-scan", name = "api" }
      webhooks_operator = { namespace = "mini-scan", name = "operator" }
      exporter          = { namespace = "mini-scan", name = "exporter" }
    }
  }

  assert {
    condition = alltrue([
      aws_dynamodb_table.webhooks[0].hash_key == "bucket", aws_dynamodb_table.webhooks[0].range_key == "id",
      aws_dynamodb_table.deliveries[0].hash_key == "queue", aws_dynamodb_table.deliveries[0].range_key == "id",
      one(aws_dynamodb_table.deliveries[0].ttl).enabled, one(aws_dynamodb_table.deliveries[0].ttl).attribute_name == "expires_at",
    ])
    error_message = "The tables must have the keys and the expiry that the program expects."
  }
  assert {
    condition = [for index in aws_dynamodb_table.webhooks[0].global_secondary_index : [
      index.name, index.hash_key, index.range_key, index.projection_type
    ]] == [["by-owner", "owner", "id", "ALL"]]
    error_message = "The subscriptions must have the index by-owner."
  }
  assert {
    condition = [for index in aws_dynamodb_table.deliveries[0].global_secondary_index : [
      index.name, index.hash_key, index.range_key, index.projection_type, join(",", index.non_key_attributes)
    ]] == [["by-due", "queue", "due", "INCLUDE", "token"]]
    error_message = "The deliveries must have the index by-due with the token."
  }
  assert {
    condition = [for table in [aws_dynamodb_table.webhooks[0], aws_dynamodb_table.deliveries[0]] : {
      for attribute in table.attribute : attribute.name => attribute.type
    }] == [{ bucket = "S", id = "S", owner = "S" }, { queue = "S", id = "S", due = "N" }]
    error_message = "The attributes must be those of the keys, with their types."
  }
  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.webhooks[0], aws_dynamodb_table.deliveries[0]] : alltrue([
        table.billing_mode == "PAY_PER_REQUEST", table.deletion_protection_enabled,
        one(table.point_in_time_recovery).enabled, one(table.server_side_encryption).enabled,
      ])
    ])
    error_message = "Deletion protection, recovery and encryption must be on."
  }
  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.role["changes"].json).Statement : statement.Sid => [statement.Action, statement.Resource]
      if contains(["ReadSubscriptions", "KeepDeliveries"], statement.Sid)
      } == {
      ReadSubscriptions = [
        ["dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:GetItem", "dynamodb:DescribeTable"],
        "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-webhooks",
      ]
      KeepDeliveries = [
        [
          "dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DescribeTimeToLive", "dynamodb:DescribeTable",
          "dynamodb:DeleteItem",
        ],
        [
          "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-deliveries/index/by-due",
          "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-deliveries",
        ],
      ]
    }
    error_message = "The reader of changes must be able to deliver, and neither to create nor to remove subscriptions."
  }
  assert {
    condition = [
      for role in ["api", "webhooks_operator"] : [
        for statement in jsondecode(data.aws_iam_policy_document.role[role].json).Statement : statement.Action
        if statement.Sid == "KeepSubscriptions"
      ]
      ] == [for role in ["api", "webhooks_operator"] : [[
        "dynamodb:UpdateItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:GetItem", "dynamodb:DescribeTable", "dynamodb:DeleteItem",
    ]]]
    error_message = "The API and the operator must be able to manage subscriptions."
  }
  assert {
    condition = [
      for role in ["changes", "api", "webhooks_operator"] : contains(flatten([
        for statement in jsondecode(data.aws_iam_policy_document.role[role].json).Statement : statement.Action
        if statement.Resource == "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-webhooks"
      ]), "dynamodb:Scan")
    ] == [false, false, true]
    error_message = "Only the operator may scan the subscriptions."
  }
  assert {
    condition = contains(jsondecode(data.aws_iam_policy_document.role["webhooks_operator"].json).Statement, {
      Sid      = "ReadHistory"
      Effect   = "Allow"
      Action   = ["dynamodb:Scan", "dynamodb:Query", "dynamodb:DescribeTable"]
      Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-history"
    })
    error_message = "The operator must be able to replay from the history, and not to change it."
  }
  assert {
    condition = alltrue(flatten([
      for role in ["changes_backfill", "exporter"] : [
        for table in ["scan-webhooks", "scan-deliveries"] : !strcontains(data.aws_iam_policy_document.role[role].json, table)
      ]
    ]))
    error_message = "No other role may have permissions for webhooks."
  }
  assert {
    condition = [for alarm in ["webhooks", "webhooks-by-owner", "deliveries", "deliveries-by-due"] : aws_cloudwatch_metric_alarm.table["${alarm}-throttled"].alarm_description] == [
      "DynamoDB throttles writes to scan-webhooks. docs/runbook.md#webhooks-throttled",
      "DynamoDB throttles writes to scan-webhooks because of its index by-owner. docs/runbook.md#webhooks-throttled",
      "DynamoDB throttles writes to scan-deliveries. docs/runbook.md#webhooks-throttled",
      "DynamoDB throttles writes to scan-deliveries because of its index by-due. docs/runbook.md#webhooks-throttled",
    ]
    error_message = "Both tables and their indexes must have an alarm for throttling."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.table["deliveries-by-due-throttled"].dimensions.GlobalSecondaryIndexName == "by-due"
    error_message = "The alarm of the index must name it, because DynamoDB reports its throttled writes separately."
  }
  assert {
    condition = [for name in ["MINI_SCAN_WEBHOOKS_TABLE", "MINI_SCAN_DELIVERIES_TABLE"] : [output.changes_environment[name], output.webhooks_environment[name]]] == [
      ["scan-webhooks", "scan-webhooks"], ["scan-deliveries", "scan-deliveries"],
    ]
    error_message = "The outputs must have the tables of webhooks."
  }
}

run "a_writing_api_and_an_exporter_get_their_permissions" {
  command = plan

  variables {
    service_accounts = {
      api_writer = { namespace = "mini-scan", name = "api-writer" }
      exporter   = { namespace = "mini-scan", name = "exporter" }
    }
  }

  assert {
    condition = jsondecode(data.aws_iam_policy_document.role["api_writer"].json).Statement == [
      {
        Sid      = "ReadRecords"
        Effect   = "Allow"
        Action   = ["dynamodb:Query", "dynamodb:GetItem", "dynamodb:DescribeTable", "dynamodb:BatchGetItem"]
        Resource = ["arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results/index/*", "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results"]
      },
      {
        Sid      = "WriteRecords"
        Effect   = "Allow"
        Action   = ["dynamodb:PutItem", "dynamodb:DeleteItem"]
        Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results"
      },
    ]
    error_message = "The writing API must be able to read, store and delete single records, and not to scan."
  }
  assert {
    condition = jsondecode(data.aws_iam_policy_document.role["exporter"].json).Statement == [{
      Sid      = "ReadTable"
      Effect   = "Allow"
      Action   = ["dynamodb:Scan", "dynamodb:DescribeTable"]
      Resource = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results"
    }]
    error_message = "The exporter must be able to scan the table, and nothing else."
  }
}

run "each_role_gets_the_settings_of_its_program" {
  command = plan

  variables {
    history_table_name    = "scan-history"
    lease_table_name      = "scan-leases"
    webhooks_table_name   = "scan-webhooks"
    deliveries_table_name = "scan-deliveries"
    service_accounts = {
      consumer          = { namespace = "mini-scan", name = "mini-scan" }
      api               = { namespace = "mini-scan", name = "mini-scan-api" }
      changes           = { namespace = "mini-scan", name = "mini-scan-changes" }
      changes_backfill  = { namespace = "mini-scan", name = "mini-scan-backfill" }
      exporter          = { namespace = "mini-scan", name = "mini-scan-export" }
      webhooks_operator = { namespace = "mini-scan", name = "webhooks-operator" }
    }
  }

  assert {
    condition = { for role, settings in output.role_environments : role => [for name in keys(settings) : name if startswith(name, "MINI_SCAN_")] } == {
      api               = ["MINI_SCAN_DELIVERIES_TABLE", "MINI_SCAN_HISTORY_TABLE", "MINI_SCAN_TABLE", "MINI_SCAN_WEBHOOKS_TABLE"]
      changes           = ["MINI_SCAN_DELIVERIES_TABLE", "MINI_SCAN_HISTORY_TABLE", "MINI_SCAN_LEASE_TABLE", "MINI_SCAN_TABLE", "MINI_SCAN_WEBHOOKS_TABLE"]
      changes_backfill  = ["MINI_SCAN_HISTORY_TABLE", "MINI_SCAN_LEASE_TABLE", "MINI_SCAN_TABLE"]
      consumer          = ["MINI_SCAN_TABLE"]
      exporter          = ["MINI_SCAN_TABLE"]
      webhooks_operator = ["MINI_SCAN_DELIVERIES_TABLE", "MINI_SCAN_HISTORY_TABLE", "MINI_SCAN_TABLE", "MINI_SCAN_WEBHOOKS_TABLE"]
    }
    error_message = "Each program must get the names of the tables that its role may use."
  }
}

run "an_api_without_a_history_and_webhooks_gets_only_the_table" {
  command = plan

  variables {
    service_accounts = { api = { namespace = "mini-scan", name = "mini-scan-api" } }
  }

  assert {
    condition     = toset(keys(output.role_environments["api"])) == toset(["AWS_REGION", "AWS_ROLE_ARN", "MINI_SCAN_TABLE"])
    error_message = "The API must not be told about tables that do not exist."
  }
}

run "limits_batches_and_keys_take_effect" {
  command = plan

  variables {
    max_write_units   = 5000
    batch_writes      = true
    kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/0"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/there"
  }

  assert {
    condition     = one(aws_dynamodb_table.scans.on_demand_throughput).max_write_request_units == 5000
    error_message = "The table must have the limit of write units."
  }
  assert {
    condition     = one(one(aws_dynamodb_table.scans.global_secondary_index).on_demand_throughput).max_write_request_units == 5000
    error_message = "The index must have the limit of write units too."
  }
  assert {
    condition     = one(aws_cloudwatch_metric_alarm.near_write_limit).threshold == 240000
    error_message = "The alarm must fire at 80 % of the limit."
  }
  assert {
    condition = alltrue([
      for action in ["PartiQLUpdate", "PartiQLInsert"] : strcontains(data.aws_iam_policy_document.role["consumer"].json, action)
    ])
    error_message = "Batches need the PartiQL permissions."
  }
  assert {
    condition = output.alarm_names == tolist([
      "scan-results-near-write-limit", "scan-results-store-errors", "scan-results-store-errors-of-batches",
      "scan-results-store-slow", "scan-results-store-slow-of-batches", "scan-results-write-throttled",
      "scan-results-write-throttled-by-ip",
    ])
    error_message = "Batches need their own alarms, because DynamoDB reports per operation."
  }
  assert {
    condition     = strcontains(data.aws_iam_policy_document.role["consumer"].json, "kms:ViaService")
    error_message = "A customer-managed key may only be used through DynamoDB."
  }
  assert {
    condition     = length(aws_iam_openid_connect_provider.cluster) == 0
    error_message = "An existing identity provider must not be created again."
  }
}
