# One role for each Kubernetes service account. Module events and module widgets use it.
#
# AWS trusts the cluster's own token issuer, so no AWS key is stored anywhere. Kubernetes issues a token to the pod for
# the audience sts.amazonaws.com, and AWS exchanges it for credentials that are valid for an hour.

data "aws_region" "this" {}

resource "aws_iam_openid_connect_provider" "cluster" {
  count = var.oidc_provider_arn == null ? 1 : 0

  url            = var.oidc_issuer
  client_id_list = ["sts.amazonaws.com"]
  tags           = var.tags
}

locals {
  oidc_provider_arn = coalesce(var.oidc_provider_arn, one(aws_iam_openid_connect_provider.cluster[*].arn))
  oidc_claims       = trimprefix(var.oidc_issuer, "https://")
}

data "aws_iam_policy_document" "trust" {
  for_each = var.service_accounts

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.oidc_provider_arn]
    }

    # StringEquals, because StringLike would accept wildcards, and a wildcard admits every service account.
    condition {
      test     = "StringEquals"
      variable = "${local.oidc_claims}:sub"
      values   = ["system:serviceaccount:${each.value.namespace}:${each.value.name}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.oidc_claims}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "permissions" {
  for_each = var.service_accounts

  dynamic "statement" {
    for_each = var.permissions[each.key]

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = statement.value.only_within == null ? [] : [statement.value.only_within]

        content {
          test     = "ForAnyValue:StringEquals"
          variable = "dynamodb:EnclosingOperation"
          values   = [condition.value]
        }
      }
    }
  }

  # Services use a customer-managed key with the caller's permissions. Their own keys already trust them.
  dynamic "statement" {
    for_each = var.kms_key_arn == null || contains(var.roles_without_key, each.key) ? [] : [1]

    content {
      sid       = "UseKeyThroughServices"
      actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      resources = [var.kms_key_arn]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = [for service in var.kms_services : "${service}.${data.aws_region.this.name}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_policy" "permissions" {
  for_each = var.service_accounts

  name        = "${var.name}-${each.key}"
  description = "Permissions of ${each.key} of ${var.name}"
  policy      = data.aws_iam_policy_document.permissions[each.key].json
  tags        = var.tags
}

resource "aws_iam_role" "workload" {
  for_each = var.service_accounts

  name                 = "${var.name}-${each.key}"
  description          = "${each.value.namespace}/${each.value.name} as ${each.key} of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy_attachment" "workload" {
  for_each = var.service_accounts

  role       = aws_iam_role.workload[each.key].name
  policy_arn = aws_iam_policy.permissions[each.key].arn
}
