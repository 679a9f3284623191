//! The inputs of `docs/capacity.md`: every row of its tables that begin with "Input" and "Value". This module does not
//! know what is computed from them.

use std::collections::BTreeMap;

use super::events::Events;
use super::widgets::Registry;

/// One input row. `from` is the third cell: a reason, an origin or a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) from: &'static str,
}

/// Returns every input row in the order of the page. A value is a number, with an optional `$` before it and an
/// optional unit after it.
pub(super) fn rows(page: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut in_inputs = false;
    for line in page.lines() {
        let Some(line) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            in_inputs &= line.starts_with('|');
            continue;
        };
        let cells: Vec<_> = line.split(" | ").map(str::trim).collect();
        if let ["Input", "Value", ..] = cells[..] {
            in_inputs = true;
        } else if in_inputs {
            let [name, value, from, ..] = cells[..] else { panic!("fewer than three cells: {line}") };
            rows.push(Row { name, value: number(value), from });
        }
    }
    rows
}

fn number(cell: &str) -> f64 {
    let digits: String = cell.split(' ').next().unwrap_or_default().chars().filter(|c| !"$,".contains(*c)).collect();
    digits.parse().unwrap_or_else(|_| panic!("not a number: {cell}"))
}

/// The inputs under the names that the formulas use.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    // The reader's own load.
    pub(super) response: f64,
    pub(super) copies: f64,
    pub(super) missing: f64,
    pub(super) changed: f64,
    pub(super) difference: f64,
    pub(super) matches: f64,
    pub(super) stored: f64,
    pub(super) kept_answer: f64,
    pub(super) endpoint_latency: f64,
    pub(super) latency: f64,
    pub(super) request_messages: f64,
    pub(super) headroom: f64,
    pub(super) hours: f64,
    pub(super) credentials: f64,
    // Measured.
    pub(super) put_micros: f64,
    pub(super) large_micros: f64,
    pub(super) copy_micros: f64,
    pub(super) batch_share: f64,
    pub(super) memory_at_1000: f64,
    pub(super) memory_at_10000: f64,
    pub(super) writes_a_call: f64,
    pub(super) message_frame: f64,
    pub(super) record_frame: f64,
    pub(super) put_frame: f64,
    pub(super) call_frame: f64,
    pub(super) statement_frame: f64,
    pub(super) answer: f64,
    pub(super) stale_answer: f64,
    pub(super) statement_answer: f64,
    pub(super) index_entry: f64,
    pub(super) index_units_new: f64,
    pub(super) index_units_rescan: f64,
    pub(super) opened_entry: f64,
    pub(super) changed_entry: f64,
    pub(super) summary: f64,
    pub(super) webhook_frame: f64,
    pub(super) webhook_request: f64,
    pub(super) stored_frame: f64,
    pub(super) subscription: f64,
    pub(super) subscription_memory: f64,
    pub(super) connection_bytes: f64,
    pub(super) reader_memory: f64,
    // Settings and limits.
    pub(super) outstanding_default: f64,
    pub(super) streams: f64,
    pub(super) outstanding_bytes: f64,
    pub(super) call_bytes: f64,
    pub(super) replicas: f64,
    pub(super) threshold: f64,
    pub(super) cpu_target: f64,
    pub(super) replay_days: f64,
    pub(super) checkpoints: f64,
    pub(super) shard_reads: f64,
    pub(super) entry_days: f64,
    pub(super) attempts: f64,
    pub(super) webhook_bytes: f64,
    pub(super) answer_bytes: f64,
    pub(super) backlogs: f64,
    pub(super) backlog_attempts: f64,
    pub(super) looks: f64,
    pub(super) marker_queries: f64,
    pub(super) backlog_queries: f64,
    pub(super) rest: f64,
    pub(super) subscription_buckets: f64,
    pub(super) flush: f64,
    pub(super) unit: f64,
    pub(super) read_unit: f64,
    pub(super) partition_units: f64,
    pub(super) new_table_units: f64,
    pub(super) table_units: f64,
    pub(super) stream_bytes: f64,
    pub(super) region_bytes: f64,
    pub(super) nat_ports: f64,
    pub(super) address_ports: f64,
    pub(super) message_overhead: f64,
    pub(super) request_bytes: f64,
    // Prices.
    pub(super) units_price: f64,
    pub(super) read_units_price: f64,
    pub(super) stream_reads_price: f64,
    pub(super) provisioned_price: f64,
    pub(super) provisioned_use: f64,
    pub(super) table_price: f64,
    pub(super) keep_price: f64,
    pub(super) restore_price: f64,
    pub(super) record_overhead: f64,
    pub(super) pubsub_price: f64,
    pub(super) retained_price: f64,
    pub(super) nat_price: f64,
    pub(super) core_price: f64,
    pub(super) memory_price: f64,
    pub(super) events: Events,
    pub(super) registry: Registry,
    /// The upper limit of each tier in GiB, and its dollars per GiB.
    pub(super) google_tiers: Vec<(f64, f64)>,
    pub(super) aws_tiers: Vec<(f64, f64)>,
}

const TIB: f64 = 1024.0;

impl Inputs {
    /// Reads the inputs. Panics if the page lacks an input, has an unused one, or has one twice.
    pub(super) fn read(page: &'static str) -> Inputs {
        let mut left = BTreeMap::new();
        for row in rows(page) {
            assert!(left.insert(row.name, row.value).is_none(), "twice: {}", row.name);
        }
        let mut take = |name: &str| left.remove(name).unwrap_or_else(|| panic!("the page has no input {name:?}"));
        let table_price = take("GB of table, per month");
        let inputs = Inputs {
            response: take("response of a scan"),
            copies: take("share of copies"),
            missing: take("share of scans whose key has no record"),
            changed: take("share of rescans that changed"),
            difference: take("difference of a change"),
            matches: take("webhooks per change"),
            stored: take("share of webhooks that are stored"),
            kept_answer: take("answer of an endpoint"),
            endpoint_latency: take("latency of an endpoint") / 1e3,
            latency: take("latency of a write") / 1e3,
            request_messages: take("messages per Pub/Sub request"),
            headroom: take("headroom"),
            hours: take("hours per month"),
            credentials: take("credentials in a request"),
            put_micros: take("CPU of a write, put"),
            large_micros: take("CPU of a write of 100 KB, put"),
            copy_micros: take("CPU of a copy"),
            batch_share: take("CPU of a write in a batch, relative to put"),
            memory_at_1000: take("memory at 1,000 outstanding"),
            memory_at_10000: take("memory at 10,000 outstanding"),
            writes_a_call: take("writes per call, batch"),
            message_frame: take("message without its response"),
            record_frame: take("record without its response"),
            put_frame: take("PutItem without its record"),
            call_frame: take("batch call without its statements"),
            statement_frame: take("statement without its record"),
            answer: take("response to a write"),
            stale_answer: take("response to a stale write, without the record"),
            statement_answer: take("response to a statement"),
            index_entry: take("entry of index by-ip"),
            index_units_new: take("write units of by-ip, first scan of a key"),
            index_units_rescan: take("write units of by-ip, rescan"),
            opened_entry: take("entry of a service that opened, without its response"),
            changed_entry: take("entry of a change, without response and difference"),
            summary: take("summary of a service"),
            webhook_frame: take("body of a webhook, without response and difference"),
            webhook_request: take("request of a webhook without its body"),
            stored_frame: take("stored webhook without body and answer"),
            subscription: take("subscription"),
            subscription_memory: take("memory of a subscription"),
            connection_bytes: take("memory of a connection") * 1024.0,
            reader_memory: take("memory without webhooks") * 1024.0 * 1024.0,
            outstanding_default: take("`--max-outstanding`, default"),
            streams: take("`--consumers`, default"),
            outstanding_bytes: take("`--max-outstanding-bytes`, default") * 1024.0 * 1024.0,
            call_bytes: take("records per call, batch") * 1024.0 * 1024.0,
            replicas: take("`maxReplicaCount`"),
            threshold: take("`threshold` of the backlog, per consumer"),
            cpu_target: take("CPU target of the autoscaler") / 100.0,
            replay_days: take("`replay_days`"),
            checkpoints: 1.0 / take("`--checkpoint-interval`"),
            shard_reads: take("reads of a shard, per second"),
            entry_days: take("`--history-ttl`"),
            attempts: take("attempts of an instance"),
            webhook_bytes: take("bodies of an instance") * 1024.0 * 1024.0,
            answer_bytes: take("head and body of an answer") * 1024.0,
            backlogs: take("backlogs of an instance"),
            backlog_attempts: take("attempts of a backlog"),
            looks: take("looks for backlogs, per second"),
            marker_queries: take("queries of a look for backlogs"),
            backlog_queries: take("queries of a look at a backlog"),
            rest: take("rest of a backlog that is not due"),
            subscription_buckets: take("buckets of subscriptions"),
            flush: take("acknowledgement interval") / 1e3,
            unit: take("write unit"),
            read_unit: take("read unit"),
            partition_units: take("write units of a partition, per second"),
            new_table_units: take("write units of a new table, per second"),
            table_units: take("write units of a table, quota per second"),
            stream_bytes: take("bytes of a stream, per second") * 1e6,
            region_bytes: take("bytes of a region, quota per second") * 1e6,
            nat_ports: take("NAT ports of a node, default"),
            address_ports: take("NAT ports of an address"),
            message_overhead: take("Pub/Sub's overhead per message"),
            request_bytes: take("minimum of a Pub/Sub request"),
            units_price: take("million write units, on demand") / 1e6,
            read_units_price: take("million read units, on demand") / 1e6,
            stream_reads_price: take("million reads of a stream") / 1e6,
            provisioned_price: take("provisioned write unit, per hour"),
            provisioned_use: take("use of provisioned write units"),
            table_price,
            keep_price: table_price + take("GB of its backup, per month"),
            restore_price: take("GB restored from a backup"),
            record_overhead: take("DynamoDB's overhead per record"),
            pubsub_price: take("TiB through Pub/Sub, in or out"),
            retained_price: take("GiB that a topic retains, per month"),
            nat_price: take("GiB through Cloud NAT"),
            core_price: take("core, per hour"),
            memory_price: take("GiB of memory, per hour"),
            events: Events::read(&mut take),
            registry: Registry::read(&mut take),
            google_tiers: vec![
                (TIB, take("GiB from Google, the first TiB")),
                (10.0 * TIB, take("GiB from Google, up to 10 TiB")),
                (f64::INFINITY, take("GiB from Google, above")),
            ],
            aws_tiers: vec![
                (10.0 * TIB, take("GB from AWS, the first 10 TB")),
                (50.0 * TIB, take("GB from AWS, up to 50 TB")),
                (150.0 * TIB, take("GB from AWS, up to 150 TB")),
                (f64::INFINITY, take("GB from AWS, above")),
            ],
        };
        assert!(left.is_empty(), "inputs that nothing is computed from: {left:?}");
        inputs
    }
}
