//! Progress on standard error: a bar on a terminal, at most one line a second elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far long work is. Dropping it removes the bar.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines {
        what: String,
        last: Option<Instant>,
        began: Instant,
    },
}

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

impl Progress {
    /// Begins to show work.
    pub(crate) fn begin(what: &str) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            Shown::Bar(bar)
        } else {
            Shown::Lines {
                what: what.to_owned(),
                last: None,
                began: Instant::now(),
            }
        };
        Self { shown }
    }

    /// `done` of `total` items; a total of zero is not known yet.
    pub(crate) fn update(&mut self, done: u64, total: u64, detail: &str) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                if total > 0 && bar.length() != Some(total) {
                    bar.set_length(total);
                    // The template is a constant; should it not parse, the spinner stays.
                    if let Ok(style) = ProgressStyle::with_template(
                        "{msg} [{bar:30}] {human_pos}/{human_len} {elapsed} {prefix}",
                    ) {
                        bar.set_style(style.progress_chars("=> "));
                    }
                }
                bar.set_position(done);
                bar.set_prefix(salvor_text::width::truncate(detail, 30));
            }
            Shown::Lines { what, last, began } => {
                let now = Instant::now();
                // Short work says nothing: the result follows at once.
                let due = last.unwrap_or(*began) + BETWEEN_LINES;
                if now < due {
                    return;
                }
                *last = Some(now);
                let of = if total > 0 {
                    format!("/{total}")
                } else {
                    String::new()
                };
                let line = format!("{what}: {done}{of} {detail}");
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr().lock(),
                    format!("{}\n", line.trim_end()).as_bytes(),
                );
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
