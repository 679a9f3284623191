//! What an export relies on: parallel scans, their pages, and the read units that the server reports.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use crate::support::dynamo::{Dynamo, item, number, text};

#[tokio::test]
async fn the_pages_of_all_segments_have_each_row_once() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let keys: BTreeSet<String> = (0..100).map(|nth| format!("1.1.1.{nth}#80#HTTP")).collect();
    dynamo.put_all(&table, keys.iter().map(|key| item([("pk", text(key)), ("timestamp", number(7))]))).await;

    for segments in [1, 3] {
        let (mut found, mut pages, mut units) = (Vec::new(), 0, 0.0);
        for segment in 0..segments {
            let mut after = None;
            loop {
                let scan = dynamo.client.scan().table_name(&table).segment(segment).total_segments(segments).limit(7);
                let scan = scan.return_consumed_capacity(ReturnConsumedCapacity::Total);
                let page = scan.set_exclusive_start_key(after).send().await.expect("a page");
                pages += 1;
                units += page.consumed_capacity().and_then(|consumed| consumed.capacity_units()).expect("units");
                assert!(page.scanned_count() <= 7, "{page:?}");
                found.extend(page.items().iter().map(|item| item["pk"].as_s().expect("a string").clone()));
                after = page.last_evaluated_key;
                match &after {
                    None => break,
                    Some(key) => assert_eq!(key.keys().collect::<Vec<_>>(), ["pk"]),
                }
            }
        }
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (100, keys.clone()));
        assert!(pages >= 14 && units >= 0.5 * f64::from(pages) - 2.0, "{pages} pages, {units} units");
    }
}

#[tokio::test]
async fn a_filter_leaves_out_rows_but_they_count_as_scanned() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let row = |nth: u64| item([("pk", text(nth.to_string())), ("port", number(nth % 4)), ("timestamp", number(nth))]);
    dynamo.put_all(&table, (0..20).map(row)).await;

    let scan = dynamo.client.scan().table_name(&table).filter_expression("#ts >= :since AND port IN (:one, :two)");
    let scan = scan.expression_attribute_names("#ts", "timestamp").expression_attribute_values(":since", number(10));
    let scan = scan.expression_attribute_values(":one", number(1)).expression_attribute_values(":two", number(2));
    let page = scan.send().await.expect("a page");

    let mut found: Vec<_> = page.items().iter().map(|item| item["pk"].as_s().expect("a string").as_str()).collect();
    found.sort_unstable();
    assert_eq!((found, page.scanned_count()), (vec!["10", "13", "14", "17", "18"], 20));
}
