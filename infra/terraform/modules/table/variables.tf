variable "name" {
  description = "Name of the table."
  type        = string
}

variable "hash_key" {
  description = "Partition key, a string."
  type        = string
}

variable "range_key" {
  description = "Sort key, a string. null if the table has none."
  type        = string
  default     = null
}

variable "index_attributes" {
  description = "Type of each attribute that is a key of an index only."
  type        = map(string)
  default     = {}
}

variable "indexes" {
  description = "Indexes by name: their keys and the attributes that they contain besides."
  type        = map(object({ hash_key = string, range_key = string, attributes = list(string) }))
  default     = {}
}

variable "expires" {
  description = "Whether items expire at their attribute `expires_at`."
  type        = bool
  default     = false
}

variable "stream" {
  description = "What the records of the stream contain, e.g. NEW_IMAGE. null if the table has no stream."
  type        = string
  default     = null
}

variable "recovery_period_days" {
  description = "How many days back the table can be restored, to any second. null turns point-in-time recovery off."
  type        = number
  default     = null
}

variable "max_write_units" {
  description = "Write units per second above which DynamoDB throttles, which bounds the bill. null means only the quota of the table."
  type        = number
  default     = null
}

variable "kms_key_arn" {
  description = "ARN of the customer-managed key that encrypts the table. null means the key of DynamoDB."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the table."
  type        = bool
}

variable "alarm_prefix" {
  description = "Begins the names of the alarms."
  type        = string
}

variable "runbook" {
  description = "The runbook section of the alarms."
  type        = string
}

variable "alarm_topic_arns" {
  description = "ARNs of the SNS topics to notify when an alarm fires and when it recovers."
  type        = list(string)
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
}
