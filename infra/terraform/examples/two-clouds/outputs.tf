output "consumer_env" {
  description = "Settings of the consumer, as the Kubernetes overlay reads them: terraform output -raw consumer_env > consumer.env"
  value       = join("", [for name, value in merge(module.gcp.consumer_environment, module.aws.consumer_environment) : "${name}=${value}\n"])
}

output "prometheus_address" {
  description = "For serverAddress of the overlay's ScaledObject."
  value       = module.gcp.prometheus_address
}

output "topic" {
  description = "For publishers of scans."
  value       = module.gcp.topic
}
