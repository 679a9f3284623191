//! The default schema beside parsing with `serde_json`, on the same bodies.

use std::hint::black_box;

use event_pipeline::schema::Schemas;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::spread;

const BODIES: u32 = 20_000;
/// The most that validation may cost, relative to parsing.
const GOAL: f64 = 3.0;

pub(crate) fn report(rounds: usize) -> anyhow::Result<()> {
    let schemas = Schemas::default();
    let bodies: Vec<String> = (0..BODIES).map(body).collect();
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let values: Vec<Value> = bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>()?;
        let parsing = begin.elapsed();
        let begin = Instant::now();
        let valid = values.iter().filter(|value| black_box(schemas.validate(value)).is_ok()).count();
        let validating = begin.elapsed();
        anyhow::ensure!(valid == values.len(), "a body is invalid");
        ratios.push(validating.as_secs_f64() / parsing.as_secs_f64());
    }
    println!("Validation by the default schema, relative to parsing: {} (goal at most {GOAL})", spread(&mut ratios, 2));
    Ok(())
}

fn body(number: u32) -> String {
    let data = json!({ "number": number, "items": ["a", "b"], "total": { "amount": 10.1, "currency": "EUR" } });
    json!({ "client_id": "acme", "event_type": "order.created", "data": data }).to_string()
}
