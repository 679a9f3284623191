//! Asks which permissions this identity has, without using them.

use super::{Connection, Problem};

/// The permission to read a subscription.
pub const CONSUME: &str = "pubsub.subscriptions.consume";

/// Returns whether this identity has `permission` on the topic or subscription of this full name. Everyone may ask.
/// Every call opens a new connection.
///
/// Google returns no permissions for a missing resource. Local servers do not know this call.
pub async fn has_permission(connection: &Connection, resource: &str, permission: &str) -> Result<bool, Problem> {
    // Only this client has the method, and it accepts topics and subscriptions too.
    let client = connection.schema_service().await?;
    let request = client.test_iam_permissions().set_resource(resource).set_permissions([permission]);
    let granted = request.send().await.map_err(|error| Problem::from(&error))?;
    Ok(granted.permissions.iter().any(|granted| granted == permission))
}
