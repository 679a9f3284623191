//! The checks of what webhooks need: their two tables and the permissions.

/// The tables of webhooks, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksTables {
    pub webhooks: String,
    pub deliveries: String,
}
