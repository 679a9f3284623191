variable "project" {
  description = "Google Cloud project."
  type        = string
}

variable "cluster" {
  description = "The GKE cluster that runs the consumers. Its project defaults to the one above."
  type = object({
    name     = string
    location = string
    project  = optional(string)
  })
}

variable "aws_region" {
  description = "AWS region of the table. Choose one near the Google Cloud region of the messages."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "Must be an AWS region, e.g. eu-west-1."
  }
}

variable "max_write_units" {
  description = "Write units per second above which DynamoDB throttles the table. null means no limit."
  type        = number
  default     = null
}

variable "operators" {
  description = "Members who may list and redrive dead letters, e.g. group:oncall@example.com."
  type        = list(string)
  default     = []
}

variable "page_channels" {
  description = "Cloud Monitoring notification channels for pages."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Cloud Monitoring notification channels for tickets."
  type        = list(string)
  default     = []
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics for the table's alarms."
  type        = list(string)
  default     = []
}
