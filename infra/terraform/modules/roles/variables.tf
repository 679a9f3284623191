variable "name" {
  description = "Begins the names of roles and policies."
  type        = string
}

variable "oidc_issuer" {
  description = "URL of the token issuer of the cluster whose service accounts assume the roles."
  type        = string
}

variable "oidc_provider_arn" {
  description = "ARN of the account's identity provider for that issuer. null creates it."
  type        = string
}

variable "service_accounts" {
  description = "The Kubernetes service account that may assume each role."
  type        = map(object({ namespace = string, name = string }))
}

variable "permissions" {
  description = <<-TEXT
    The permissions of each role. `only_within` allows the actions only as a part of this operation of DynamoDB, e.g.
    TransactWriteItems.
  TEXT
  type = map(list(object({
    sid         = string
    actions     = list(string)
    resources   = list(string)
    only_within = optional(string)
  })))
}

variable "kms_key_arn" {
  description = "ARN of a customer-managed key that the roles may use through `kms_services`."
  type        = string
}

variable "kms_services" {
  description = "The services that use the key, e.g. dynamodb."
  type        = list(string)
}

variable "roles_without_key" {
  description = "Roles that read nothing that the key encrypts."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
}
