//! Renders what the table of scans, its index by-ip and their backup take.

use super::bill::GIB;
use super::inputs::Inputs;
use super::tables::{header, row, short, whole};

pub(super) fn storage(inputs: &Inputs) -> String {
    let sizes = [1e7, 1e8, 1e9];
    let table = |records: f64| records * (inputs.record() + inputs.record_overhead) / GIB;
    let index = |records: f64| records * (inputs.index_entry + inputs.record_overhead) / GIB;
    let backup_price = inputs.keep_price - inputs.table_price;
    // A backup has no index. A restore builds it again.
    let month = |records: f64| (table(records) + index(records)) * inputs.table_price + table(records) * backup_price;
    let mut rows = vec![header("", &sizes.map(|records| format!("{} records", whole(records))))];
    let mut add = |name: &str, value: &dyn Fn(f64) -> f64| rows.push(row(name, &sizes.map(|n| short(value(n)))));
    add("GiB of the table", &table);
    add("GiB of `by-ip`", &index);
    add("$ storage of the table", &|records| table(records) * inputs.table_price);
    add("$ storage of `by-ip`", &|records| index(records) * inputs.table_price);
    add("$ backup", &|records| table(records) * backup_price);
    add("**$ per month**", &month);
    add("$ one restore of the backup", &|records| table(records) * inputs.restore_price);
    rows.concat()
}
