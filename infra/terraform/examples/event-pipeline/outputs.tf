# The settings of each program, for the Kubernetes overlay: terraform output -raw NAME > FILE

output "processor_env" {
  description = "The settings of the processors: terraform output -raw processor_env > processor.env"
  value       = local.envs["processor"]
}

output "deliverer_env" {
  description = "The settings of the deliverers: terraform output -raw deliverer_env > deliverer.env"
  value       = local.envs["deliverer"]
}

output "operator_env" {
  description = "The settings of all other commands. It does not exist without operator_service_account."
  value       = lookup(local.envs, "operator", null)
}

output "scaler_role_arn" {
  description = "ARN of KEDA's role, for podIdentity.aws.irsa of its chart."
  value       = module.events.role_arns["scaler"]
}

output "queue_urls" {
  description = "URLs of the queues. Producers send to `events`."
  value       = module.events.queue_urls
}

locals {
  envs = {
    for role, settings in module.events.role_environments : role => join("", [for name, value in settings : "${name}=${value}\n"])
  }
}
