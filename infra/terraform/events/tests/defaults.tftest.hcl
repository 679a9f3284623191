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
  target          = aws_sqs_queue.events
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-west-1:123456789012:events", id = "https://sqs.eu-west-1.amazonaws.com/123456789012/events" }
}

override_resource {
  target          = aws_sqs_queue.dead_letters["events_dlq"]
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-west-1:123456789012:events-dlq", id = "https://sqs.eu-west-1.amazonaws.com/123456789012/events-dlq" }
}

override_resource {
  target          = aws_sqs_queue.dead_letters["deliver_dlq"]
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-west-1:123456789012:deliver-dlq", id = "https://sqs.eu-west-1.amazonaws.com/123456789012/deliver-dlq" }
}

override_resource {
  target          = module.tables["events"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/Events" }
}

override_resource {
  target          = module.tables["routes"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/routes" }
}

override_resource {
  target          = module.tables["deliveries"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/deliveries" }
}

override_resource {
  target          = module.tables["leases"].aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/event-leases" }
}

override_resource {
  target          = module.roles.aws_iam_openid_connect_provider.cluster
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:oidc-provider/container.googleapis.com/v1/projects/p/locations/l/clusters/c" }
}

override_resource {
  target          = module.roles.aws_iam_role.workload["operator"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/event-pipeline-operator" }
}

override_resource {
  target          = module.roles.aws_iam_role.workload["processor"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/event-pipeline-processor" }
}

override_resource {
  target          = module.roles.aws_iam_role.workload["deliverer"]
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/event-pipeline-deliverer" }
}

variables {
  oidc_issuer         = "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"
  producer_principals = ["arn:aws:iam::123456789012:role/shop", "arn:aws:iam::210987654321:user/partner"]
}

run "the_queues_keep_events_and_dead_letters" {
  command = plan

  assert {
    condition     = jsondecode(aws_sqs_queue.events.redrive_policy) == { deadLetterTargetArn = "arn:aws:sqs:eu-west-1:123456789012:events-dlq", maxReceiveCount = 5 }
    error_message = "SQS must move an event to events-dlq after 5 receives."
  }
  assert {
    condition     = [aws_sqs_queue.events.message_retention_seconds, aws_sqs_queue.dead_letters["events_dlq"].message_retention_seconds, aws_sqs_queue.dead_letters["deliver_dlq"].message_retention_seconds] == [604800, 1209600, 1209600]
    error_message = "Events must be kept for 7 days, and dead letters for 14."
  }
  assert {
    condition     = alltrue([for queue in values(aws_sqs_queue.dead_letters) : queue.max_message_size - aws_sqs_queue.events.max_message_size == 8192])
    error_message = "A dead letter must have room for the largest event and 8 KiB of attributes."
  }
  assert {
    condition     = alltrue([for queue in concat([aws_sqs_queue.events], values(aws_sqs_queue.dead_letters)) : queue.sqs_managed_sse_enabled])
    error_message = "The queues must be encrypted."
  }
}

run "only_the_producers_and_the_operator_send_events" {
  command = plan

  variables {
    service_accounts = {
      processor = { namespace = "event-pipeline", name = "event-pipeline-processor" }
      operator  = { namespace = "event-pipeline", name = "operator" }
    }
  }

  assert {
    condition = [for statement in jsondecode(data.aws_iam_policy_document.queue["events"].json).Statement : statement if statement.Sid == "NobodyElseSends"] == [{
      Sid       = "NobodyElseSends"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:SendMessage"
      Resource  = "arn:aws:sqs:eu-west-1:123456789012:events"
      Condition = { ArnNotEquals = { "aws:PrincipalArn" = [
        "arn:aws:iam::123456789012:role/shop", "arn:aws:iam::210987654321:user/partner", "arn:aws:iam::123456789012:role/event-pipeline-operator",
      ] } }
    }]
    error_message = "Nobody but the producers and the operator may send events."
  }
  assert {
    condition = [for statement in jsondecode(data.aws_iam_policy_document.queue["events"].json).Statement : [statement.Action, statement.Principal] if statement.Sid == "ProducersSend"] == [
      [["sqs:SendMessage", "sqs:GetQueueUrl"], { AWS = ["arn:aws:iam::210987654321:user/partner", "arn:aws:iam::123456789012:role/shop"] }],
    ]
    error_message = "Each producer must be allowed to send, also one of another account."
  }
}

run "every_queue_requires_tls_and_nobody_moves_dead_events" {
  command = plan

  assert {
    condition = alltrue([
      for queue in ["events", "events_dlq", "deliver_dlq"] : contains([
        for statement in jsondecode(data.aws_iam_policy_document.queue[queue].json).Statement : [statement.Effect, statement.Action, try(statement.Condition, null)]
      ], ["Deny", "sqs:*", { Bool = { "aws:SecureTransport" = "false" } }])
    ])
    error_message = "Each queue must refuse requests without TLS."
  }
  assert {
    condition = [for queue in ["events", "events_dlq", "deliver_dlq"] : anytrue([
      for statement in jsondecode(data.aws_iam_policy_document.queue[queue].json).Statement : statement.Effect == "Deny" && statement.Action == "sqs:StartMessageMoveTask"
    ])] == [false, true, false]
    error_message = "SQS must not move dead events, because it gives them new ids."
  }
}

run "the_tables_match_the_program_and_are_protected" {
  command = plan

  assert {
    condition = { for table, made in local.made : table => compact([made.name, made.hash_key, made.range_key]) } == {
      events     = tolist(["Events", "client_id", "event_key"])
      routes     = tolist(["routes", "client_id"])
      deliveries = tolist(["deliveries", "queue", "id"])
      leases     = tolist(["event-leases", "leaseKey"])
    }
    error_message = "The tables must have the names and keys that the program expects."
  }
  assert {
    condition     = { for table, made in local.made : table => made.stream_view_type if made.stream_enabled } == { events = "NEW_IMAGE" }
    error_message = "Only the events have a stream, with new images."
  }
  assert {
    condition = { for table, made in local.made : table => one(made.ttl[*].attribute_name) if length(made.ttl) > 0 } == {
      events = "expires_at", deliveries = "expires_at"
    }
    error_message = "Events and deliveries must expire at expires_at."
  }
  assert {
    condition = [for index in local.made["deliveries"].global_secondary_index : [
      index.name, index.hash_key, index.range_key, index.projection_type, join(",", index.non_key_attributes)
    ]] == [["by-due", "queue", "due", "INCLUDE", "token"]]
    error_message = "The deliveries must have the index by-due with the token."
  }
  assert {
    condition = alltrue([
      for table, made in local.made : alltrue([
        made.billing_mode == "PAY_PER_REQUEST", made.deletion_protection_enabled, one(made.server_side_encryption).enabled,
        one(made.point_in_time_recovery).enabled == (table != "leases"),
      ])
    ])
    error_message = "Deletion protection, recovery and encryption must be on."
  }
}

run "a_processor_stores_events_and_reads_none" {
  command = plan

  assert {
    condition = { for statement in jsondecode(module.roles.permissions["processor"]).Statement : statement.Sid => [statement.Action, statement.Resource] } == {
      ReceiveEvents = [
        ["sqs:ReceiveMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
        "arn:aws:sqs:eu-west-1:123456789012:events",
      ]
      SendDeadEvents     = [["sqs:SendMessage", "sqs:GetQueueUrl"], "arn:aws:sqs:eu-west-1:123456789012:events-dlq"]
      SendDeadDeliveries = [["sqs:SendMessage", "sqs:GetQueueUrl"], "arn:aws:sqs:eu-west-1:123456789012:deliver-dlq"]
      StoreEvents        = [["dynamodb:PutItem", "dynamodb:DescribeTimeToLive", "dynamodb:DescribeTable"], "arn:aws:dynamodb:eu-west-1:123456789012:table/Events"]
      ReadRoutes         = [["dynamodb:GetItem", "dynamodb:DescribeTable"], "arn:aws:dynamodb:eu-west-1:123456789012:table/routes"]
      StoreDeliveries    = [["dynamodb:PutItem", "dynamodb:DescribeTimeToLive", "dynamodb:DescribeTable"], "arn:aws:dynamodb:eu-west-1:123456789012:table/deliveries"]
    }
    error_message = "The processor must have its permissions, and no others."
  }
  assert {
    condition     = keys(module.roles.roles) == ["deliverer", "processor", "scaler"]
    error_message = "The role of operators is created on demand only."
  }
}

run "with_direct_dispatch_a_processor_may_deliver" {
  command = plan

  variables {
    direct_dispatch = true
  }

  assert {
    condition = sort([for statement in jsondecode(module.roles.permissions["processor"]).Statement : statement.Sid]) == tolist([
      "KeepDeliveries", "ReceiveEvents", "SendDeadDeliveries", "SendDeadEvents", "StoreEvents", "UseRoutes",
    ])
    error_message = "A processor that delivers needs the routes and the deliveries."
  }
}

run "a_deliverer_reads_the_stream_and_changes_no_event" {
  command = plan

  assert {
    condition = { for statement in jsondecode(module.roles.permissions["deliverer"]).Statement : statement.Sid => statement.Resource } == {
      ReadStream     = "arn:aws:dynamodb:eu-west-1:123456789012:table/Events/stream/*"
      DescribeEvents = "arn:aws:dynamodb:eu-west-1:123456789012:table/Events"
      KeepLeases     = "arn:aws:dynamodb:eu-west-1:123456789012:table/event-leases"
      UseRoutes      = "arn:aws:dynamodb:eu-west-1:123456789012:table/routes"
      KeepDeliveries = [
        "arn:aws:dynamodb:eu-west-1:123456789012:table/deliveries/index/by-due", "arn:aws:dynamodb:eu-west-1:123456789012:table/deliveries",
      ]
      SendDeadDeliveries = "arn:aws:sqs:eu-west-1:123456789012:deliver-dlq"
    }
    error_message = "The deliverer must have its permissions, and no others."
  }
  assert {
    condition     = !strcontains(module.roles.permissions["deliverer"], "sqs:ReceiveMessage")
    error_message = "The deliverer must not receive messages."
  }
}

run "only_the_operator_may_erase_events_and_delete_dead_letters" {
  command = plan

  variables {
    service_accounts = { for role in ["processor", "deliverer", "scaler", "operator"] : role => { namespace = "event-pipeline", name = role } }
  }

  assert {
    condition = [for role in ["processor", "deliverer", "scaler", "operator"] : anytrue([
      for statement in jsondecode(module.roles.permissions[role]).Statement :
      contains(flatten([statement.Action]), "dynamodb:DeleteItem") && contains(flatten([statement.Resource]), "arn:aws:dynamodb:eu-west-1:123456789012:table/Events")
    ])] == [false, false, false, true]
    error_message = "Only the operator may delete events."
  }
  assert {
    condition = [for role in ["processor", "deliverer", "scaler", "operator"] : anytrue([
      for statement in jsondecode(module.roles.permissions[role]).Statement :
      contains(flatten([statement.Action]), "sqs:DeleteMessage") && contains(flatten([statement.Resource]), "arn:aws:sqs:eu-west-1:123456789012:events-dlq")
    ])] == [false, false, false, true]
    error_message = "Only the operator may delete dead letters."
  }
  assert {
    condition = alltrue([
      for role in ["processor", "deliverer", "scaler", "operator"] : alltrue([
        for action in ["*", "DeleteTable", "DeleteQueue", "PurgeQueue", "SetQueueAttributes"] : !strcontains(module.roles.permissions[role], ":${action}\"")
      ])
    ])
    error_message = "No role may delete, purge or change queues and tables."
  }
}

run "only_one_service_account_of_the_cluster_may_assume_each_role" {
  command = plan

  assert {
    condition = jsondecode(module.roles.trust["scaler"]).Statement[0].Condition == {
      StringEquals = {
        "container.googleapis.com/v1/projects/p/locations/l/clusters/c:sub" = "system:serviceaccount:keda:keda-operator"
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
      "event-pipeline-deliver-dlq-grows", "event-pipeline-deliver-dlq-old",
      "event-pipeline-deliveries-by-due-reads-throttled", "event-pipeline-deliveries-by-due-writes-throttled",
      "event-pipeline-deliveries-reads-throttled", "event-pipeline-deliveries-writes-throttled",
      "event-pipeline-events-dlq-grows", "event-pipeline-events-dlq-old", "event-pipeline-events-old",
      "event-pipeline-events-reads-throttled", "event-pipeline-events-writes-throttled",
      "event-pipeline-leases-reads-throttled", "event-pipeline-leases-writes-throttled",
      "event-pipeline-routes-reads-throttled", "event-pipeline-routes-writes-throttled",
    ])
    error_message = "There must be alarms for the age of events, for new dead letters and for throttling."
  }
  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.age), values(aws_cloudwatch_metric_alarm.dead_letters), flatten([for made in values(module.tables) : values(made.alarms)])) :
      strcontains(alarm.alarm_description, "docs/events-runbook.md#") && alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "Each alarm must link to its runbook section and treat missing data as healthy."
  }
  assert {
    condition     = module.tables["deliveries"].alarms["event-pipeline-deliveries-by-due-writes-throttled"].dimensions.GlobalSecondaryIndexName == "by-due"
    error_message = "The alarm of the index must name it, because DynamoDB reports its throttling separately."
  }
}

run "the_outputs_match_the_kubernetes_manifests" {
  command = plan

  assert {
    condition = alltrue([
      for role in ["processor", "deliverer"] :
      join("", [for name, value in output.role_environments[role] : "${name}=${value}\n"]) == file("../../tests/settings/event-pipeline/${role}.env")
    ])
    error_message = "The settings that the manifests are checked with must equal the output role_environments."
  }
}

run "a_customer_managed_key_encrypts_everything" {
  command = plan

  variables {
    kms_key_arn       = "arn:aws:kms:eu-west-1:123456789012:key/0"
    oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/there"
  }

  assert {
    condition     = alltrue([for queue in concat([aws_sqs_queue.events], values(aws_sqs_queue.dead_letters)) : queue.kms_master_key_id == var.kms_key_arn])
    error_message = "The queues must use the key."
  }
  assert {
    condition     = alltrue([for table in values(local.made) : one(table.server_side_encryption).kms_key_arn == var.kms_key_arn])
    error_message = "The tables must use the key."
  }
  assert {
    condition = alltrue([
      for role in ["processor", "deliverer"] : strcontains(module.roles.permissions[role], "kms:ViaService")
    ])
    error_message = "The key may only be used through SQS and DynamoDB."
  }
  assert {
    condition     = length(module.roles.identity_providers) == 0
    error_message = "An existing identity provider must not be created again."
  }
}
