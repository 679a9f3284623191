//! The only module that knows google-cloud-pubsub.
