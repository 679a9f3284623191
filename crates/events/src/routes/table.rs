//! The table `routes`. Each change is one conditional update of a client's row, so that operators and deliverers can change
//! it at the same time.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use dynamodb::values::{number, text};
use dynamodb::{Client, StoreError, TableSpec, applied, failed, hash, read_units, within_timeout};
use webhooks::Changed;

use super::item::{
    CLIENT_ID, Item, OF_TARGET, STATE, TARGET_URL, TARGETS, attributes, is_empty, of_state, of_target, route,
};
use super::{MAIN, Route, State, Target, Unreadable};

/// What a program needs of the table.
pub static SPEC: TableSpec = TableSpec { keys: &[hash(CLIENT_ID)], index: None, expires: false, stream: None };

const PAGE: i32 = 100;

/// The table of routes. Clones share its client.
#[derive(Debug, Clone)]
pub struct RouteTable {
    client: Client,
    table: String,
}

/// A page of rows, and where the next one begins.
#[derive(Debug)]
pub struct Routes {
    /// Each route, or the client whose row cannot be read and why.
    pub routes: Vec<Result<Route, (String, Unreadable)>>,
    pub next: Option<String>,
}

/// The attributes of a target in its row.
struct Location {
    /// What comes before the name of an attribute in an expression.
    path: &'static str,
    /// The name behind `#target`, unless it is the target of the row itself.
    name: Option<String>,
}

impl Location {
    fn of(target: &str) -> Location {
        match target {
            MAIN => Location { path: "", name: None },
            name => Location { path: "#targets.#target.", name: Some(name.to_owned()) },
        }
    }

    fn named(&self, update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        match &self.name {
            None => update,
            Some(name) => {
                update.expression_attribute_names("#targets", TARGETS).expression_attribute_names("#target", name)
            }
        }
    }
}

impl RouteTable {
    pub fn new(client: Client, table: String) -> RouteTable {
        RouteTable { client, table }
    }

    /// Reads the row of a client as it is now.
    pub async fn read(&self, client_id: &str) -> Result<Option<Result<Route, Unreadable>>, StoreError> {
        Ok(self.row(client_id).await?.as_ref().filter(|row| !is_empty(row)).map(route))
    }

    /// Sets a target of a client, which is then active.
    pub async fn set(&self, client_id: &str, name: &str, target: &Target) -> Result<(), StoreError> {
        let attributes = attributes(target);
        if name == MAIN {
            return self.set_main(client_id, attributes).await;
        }
        // The map of targets must exist before one of its members is set.
        let map = self.update(client_id).update_expression("SET #targets = if_not_exists(#targets, :none)");
        let map = map.expression_attribute_names("#targets", TARGETS);
        self.change(map.expression_attribute_values(":none", AttributeValue::M(Item::new()))).await?;
        let update =
            Location::of(name).named(self.update(client_id)).update_expression("SET #targets.#target = :target");
        self.change(update.expression_attribute_values(":target", AttributeValue::M(attributes))).await.map(|_| ())
    }

    async fn set_main(&self, client_id: &str, attributes: Item) -> Result<(), StoreError> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let mut update = self.update(client_id);
        for name in OF_TARGET {
            update = update.expression_attribute_names(format!("#{name}"), name);
            match attributes.get(name) {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value.clone());
                }
                None => remove.push(format!("#{name}")),
            }
        }
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
        self.change(update.update_expression(format!("SET {}{remove}", set.join(", ")))).await.map(|_| ())
    }

    /// Removes a target of a client. Returns whether there was one.
    pub async fn remove(&self, client_id: &str, name: &str) -> Result<bool, StoreError> {
        let location = Location::of(name);
        let mut update = location.named(self.update(client_id));
        let removed = match name {
            MAIN => {
                let names = OF_TARGET.map(|name| format!("#{name}"));
                for name in OF_TARGET {
                    update = update.expression_attribute_names(format!("#{name}"), name);
                }
                update
                    .condition_expression(format!("attribute_exists(#{TARGET_URL})"))
                    .update_expression(format!("REMOVE {}", names.join(", ")))
            }
            _ => update
                .condition_expression("attribute_exists(#targets.#target)")
                .update_expression("REMOVE #targets.#target"),
        };
        let is_removed = self.change(removed).await?;
        self.remove_empty(client_id).await?;
        Ok(is_removed)
    }

    /// Deletes a row without targets.
    async fn remove_empty(&self, client_id: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(CLIENT_ID, text(client_id))
            .condition_expression(
                "attribute_not_exists(#url) AND (attribute_not_exists(#targets) OR size(#targets) = :zero)",
            )
            .expression_attribute_names("#url", TARGET_URL)
            .expression_attribute_names("#targets", TARGETS)
            .expression_attribute_values(":zero", number(0));
        applied(within_timeout(request.send()).await).map(|_| ())
    }

    /// Returns a page of routes, in no order.
    pub async fn page(&self, after: Option<&str>) -> Result<Routes, StoreError> {
        let start = after.map(|client| Item::from([(CLIENT_ID.to_owned(), text(client))]));
        let request = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(PAGE)
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        let client_of = |item: &Item| item.get(CLIENT_ID).and_then(|value| value.as_s().ok()).cloned();
        let rows = answer.items.unwrap_or_default();
        // Names of clients contain no control characters. Such a row is a setting.
        let is_client = |item: &&Item| !client_of(item).is_some_and(|client| client.contains(char::is_control));
        let routes = rows
            .iter()
            .filter(is_client)
            .map(|item| route(item).map_err(|why| (client_of(item).unwrap_or_default(), why)));
        Ok(Routes { routes: routes.collect(), next: answer.last_evaluated_key.as_ref().and_then(client_of) })
    }

    /// Changes the state of a target, if it has this URL. `change` returns `None` if there is nothing to change. Returns
    /// whether a change was applied: `None` if another one was faster.
    pub(super) async fn change_state(
        &self,
        (client_id, target): (&str, &str),
        url: &str,
        change: impl Fn(State) -> Option<State> + Send,
    ) -> Result<Option<Changed>, StoreError> {
        let Some(row) = self.row(client_id).await? else { return Ok(Some(Changed::Refused)) };
        let Ok(route) = route(&row) else { return Ok(Some(Changed::Refused)) };
        let found = route.targets.get(target).filter(|found| found.url == url);
        let Some(state) = found.and_then(|found| change(found.state.clone())) else {
            return Ok(Some(Changed::Refused));
        };
        let location = Location::of(target);
        let path = location.path;
        let mut update = location
            .named(self.update(client_id))
            .update_expression(format!("SET {path}#state = :new"))
            .expression_attribute_names("#state", STATE)
            .expression_attribute_names("#url", TARGET_URL)
            .expression_attribute_values(":new", of_state(&state, url))
            .expression_attribute_values(":url", text(url));
        let is_unchanged = match of_target(&row, target).and_then(|target| target.get(STATE)) {
            Some(old) => {
                update = update.expression_attribute_values(":old", old.clone());
                format!("{path}#state = :old")
            }
            None => format!("attribute_not_exists({path}#state)"),
        };
        let update = update.condition_expression(format!("{path}#url = :url AND {is_unchanged}"));
        Ok(self.change(update).await?.then_some(Changed::Applied))
    }

    async fn row(&self, client_id: &str) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(CLIENT_ID, text(client_id))
            // A missing route makes dead letters, so an old answer is not enough.
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        Ok(answer.item)
    }

    fn update(&self, client_id: &str) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key(CLIENT_ID, text(client_id))
    }

    /// Makes a change. Returns whether its condition was met.
    async fn change(&self, update: UpdateItemFluentBuilder) -> Result<bool, StoreError> {
        applied(within_timeout(update.send()).await)
    }
}
