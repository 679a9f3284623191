# AWS trusts the cluster's own token issuer, so no AWS key is stored anywhere. Kubernetes issues a token to the pod for
# the audience sts.amazonaws.com, and AWS exchanges it for credentials that are valid for an hour.

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
  policy_arn = aws_iam_policy.role[each.key].arn
}
