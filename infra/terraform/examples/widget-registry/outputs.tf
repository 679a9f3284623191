# The settings of each program, for the Kubernetes overlay: terraform output -raw NAME > FILE

output "widgets_env" {
  description = "The settings of the API: terraform output -raw widgets_env > widgets.env"
  value       = local.envs["api"]
}

output "operator_env" {
  description = "The settings of `audit` and `tail`. It does not exist without operator_service_account."
  value       = lookup(local.envs, "operator", null)
}

locals {
  envs = {
    for role, settings in module.widgets.role_environments : role => join("", [for name, value in settings : "${name}=${value}\n"])
  }
}
