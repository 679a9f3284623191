//! The only module that knows aws-sdk-dynamodb.
