//! The bare loop: the transaction of a connect, without the API, retries and metrics.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};

use crate::WORKERS;
use crate::load::{self, Figures, Load, Reader};
use crate::store::{AGENT, Pair, Pairs, TABLE};

struct Bare {
    client: aws_sdk_dynamodb::Client,
    pairs: Pairs,
}

pub(crate) async fn measure(store: &str, load: Load) -> anyhow::Result<Figures> {
    let client = dynamodb::connect(Some(store), AGENT).await?;
    let pairs = Pairs::new();
    let readers = (0..WORKERS).map(|_| Bare { client: client.clone(), pairs: pairs.clone() });
    load::measure(load, "self", readers.collect()).await
}

impl Reader for Bare {
    async fn read(&mut self) -> anyhow::Result<()> {
        let Pair { port, serial, peer } = self.pairs.next()?;
        let items = [update(port, &serial, &peer)?, update(port, &peer, &serial)?];
        let request = self.client.transact_write_items().set_transact_items(Some(items.to_vec()));
        request.client_request_token(format!("{:032x}", rand::random::<u128>())).send().await?;
        Ok(())
    }
}

fn update(port: &str, serial: &str, peer: &str) -> anyhow::Result<TransactWriteItem> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let update = Update::builder()
        .table_name(TABLE)
        .key("serial", text(serial))
        .condition_expression("contains(#ports, :port) AND attribute_not_exists(#peer)")
        .update_expression("SET #peer = :peer, #version = #version + :one, #updated_at = :now")
        .expression_attribute_names("#ports", "ports")
        .expression_attribute_names("#peer", port.to_ascii_lowercase())
        .expression_attribute_names("#version", "version")
        .expression_attribute_names("#updated_at", "updated_at")
        .expression_attribute_values(":port", text(port))
        .expression_attribute_values(":peer", text(peer))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":now", text("2026-11-22T00:00:00.000Z"))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    Ok(TransactWriteItem::builder().update(update.build()?).build())
}
