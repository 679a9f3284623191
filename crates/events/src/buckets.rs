//! Over how many partitions the events of each client are spread. The number is stored in the table of routes, so that all
//! programs use the same one.

use std::num::NonZeroU16;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb::values::{number, text, whole};
use dynamodb::{Client, Item, Problem, within_timeout};

/// The key of the item. No client id contains this character.
pub const SETTINGS: &str = "\u{1f}settings";
pub const MOST_BUCKETS: u16 = 256;

const CLIENT_ID: &str = "client_id";
const CURRENT: &str = "client_buckets";
const HIGHEST: &str = "highest_client_buckets";
const MAX_ATTEMPTS: u32 = 5;

/// The numbers of buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// New events go to these.
    pub current: NonZeroU16,
    /// Events may be in these, since the number was lowered.
    pub highest: NonZeroU16,
}

impl Buckets {
    pub const ONE: Buckets = Buckets { current: NonZeroU16::MIN, highest: NonZeroU16::MIN };

    /// Returns the buckets after a change.
    fn changed_to(self, current: NonZeroU16) -> Buckets {
        Buckets { current, highest: self.highest.max(current) }
    }

    fn parse(item: &Item) -> Result<Buckets, Problem> {
        let count = |name: &str| {
            let count = whole(item, name).and_then(|count| NonZeroU16::new(u16::try_from(count).ok()?));
            let count = count.filter(|count| count.get() <= MOST_BUCKETS);
            count.ok_or_else(|| Problem::DoesNotFit(format!("its item with the settings has no valid {name}")))
        };
        Ok(Buckets { current: count(CURRENT)?, highest: count(HIGHEST)? })
    }
}

/// Reads the numbers from the table of routes. Without an item there is one bucket.
pub async fn read(client: &Client, routes: &str) -> Result<Buckets, Problem> {
    let get = client.get_item().table_name(routes).key(CLIENT_ID, text(SETTINGS)).consistent_read(true);
    let answer = within_timeout(get.send()).await.map_err(|error| Problem::of(&error))?;
    answer.item.as_ref().map_or(Ok(Buckets::ONE), Buckets::parse)
}

/// Stores another number for new events. Returns the numbers before it and after it.
pub async fn store(client: &Client, routes: &str, current: NonZeroU16) -> Result<(Buckets, Buckets), Problem> {
    for attempts in 1.. {
        let before = read(client, routes).await?;
        let after = before.changed_to(current);
        if before == after || try_to_store(client, routes, before, after).await? {
            return Ok((before, after));
        }
        if attempts == MAX_ATTEMPTS {
            break;
        }
    }
    Err(Problem::Other("others change the number of buckets at the same time".to_owned()))
}

/// Returns whether nobody else changed the numbers meanwhile.
async fn try_to_store(client: &Client, routes: &str, before: Buckets, after: Buckets) -> Result<bool, Problem> {
    let of = |count: NonZeroU16| -> AttributeValue { number(count.get().into()) };
    let put = client
        .put_item()
        .table_name(routes)
        .item(CLIENT_ID, text(SETTINGS))
        .item(CURRENT, of(after.current))
        .item(HIGHEST, of(after.highest))
        .condition_expression("attribute_not_exists(#id) OR (#current = :current AND #highest = :highest)")
        .expression_attribute_names("#id", CLIENT_ID)
        .expression_attribute_names("#current", CURRENT)
        .expression_attribute_names("#highest", HIGHEST)
        .expression_attribute_values(":current", of(before.current))
        .expression_attribute_values(":highest", of(before.highest));
    match within_timeout(put.send()).await {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(false)
        }
        Err(error) => Err(Problem::of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(current: u16, highest: u16) -> Buckets {
        Buckets { current: NonZeroU16::new(current).unwrap(), highest: NonZeroU16::new(highest).unwrap() }
    }

    #[test]
    fn the_highest_number_is_never_forgotten() {
        let four = NonZeroU16::new(4).unwrap();
        assert_eq!(Buckets::ONE.changed_to(four), buckets(4, 4));
        assert_eq!(buckets(4, 4).changed_to(NonZeroU16::MIN), buckets(1, 4));
    }

    #[test]
    fn an_item_with_other_numbers_does_not_fit() {
        let item = |current, highest| {
            Item::from([(CURRENT.to_owned(), number(current)), (HIGHEST.to_owned(), number(highest))])
        };
        assert_eq!(Buckets::parse(&item(4, 8)), Ok(buckets(4, 8)));
        for other in [item(0, 8), item(4, 257), Item::new()] {
            assert!(matches!(Buckets::parse(&other), Err(Problem::DoesNotFit(_))), "{other:?}");
        }
    }
}
