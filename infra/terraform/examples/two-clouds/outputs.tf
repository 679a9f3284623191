# The settings of each program, for the Kubernetes overlay: terraform output -raw NAME > FILE

output "consumer_env" {
  description = "The settings of the consumers: terraform output -raw consumer_env > consumer.env"
  value       = local.envs["consumer"]
}

output "api_env" {
  description = "The settings of the API: terraform output -raw api_env > api.env"
  value       = local.envs["api"]
}

output "changes_env" {
  description = "The settings of the reader of changes: terraform output -raw changes_env > changes.env. It does not exist without the variable changes."
  value       = lookup(local.envs, "changes", null)
}

output "role_envs" {
  description = "The settings of every role, for Jobs: terraform output -json role_envs | jq -r .exporter > exporter.env"
  value       = local.envs
}

output "prometheus_address" {
  description = "Cloud Monitoring's Prometheus API, which the autoscaler and dashboards ask for the backlog."
  value       = module.gcp.prometheus_address
}

output "topic" {
  description = "Full name of the topic, for publishers of scans."
  value       = module.gcp.topic
}

output "oidc_issuer" {
  description = "URL of the cluster's token issuer, for other programs in the cluster: variable oidc_issuer of event-pipeline and widget-registry."
  value       = module.gcp.oidc_issuer
}

output "oidc_provider_arn" {
  description = "ARN of the account's identity provider for that issuer: their variable oidc_provider_arn."
  value       = module.aws.oidc_provider_arn
}

locals {
  envs = {
    for role, settings in module.aws.role_environments : role => join("", [
      for name, value in merge(role == "consumer" ? module.gcp.consumer_environment : {}, settings) : "${name}=${value}\n"
    ])
  }
}
