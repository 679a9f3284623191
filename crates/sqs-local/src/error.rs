//! Error responses, with the codes and messages of AWS. This module knows neither JSON nor HTTP.

use std::fmt;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The errors that this server returns, by their names in the model of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InternalFailure,
    InvalidAddress,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MalformedInput,
    MissingParameter,
    OverLimit,
    PurgeQueueInProgress,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    RequestThrottled,
    ResourceNotFound,
    TooManyEntriesInBatchRequest,
    UnknownOperation,
    UnsupportedOperation,
}

impl Code {
    /// Returns the code that the Query protocol had. SDKs read it from a header, and failed entries of batches contain it.
    pub(crate) fn query_code(self) -> &'static str {
        match self {
            Code::BatchEntryIdsNotDistinct => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Code::BatchRequestTooLong => "AWS.SimpleQueueService.BatchRequestTooLong",
            Code::EmptyBatchRequest => "AWS.SimpleQueueService.EmptyBatchRequest",
            Code::InternalFailure => "InternalFailure",
            Code::InvalidAddress => "InvalidAddress",
            Code::InvalidAttributeName => "InvalidAttributeName",
            Code::InvalidAttributeValue => "InvalidAttributeValue",
            Code::InvalidBatchEntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Code::InvalidMessageContents => "InvalidMessageContents",
            Code::InvalidParameterValue => "InvalidParameterValue",
            Code::MalformedInput => "MalformedInput",
            Code::MissingParameter => "MissingParameter",
            Code::OverLimit => "OverLimit",
            Code::PurgeQueueInProgress => "AWS.SimpleQueueService.PurgeQueueInProgress",
            Code::QueueDoesNotExist => "AWS.SimpleQueueService.NonExistentQueue",
            Code::QueueNameExists => "QueueAlreadyExists",
            Code::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Code::RequestThrottled => "RequestThrottled",
            Code::ResourceNotFound => "ResourceNotFoundException",
            Code::TooManyEntriesInBatchRequest => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            Code::UnknownOperation => "InvalidAction",
            Code::UnsupportedOperation => "AWS.SimpleQueueService.UnsupportedOperation",
        }
    }

    /// Returns the type in the body of the response.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::InvalidParameterValue => "InvalidParameterValueException",
            Code::MalformedInput => "SerializationException",
            Code::MissingParameter => "MissingRequiredParameterException",
            Code::QueueDoesNotExist => "QueueDoesNotExist",
            Code::QueueNameExists => "QueueNameExists",
            Code::UnknownOperation => "UnknownOperationException",
            other => other.query_code().trim_start_matches("AWS.SimpleQueueService."),
        }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Code::InternalFailure => 500,
            Code::RequestThrottled => 403,
            Code::ResourceNotFound => 404,
            _ => 400,
        }
    }
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> ApiError {
        ApiError { code, message: message.to_string() }
    }

    /// Returns whether the request caused the error.
    pub(crate) fn is_sender_fault(&self) -> bool {
        self.code.status() < 500
    }

    pub(crate) fn invalid(name: &str, value: impl fmt::Display, reason: impl fmt::Display) -> ApiError {
        let message = format!("Value {value} for parameter {name} is invalid. Reason: {reason}");
        ApiError::new(Code::InvalidParameterValue, message)
    }

    pub(crate) fn missing(parameter: &str) -> ApiError {
        ApiError::new(Code::MissingParameter, format_args!("The request must contain the parameter {parameter}."))
    }

    pub(crate) fn no_such_queue() -> ApiError {
        ApiError::new(Code::QueueDoesNotExist, "The specified queue does not exist.")
    }

    pub(crate) fn unknown_attribute(name: &str) -> ApiError {
        ApiError::new(Code::InvalidAttributeName, format_args!("Unknown Attribute {name}."))
    }

    /// A feature of SQS that this server does not implement.
    pub(crate) fn unsupported(feature: &str) -> ApiError {
        ApiError::new(Code::UnsupportedOperation, format_args!("The embedded SQS server does not support {feature}"))
    }
}
