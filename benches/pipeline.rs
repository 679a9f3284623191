//! The whole consumer against the embedded servers, with the floor beside it: the SDK's bare PutItem loop against the
//! same engine, in the same run. Prints medians as ratios, because absolute times drift from machine to machine.
//!
//! The engine slows down as its tables grow, and more so where the keys come in no order: each measurement has an engine
//! of its own, and the loop's keys are as scattered as the scans'.
//!
//! `cargo bench --bench pipeline`

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, stream};
use mini_scan::dynamo::{self, Client};
use mini_scan::local::dynamo::Storage;
use mini_scan::local::generator::{ALL_KEYS, Generator, Shares};
use mini_scan::local::pubsub::Observer;
use mini_scan::local::scanner::{self, topic::Topic};
use mini_scan::local::servers::{self, Port};
use mini_scan::service::{Places, setup};
use tokio::time::{Instant, sleep, timeout};

const MESSAGES: usize = 30_000;
const ROUNDS: usize = 5;
/// Writes of the floor that are in flight at a time.
const FLOOR_IN_FLIGHT: usize = 100;
const ROUND_WITHIN: Duration = Duration::from_secs(120);

const TOPIC: &str = "projects/bench/topics/scan-topic";
const SUBSCRIPTION: &str = "projects/bench/subscriptions/scan-sub";
const TABLE: &str = "scan-results";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FREE_PORT: Port = Port { number: 0, flag: "--port" };

struct Round {
    /// Writes a second of the SDK's bare loop.
    floor: f64,
    /// Messages a second of the consumer, from its start to its last acknowledgement.
    consumer: f64,
    /// CPU of the consumer, microseconds a message.
    cpu: f64,
    /// Largest resident set of the consumer, MB.
    memory: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (pubsub, observer) = servers::start_pubsub(LOOPBACK, FREE_PORT).await?;
    let pubsub = pubsub.address().to_string();
    let names = setup::Pubsub {
        topic: TOPIC.to_owned(),
        subscription: SUBSCRIPTION.to_owned(),
        dead_letter_topic: "projects/bench/topics/scan-dead-letter".to_owned(),
        dead_letter_subscription: "projects/bench/subscriptions/scan-dead-letter".to_owned(),
    };
    setup::pubsub(&Places { pubsub: Some(pubsub.clone()), dynamo: None }, &names, &mut io::sink()).await?;

    println!("{MESSAGES} new scans a round, {ROUNDS} rounds, embedded Pub/Sub and DynamoDB on the same machine\n");
    println!("  round   bare PutItem/s   consumer/s   ratio   CPU/message   memory");
    let mut generator = Generator::new(1, Shares::default(), ALL_KEYS);
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let floor = {
            let (places, _dynamo) = table(&pubsub).await?;
            floor(&places).await?
        };
        let (places, _dynamo) = table(&pubsub).await?;
        let round = Round { floor, ..consume(&places, &observer, &mut generator).await? };
        print(&number.to_string(), &round);
        rounds.push(round);
    }
    let median = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratio = median(|round| round.consumer / round.floor);
    let medians = Round {
        floor: median(|round| round.floor),
        consumer: median(|round| round.consumer),
        cpu: median(|round| round.cpu),
        memory: median(|round| round.memory),
    };
    print("median", &medians);
    println!("\nConsumer against the bare loop, median of the rounds' ratios: {ratio:.2}");
    Ok(())
}

fn print(name: &str, round: &Round) {
    let Round { floor, consumer, cpu, memory } = round;
    let ratio = consumer / floor;
    println!("  {name:<6}  {floor:>14.0}  {consumer:>11.0}  {ratio:>6.2}  {cpu:>8.1} µs  {memory:>5.1} MB");
    let _ = io::stdout().flush();
}

/// An engine of its own with an empty table; it ends with what is returned.
async fn table(pubsub: &str) -> anyhow::Result<(Places, servers::Running)> {
    let dynamo = servers::start_dynamo(LOOPBACK, FREE_PORT, Storage::Memory.open()?).await?;
    let endpoint = format!("http://{}", dynamo.address());
    let places = Places { pubsub: Some(pubsub.to_owned()), dynamo: Some(endpoint) };
    setup::table(&places, TABLE, &mut io::sink()).await?;
    Ok((places, dynamo))
}

/// The SDK alone: the same conditional write, one after another on one runtime.
async fn floor(places: &Places) -> anyhow::Result<f64> {
    let client = dynamo::connect(places.dynamo.as_deref()).await?;
    let start = Instant::now();
    let mut writes = stream::iter(0..MESSAGES).map(|n| put(&client, n)).buffer_unordered(FLOOR_IN_FLIGHT);
    while let Some(result) = writes.next().await {
        result?;
    }
    Ok(MESSAGES as f64 / start.elapsed().as_secs_f64())
}

async fn put(client: &Client, n: usize) -> anyhow::Result<()> {
    let text = |text: String| AttributeValue::S(text);
    let number = |number: usize| AttributeValue::N(number.to_string());
    // An odd factor: every key is new, and none is beside the one before.
    let ip = Ipv4Addr::from((n as u32).wrapping_mul(0x9E37_79B1)).to_string();
    client
        .put_item()
        .table_name(TABLE)
        .item("pk", text(format!("{ip}#80#HTTP")))
        .item("ip", text(ip))
        .item("port", number(80))
        .item("service", text("HTTP".to_owned()))
        .item("timestamp", number(1_740_298_125))
        .item("response", text(format!("service response: {n}")))
        .item("data_version", number(2))
        .condition_expression("attribute_not_exists(pk) OR #ts < :ts")
        .expression_attribute_names("#ts", "timestamp")
        .expression_attribute_values(":ts", number(1_740_298_125))
        .send()
        .await?;
    Ok(())
}

async fn consume(places: &Places, observer: &Observer, generator: &mut Generator) -> anyhow::Result<Round> {
    let topic = Topic::connect(TOPIC, places.pubsub.as_deref()).await?;
    let messages: Vec<_> = (0..MESSAGES).map(|_| generator.next_at(scanner::unix_now())).collect();
    let send = |payload| topic.publish(payload);
    scanner::publish(messages.into_iter(), None, send, std::future::pending(), |_| {}).await?;

    let start = Instant::now();
    let mut consumer = Consumer::start(places)?;
    let drained = async {
        while observer.counts(SUBSCRIPTION).is_none_or(|counts| counts.backlog() > 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(ROUND_WITHIN, drained).await.context("the consumer did not drain the subscription")?;
    let seconds = start.elapsed().as_secs_f64();
    let (cpu, memory) = consumer.usage()?;
    consumer.stop()?;
    let messages = MESSAGES as f64;
    Ok(Round { floor: 0.0, consumer: messages / seconds, cpu: cpu * 1e6 / messages, memory })
}

/// The shipped program in a process of its own, so that its CPU and memory are its own.
struct Consumer(Child);

impl Consumer {
    fn start(places: &Places) -> anyhow::Result<Consumer> {
        let child = Command::new(env!("CARGO_BIN_EXE_mini-scan"))
            .args(["consumer", "--project", "bench", "--dead-letter-topic", "scan-dead-letter"])
            .env("PUBSUB_EMULATOR_HOST", places.pubsub.as_deref().unwrap_or_default())
            .env("AWS_ENDPOINT_URL_DYNAMODB", places.dynamo.as_deref().unwrap_or_default())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Consumer(child.context("cannot start the consumer")?))
    }

    /// CPU seconds and largest resident megabytes so far, as Linux counts them.
    fn usage(&self) -> anyhow::Result<(f64, f64)> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id()));
        let stat = read("stat")?;
        // proc(5): after the name in brackets, utime and stime are the 12th and 13th field, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        let status = read("status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in status")?;
        let kilobytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        Ok((ticks / 100.0, kilobytes / 1024.0))
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        let status = self.0.wait()?;
        if status.success() {
            bail!("the consumer ended before it was stopped");
        }
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}
