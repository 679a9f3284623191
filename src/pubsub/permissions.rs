//! Asks which permissions this identity has, without using them.

use super::{Connection, Problem};

/// Returns whether this identity has `permission` on the topic or subscription of this full name. Everyone may ask.
///
/// Google says the same of a missing resource as of one without permissions; local servers do not answer at all.
pub async fn has_permission(connection: &Connection, resource: &str, permission: &str) -> Result<bool, Problem> {
    // The client offers this method of every resource here alone.
    let client = connection.schema_service().await?;
    let request = client.test_iam_permissions().set_resource(resource).set_permissions([permission]);
    let granted = request.send().await.map_err(|error| Problem::from(&error))?;
    Ok(granted.permissions.iter().any(|granted| granted == permission))
}
