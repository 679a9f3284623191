//! What a program needs of a table: creates those that are missing, checks those that exist, and asks for permissions
//! without changing anything.

mod in_transaction;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType, TableDescription, TableStatus,
};

use crate::Item;
use crate::client::Problem;
use crate::stream::{StreamState, enable_stream, stream_state};
use crate::table::{
    attribute_type, built, describe, enable_expiry, has_expiry, key_text, wait_until_active, within_timeout,
};

pub use in_transaction::check_permission_in_transaction;

/// A table with its index. Requests are on demand.
#[derive(Debug)]
pub struct TableSpec {
    pub keys: &'static [Key],
    pub index: Option<&'static IndexSpec>,
    /// Whether items expire by [`crate::EXPIRES_AT`].
    pub expires: bool,
    /// What its stream contains, if it has one.
    pub stream: Option<StreamViewType>,
}

/// An attribute of a key, with its role and type.
pub type Key = (&'static str, KeyType, ScalarAttributeType);

/// A partition key of text.
pub const fn hash(name: &'static str) -> Key {
    (name, KeyType::Hash, ScalarAttributeType::S)
}

/// A sort key of text.
pub const fn range(name: &'static str) -> Key {
    (name, KeyType::Range, ScalarAttributeType::S)
}

/// An index that the program reads.
#[derive(Debug)]
pub struct IndexSpec {
    pub name: &'static str,
    pub keys: &'static [Key],
    /// The projected attributes beside the keys. `None` stands for all.
    pub includes: Option<&'static [&'static str]>,
}

/// An action that a program needs on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Put,
    Update,
    Delete,
    Get,
    Query,
    QueryIndex,
    Scan,
}

impl TableSpec {
    fn check_fit(&self, table: &TableDescription) -> Result<(), Problem> {
        if table.table_status() == Some(&TableStatus::Deleting) {
            return Err(Problem::DoesNotFit("DynamoDB is deleting it".to_owned()));
        }
        let key = key_text(table.key_schema(), |name| attribute_type(table, name));
        let expected = text_of(self.keys);
        if key != expected {
            return Err(Problem::DoesNotFit(format!("its key is {key}; expected {expected}")));
        }
        self.index.map_or(Ok(()), |index| index.check_fit(table).map_err(Problem::DoesNotFit))?;
        // A missing stream can be enabled.
        self.stream.as_ref().map_or(Ok(()), |view| stream_state(table, view).map(|_| ()))
    }

    /// A key that no program writes, for requests that only ask for permission.
    fn unused_key(&self) -> Item {
        self.keys.iter().map(|(name, ..)| ((*name).to_owned(), AttributeValue::S(UNUSED.into()))).collect()
    }
}

const UNUSED: &str = "check";
/// A condition on the partition key that no item fulfils.
const NEVER: &str = "attribute_exists(#hash) AND attribute_not_exists(#hash)";

impl IndexSpec {
    fn projection(&self) -> Projection {
        let projection = Projection::builder();
        match self.includes {
            None => projection.projection_type(ProjectionType::All).build(),
            Some(names) => {
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                projection.projection_type(ProjectionType::Include).set_non_key_attributes(Some(names)).build()
            }
        }
    }

    fn check_fit(&self, table: &TableDescription) -> Result<(), String> {
        let IndexSpec { name, keys, includes } = self;
        let mut indexes = table.global_secondary_indexes().iter();
        let Some(found) = indexes.find(|found| found.index_name() == Some(name)) else {
            return Err(format!("it has no index {name}"));
        };
        let key = key_text(found.key_schema(), |name| attribute_type(table, name));
        let expected = text_of(keys);
        if key != expected {
            return Err(format!("the key of its index {name} is {key}; expected {expected}"));
        }
        let projection = found.projection();
        let has_all = projection.and_then(Projection::projection_type) == Some(&ProjectionType::All);
        let has = |wanted: &&str| {
            projection.is_some_and(|found| found.non_key_attributes().iter().any(|name| name == wanted))
        };
        match includes {
            _ if has_all => Ok(()),
            Some(includes) if includes.iter().all(has) => Ok(()),
            Some(includes) => Err(format!("its index {name} does not project {}", includes.join(", "))),
            None => Err(format!("its index {name} does not project all attributes")),
        }
    }
}

fn text_of(keys: &[Key]) -> String {
    let texts: Vec<_> =
        keys.iter().map(|(name, role, kind)| format!("{} {name} ({})", role.as_str(), kind.as_str())).collect();
    texts.join(", ")
}

fn key_schema(keys: &[Key]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element =
        |(name, role, _): &Key| KeySchemaElement::builder().attribute_name(*name).key_type(role.clone()).build();
    keys.iter().map(element).collect()
}

impl Permission {
    /// Returns the name of the action in a policy.
    pub fn action(self) -> &'static str {
        match self {
            Permission::Put => "dynamodb:PutItem",
            Permission::Update => "dynamodb:UpdateItem",
            Permission::Delete => "dynamodb:DeleteItem",
            Permission::Get => "dynamodb:GetItem",
            Permission::Query | Permission::QueryIndex => "dynamodb:Query",
            Permission::Scan => "dynamodb:Scan",
        }
    }

    /// Returns the index of the table that the action is on.
    pub fn index(self, spec: &TableSpec) -> Option<&'static str> {
        spec.index.filter(|_| self == Permission::QueryIndex).map(|index| index.name)
    }
}

/// What [`create_table`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableSetup {
    Created,
    /// The table exists and is up to date.
    Found,
    /// The table existed. These were enabled.
    Changed {
        expiry: bool,
        stream: bool,
    },
}

/// Creates the table with its index and stream if it is missing. Enables expiry and the stream of an existing table. Safe to
/// repeat and to run concurrently.
pub async fn create_table(client: &Client, spec: &TableSpec, name: &str) -> Result<TableSetup, Problem> {
    let is_new = match describe(client, name).await {
        Ok(_) => false,
        Err(Problem::NotFound) => create_missing(client, spec, name).await?,
        Err(problem) => return Err(problem),
    };
    spec.check_fit(&wait_until_active(client, name).await?)?;
    let expiry = spec.expires && enable_expiry(client, name).await?;
    let stream = match &spec.stream {
        Some(view) => enable_stream(client, name, view).await?,
        None => false,
    };
    Ok(match (is_new, expiry || stream) {
        (true, _) => TableSetup::Created,
        (false, true) => TableSetup::Changed { expiry, stream },
        (false, false) => TableSetup::Found,
    })
}

async fn create_missing(client: &Client, spec: &TableSpec, name: &str) -> Result<bool, Problem> {
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    request = request.set_key_schema(Some(built(key_schema(spec.keys))?));
    let mut keys: Vec<_> = spec.keys.iter().collect();
    if let Some(index) = spec.index {
        let global = GlobalSecondaryIndex::builder().index_name(index.name).projection(index.projection());
        let global = global.set_key_schema(Some(built(key_schema(index.keys))?));
        request = request.global_secondary_indexes(built(global.build())?);
        keys.extend(index.keys.iter().filter(|(name, ..)| spec.keys.iter().all(|(other, ..)| other != name)));
    }
    for (name, _, kind) in keys {
        let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
        request = request.attribute_definitions(built(attribute.build())?);
    }
    if let Some(view) = &spec.stream {
        let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.clone());
        request = request.stream_specification(built(stream.build())?);
    }
    match within_timeout(request.send()).await {
        Ok(_) => Ok(true),
        // Another process created it since the check.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(false),
        Err(error) => Err(Problem::of(&error)),
    }
}

/// Checks that the table exists and that its key, index and stream fit. Returns whether its items expire, as far as they
/// should.
pub async fn check_table(client: &Client, spec: &TableSpec, name: &str) -> Result<bool, Problem> {
    let table = describe(client, name).await?;
    spec.check_fit(&table)?;
    if let Some(view) = &spec.stream
        && stream_state(&table, view)? == StreamState::Missing
    {
        return Err(Problem::DoesNotFit("it has no stream".to_owned()));
    }
    if spec.expires { has_expiry(client, name).await } else { Ok(true) }
}

/// Asks for a permission on a table. A write has a condition that no item fulfils, so nothing changes, and costs one
/// write unit.
pub async fn check_permission(
    client: &Client,
    spec: &TableSpec,
    name: &str,
    permission: Permission,
) -> Result<(), Problem> {
    let key = spec.unused_key();
    let hash = spec.keys[0].0;
    match permission {
        Permission::Put => {
            let put = client.put_item().table_name(name).set_item(Some(key)).condition_expression(NEVER);
            allowed(within_timeout(put.expression_attribute_names("#hash", hash).send()).await)
        }
        Permission::Update => {
            let update = client.update_item().table_name(name).set_key(Some(key)).condition_expression(NEVER);
            allowed(within_timeout(update.expression_attribute_names("#hash", hash).send()).await)
        }
        Permission::Delete => {
            let delete = client.delete_item().table_name(name).set_key(Some(key)).condition_expression(NEVER);
            allowed(within_timeout(delete.expression_attribute_names("#hash", hash).send()).await)
        }
        Permission::Get => allowed(within_timeout(client.get_item().table_name(name).set_key(Some(key)).send()).await),
        Permission::Query => query(client, name, None, hash).await,
        Permission::QueryIndex => {
            let index = spec.index;
            let hash = index.map_or(hash, |index| index.keys[0].0);
            query(client, name, index.map(|index| index.name.to_owned()), hash).await
        }
        Permission::Scan => allowed(within_timeout(client.scan().table_name(name).limit(1).send()).await),
    }
}

async fn query(client: &Client, table: &str, index: Option<String>, hash: &str) -> Result<(), Problem> {
    let query = client
        .query()
        .table_name(table)
        .set_index_name(index)
        .limit(1)
        .key_condition_expression("#hash = :none")
        .expression_attribute_names("#hash", hash)
        .expression_attribute_values(":none", AttributeValue::S(UNUSED.into()));
    allowed(within_timeout(query.send()).await)
}

fn allowed<T, E>(result: Result<T, SdkError<E>>) -> Result<(), Problem>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
        Err(error) => Err(Problem::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription;

    use super::*;

    static BY_DUE: IndexSpec = IndexSpec {
        name: "by-due",
        keys: &[hash("queue"), ("due", KeyType::Range, ScalarAttributeType::N)],
        includes: Some(&["token"]),
    };
    static DELIVERIES: TableSpec =
        TableSpec { keys: &[hash("queue"), range("id")], index: Some(&BY_DUE), expires: true, stream: None };

    /// Describes a table with this key, and with the index of a table.
    fn described(keys: &[Key], index: Option<(&IndexSpec, Projection)>) -> TableDescription {
        let mut table = TableDescription::builder().table_status(TableStatus::Active);
        table = table.set_key_schema(Some(key_schema(keys).unwrap()));
        let of_index = index.iter().flat_map(|(index, _)| index.keys);
        for (name, _, kind) in keys.iter().chain(of_index) {
            let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
            table = table.attribute_definitions(attribute.build().unwrap());
        }
        if let Some((index, projection)) = index {
            let index = GlobalSecondaryIndexDescription::builder()
                .index_name(index.name)
                .set_key_schema(Some(key_schema(index.keys).unwrap()))
                .projection(projection);
            table = table.global_secondary_indexes(index.build());
        }
        table.build()
    }

    fn projection(kind: ProjectionType, names: &[&str]) -> Projection {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Projection::builder().projection_type(kind).set_non_key_attributes(Some(names)).build()
    }

    #[test]
    fn a_table_fits_only_with_its_own_key() {
        let fit = |keys: &[Key]| DELIVERIES.check_fit(&described(keys, Some((&BY_DUE, BY_DUE.projection()))));
        assert_eq!(fit(DELIVERIES.keys), Ok(()));
        let number = |name| (name, KeyType::Range, ScalarAttributeType::N);
        for other in [&[hash("queue")][..], &[hash("id"), range("queue")], &[hash("queue"), number("id")]] {
            assert!(matches!(fit(other), Err(Problem::DoesNotFit(_))), "{other:?}");
        }
    }

    #[test]
    fn a_table_fits_only_with_its_stream_or_without_any() {
        let spec = TableSpec { stream: Some(StreamViewType::NewImage), index: None, ..DELIVERIES };
        let with = |view: StreamViewType| {
            let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
            let mut table = described(spec.keys, None);
            table.stream_specification = Some(stream);
            spec.check_fit(&table)
        };
        assert_eq!(with(StreamViewType::NewImage), Ok(()));
        for view in [StreamViewType::KeysOnly, StreamViewType::NewAndOldImages, StreamViewType::OldImage] {
            assert!(matches!(with(view), Err(Problem::DoesNotFit(_))));
        }
        assert_eq!(spec.check_fit(&described(spec.keys, None)), Ok(()));
    }

    #[test]
    fn a_table_fits_only_with_its_index() {
        let index = &BY_DUE;
        let fit =
            |index| DELIVERIES.check_fit(&described(DELIVERIES.keys, index)).map_err(|problem| problem.to_string());
        for fitting in [
            projection(ProjectionType::Include, &["token"]),
            projection(ProjectionType::Include, &["body", "token"]),
            projection(ProjectionType::All, &[]),
        ] {
            assert_eq!(fit(Some((index, fitting))), Ok(()));
        }
        let no_token = "its index by-due does not project token".to_owned();
        assert_eq!(fit(Some((index, projection(ProjectionType::KeysOnly, &[])))), Err(no_token.clone()));
        assert_eq!(fit(Some((index, projection(ProjectionType::Include, &["body"])))), Err(no_token));
        assert_eq!(fit(None), Err("it has no index by-due".to_owned()));
        let other = IndexSpec { name: "by-due", keys: const { &[hash("queue")] }, includes: None };
        let expected = "the key of its index by-due is HASH queue (S); expected HASH queue (S), RANGE due (N)";
        assert_eq!(fit(Some((&other, other.projection()))), Err(expected.to_owned()));
    }
}
