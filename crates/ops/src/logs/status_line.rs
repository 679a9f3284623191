//! One line at the bottom of a terminal, below the log lines.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Dropping it clears the line.
#[derive(Debug)]
pub struct StatusLine(ProgressBar);

impl StatusLine {
    pub(super) fn below(terminal: &MultiProgress) -> StatusLine {
        let line = terminal.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            line.set_style(style);
        }
        StatusLine(line)
    }

    /// Replaces the text, and moves the spinner.
    pub fn show(&self, text: String) {
        self.0.set_message(text);
        self.0.tick();
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
