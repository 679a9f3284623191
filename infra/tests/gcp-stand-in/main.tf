# Stands in for module gcp where Google's provider is not available, so that the example two-clouds is validated and tested
# with the real module aws. infra/tests/agreement.py compares its variables and outputs with those of the module.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
}

variable "project" {
  type = string
}

variable "cluster" {
  type = object({ name = string, location = string, project = optional(string) })
}

variable "metrics_scope" {
  type = bool
}

variable "service_account" {
  type = object({ namespace = string, name = string })
}

variable "scaler" {
  type = object({ namespace = string, name = string })
}

variable "replay_days" {
  type = number
}

variable "operators" {
  type = list(string)
}

variable "operator_service_account" {
  type = object({ namespace = string, name = string })
}

variable "alert_policies" {
  type = bool
}

variable "page_channels" {
  type = list(string)
}

variable "ticket_channels" {
  type = list(string)
}

output "oidc_issuer" {
  value = "https://container.googleapis.com/v1/projects/${var.project}/locations/${var.cluster.location}/clusters/${var.cluster.name}"
}

output "service_account" {
  value = var.service_account
}

output "prometheus_address" {
  value = "https://monitoring.googleapis.com/v1/projects/${var.project}/location/global/prometheus"
}

output "topic" {
  value = "projects/${var.project}/topics/scan-topic"
}

output "consumer_environment" {
  value = {
    MINI_SCAN_PROJECT           = var.project
    MINI_SCAN_SUBSCRIPTION      = "scan-sub"
    MINI_SCAN_DEAD_LETTER_TOPIC = "scan-dead-letter"
  }
}
