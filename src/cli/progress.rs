//! Progress on stderr: a bar on a terminal, nothing elsewhere.

use std::fmt::Write;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A progress bar, or nothing.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    fn new(length: Option<u64>, template: &str) -> Self {
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(template).expect("the template is constant");
            let rate = |state: &ProgressState, text: &mut dyn Write| {
                // A bar that cannot be written is no error of what it shows.
                let _ = write!(text, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self(bar)
    }

    /// Counts things of which nobody knows how many there are.
    #[must_use]
    pub fn counting(what: &str) -> Self {
        Self::new(None, &format!("{{spinner}} {{human_pos}} {what} ({{rate}})"))
    }

    /// Counts to a number of things.
    #[must_use]
    pub fn steps(number: u64, what: &str) -> Self {
        Self::new(
            Some(number),
            &format!(
                "{{bar:40}} {{percent:>3}} % {{human_pos}} of {{human_len}} {what}, {{eta}} left"
            ),
        )
    }

    /// Follows bytes through a file of a known size, or of none.
    #[must_use]
    pub fn bytes(size: Option<u64>) -> Self {
        let template = match size {
            Some(_) => {
                "{bar:40} {percent:>3} % {bytes} of {total_bytes} ({bytes_per_sec}), {eta} left, {msg}"
            }
            None => "{spinner} {bytes} ({bytes_per_sec}), {msg}",
        };
        Self::new(size, template)
    }

    /// One more.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// So many more.
    pub fn advance(&self, number: u64) {
        self.0.inc(number);
    }

    /// So many by now, and what to say of it.
    pub fn at(&self, position: u64, message: String) {
        self.0.set_position(position);
        self.0.set_message(message);
    }

    /// Says something on stderr, above the bar.
    pub fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes it off the screen.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}
