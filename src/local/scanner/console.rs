//! The output of the scanner: the topic and the rate, the progress, and the final counts.

use std::io::{self, Write};

use bytes::Bytes;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Counts, Published, Settings, publish};

#[derive(Debug, thiserror::Error)]
pub enum Error<E: std::error::Error + 'static> {
    #[error(transparent)]
    Publish(E),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Publishes with `send` until all messages are published or `stop` completes. `topic` is only printed.
pub async fn run<F, E>(
    settings: &Settings,
    topic: &str,
    send: impl Fn(Bytes) -> F,
    stop: impl Future<Output = ()>,
    out: &mut impl Write,
) -> Result<(), Error<E>>
where
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let Settings { rate, count, seed, .. } = settings;
    let rate_text = rate.map_or("as fast as possible".to_owned(), |rate| format!("{rate} per second"));
    let count_text = count.map_or("scans".to_owned(), |count| format!("{} scans", HumanCount(count)));
    writeln!(out, "Publishing {count_text} to {topic}, {rate_text}. Ctrl-C stops.")?;

    let bar = count.map_or_else(ProgressBar::hidden, progress);
    let step = |counts: &Counts| bar.set_position(counts.total());
    let published = publish(settings.messages(), *rate, send, stop, step).await;
    bar.finish_and_clear();

    let Published { confirmed, unconfirmed } = published.map_err(Error::Publish)?;
    writeln!(out, "Scanner stopped. Published: {confirmed}, seed {seed}")?;
    if unconfirmed > 0 {
        writeln!(out, "Sent but not confirmed, perhaps published: {}", HumanCount(unconfirmed as u64))?;
    }
    Ok(())
}

/// Returns a progress bar, which is hidden if stderr is not a terminal.
fn progress(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len}  {per_sec}  {eta} left");
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::generator::{ALL_KEYS, Shares};

    #[tokio::test]
    async fn the_last_line_counts_the_published_messages() {
        let shares = Shares { broken: 1.0, ..Shares::default() };
        let settings = Settings { rate: None, count: Some(1_200), seed: 7, shares, keys: ALL_KEYS };
        let mut out = Vec::new();
        let send = |_| async { Ok::<_, io::Error>(()) };
        run(&settings, "scan-topic", send, std::future::pending(), &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "Publishing 1,200 scans to scan-topic, as fast as possible. Ctrl-C stops.\n\
             Scanner stopped. Published: 1,200 (0 new, 0 duplicates, 0 late, 1,200 broken), seed 7\n"
        );
    }
}
