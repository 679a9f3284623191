//! The roles that use queues and tables, and the permissions that each one needs on the tables. Terraform grants the same.

use std::fmt;

use dynamodb::Permission;
use dynamodb::Permission::{Delete, Get, Put, Query, Scan, Update};

use super::queue::Which;
use super::tables::Kind;

/// Who needs a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// `event-pipeline processor`
    Processor,
    /// `event-pipeline processor --direct-dispatch`
    DirectProcessor,
    /// `event-pipeline deliver`
    Deliverer,
    /// The commands of operators
    Operator,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Processor, Role::DirectProcessor, Role::Deliverer, Role::Operator];

    /// Returns what the role does with items of a table. `None` if it does not use the table.
    pub(super) fn permissions(self, table: Kind) -> Option<&'static [Permission]> {
        Some(match (self, table) {
            (Role::Processor | Role::DirectProcessor, Kind::Events) => &[Put],
            (Role::Processor, Kind::Routes) => &[Get],
            // For a direct event that is a duplicate.
            (Role::Processor, Kind::Deliveries) => &[Put],
            (Role::Processor | Role::DirectProcessor, Kind::Leases) => return None,
            // The stream has permissions of its own.
            (Role::Deliverer, Kind::Events) => &[],
            (Role::DirectProcessor | Role::Deliverer, Kind::Routes) => &[Get, Update],
            (Role::DirectProcessor | Role::Deliverer | Role::Operator, Kind::Deliveries) => delivery_table::PERMISSIONS,
            (Role::Deliverer, Kind::Leases) => &[Scan, Put, Update, Delete],
            (Role::Operator, Kind::Events) => &[Query, Scan, Delete],
            (Role::Operator, Kind::Routes) => &[Get, Scan, Put, Update, Delete],
            // `setup` describes it.
            (Role::Operator, Kind::Leases) => &[],
        })
    }

    pub(super) fn reads_stream(self) -> bool {
        self == Role::Deliverer
    }

    /// Returns whether the role uses a queue.
    pub(super) fn uses(self, queue: Which) -> bool {
        match self {
            Role::Processor | Role::DirectProcessor | Role::Operator => true,
            Role::Deliverer => queue == Which::DeliverDlq,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::Processor => "processor",
            Role::DirectProcessor => "direct-processor",
            Role::Deliverer => "deliverer",
            Role::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns each permission that these roles need on a table, with those that need it. `None` if no role uses the table.
pub(super) fn needed(roles: &[Role], table: Kind) -> Option<Vec<(Permission, Vec<Role>)>> {
    let mut needed: Option<Vec<(Permission, Vec<Role>)>> = None;
    for role in roles {
        let Some(permissions) = role.permissions(table) else { continue };
        let needed = needed.get_or_insert_default();
        for permission in permissions {
            match needed.iter_mut().find(|(other, _)| other == permission) {
                Some((_, roles)) => roles.push(*role),
                None => needed.push((*permission, vec![*role])),
            }
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_permission_is_listed_once_with_the_roles_that_need_it() {
        let needed_by = |roles: &[Role], table, permission| {
            let needed = needed(roles, table)?;
            let mut found = needed.into_iter().filter(|(other, _)| *other == permission);
            let roles = found.next()?.1;
            assert_eq!(found.next(), None);
            Some(roles)
        };
        let processors = vec![Role::Processor, Role::DirectProcessor];
        assert_eq!(needed_by(&Role::ALL, Kind::Events, Put), Some(processors));
        assert_eq!(needed_by(&Role::ALL, Kind::Leases, Scan), Some(vec![Role::Deliverer]));
        assert_eq!(needed_by(&[Role::Operator], Kind::Events, Scan), Some(vec![Role::Operator]));
        assert_eq!(needed(&[Role::Processor], Kind::Leases), None);
        assert_eq!(needed(&[Role::Operator], Kind::Leases), Some(Vec::new()));
    }
}
