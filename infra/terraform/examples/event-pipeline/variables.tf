variable "aws_region" {
  description = "AWS region of the queues and tables."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "Must be an AWS region, e.g. eu-west-1."
  }
}

variable "oidc_issuer" {
  description = "URL of the token issuer of the cluster, e.g. output oidc_issuer of the example two-clouds."
  type        = string
}

variable "oidc_provider_arn" {
  description = "ARN of the account's identity provider for that issuer, if it exists already (an account has one per URL). null creates it."
  type        = string
  default     = null

  validation {
    condition     = var.oidc_provider_arn == null || can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/", var.oidc_provider_arn))
    error_message = "Must be an ARN: arn:aws:iam::ACCOUNT:oidc-provider/HOST/PATH."
  }
}

variable "producer_principals" {
  description = "ARNs of the roles and users that may send events. Nobody else may, except the role operator."
  type        = list(string)
}

variable "direct_dispatch" {
  description = "Whether the processor may deliver events itself, which --direct-dispatch needs."
  type        = bool
  default     = false
}

variable "scaler" {
  description = "KEDA's Kubernetes service account, which reads the length of the queue."
  type = object({
    namespace = string
    name      = string
  })
  default = { namespace = "keda", name = "keda-operator" }
}

variable "operator_service_account" {
  description = "Kubernetes service account of Jobs that run all other commands, e.g. `event-pipeline dlq`. null creates no role for them."
  type = object({
    namespace = string
    name      = string
  })
  default = null
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables. Before you destroy them, set this to false and apply. SQS has no such protection."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics to notify when an alarm fires and when it recovers."
  type        = list(string)
  default     = []
}
