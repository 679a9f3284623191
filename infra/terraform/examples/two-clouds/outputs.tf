output "consumer_env" {
  description = "The consumer's settings for the Kubernetes overlay: terraform output -raw consumer_env > consumer.env"
  value       = join("", [for name, value in merge(module.gcp.consumer_environment, module.aws.consumer_environment) : "${name}=${value}\n"])
}

output "prometheus_address" {
  description = "Prometheus address for serverAddress in the overlay's ScaledObject."
  value       = module.gcp.prometheus_address
}

output "topic" {
  description = "Full name of the topic, for publishers of scans."
  value       = module.gcp.topic
}
