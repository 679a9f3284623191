//! A question on the terminal.

use std::io;

/// Asks on the terminal. Any answer but yes is a no.
pub async fn confirm(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let read = || io::stdin().lines().next();
    // Reading blocks. If a signal comes first, the thread ends with the process.
    match tokio::task::spawn_blocking(read).await {
        Ok(Some(Ok(answer))) => matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"),
        _ => false,
    }
}
