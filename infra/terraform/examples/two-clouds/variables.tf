variable "project" {
  description = "Google Cloud project."
  type        = string
}

variable "cluster" {
  description = "The GKE cluster in which the consumers run."
  type = object({
    name     = string
    location = string
    project  = optional(string)
  })
}

variable "aws_region" {
  description = "Region of the table; one near the subscription's messages."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "A region, as eu-west-1."
  }
}

variable "max_write_units" {
  description = "Write units a second above which the table is throttled; null is none."
  type        = number
  default     = null
}

variable "operators" {
  description = "Who may bring dead letters back."
  type        = list(string)
  default     = []
}

variable "page_channels" {
  description = "Notification channels of Cloud Monitoring that wake somebody."
  type        = list(string)
  default     = []
}

variable "ticket_channels" {
  description = "Notification channels of Cloud Monitoring that can wait."
  type        = list(string)
  default     = []
}

variable "alarm_topic_arns" {
  description = "SNS topics for alarms of the table."
  type        = list(string)
  default     = []
}
