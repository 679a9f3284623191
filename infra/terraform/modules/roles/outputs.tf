output "roles" {
  description = "The roles, with all their attributes."
  value       = aws_iam_role.workload
}

output "permissions" {
  description = "The permissions of each role, as JSON."
  value       = { for role, document in data.aws_iam_policy_document.permissions : role => document.json }
}

output "trust" {
  description = "Who may assume each role, as JSON."
  value       = { for role, document in data.aws_iam_policy_document.trust : role => document.json }
}

output "identity_providers" {
  description = "The identity provider of the cluster, if this module created it."
  value       = aws_iam_openid_connect_provider.cluster
}
