//! Progress on standard error: a bar on a terminal, at most one line a second elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use salvor_location::estimate::Remaining;
use salvor_text::Messages;
use salvor_text::duration::about;

/// Shows how far long work is. Dropping it removes the bar.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
    /// How long it still takes, where that is to be told.
    remaining: Option<Telling>,
}

#[derive(Debug)]
struct Telling {
    messages: Messages,
    /// When the work was first heard of.
    began: Option<Instant>,
    remaining: Remaining,
}

impl Telling {
    /// `about 12 s left`; empty while that cannot be said.
    fn left(&mut self, done: u64, total: u64) -> String {
        let at = self.began.get_or_insert_with(Instant::now).elapsed();
        let left = self.remaining.update(at, done, total);
        left.map(|left| self.messages.left(&about(left)))
            .unwrap_or_default()
    }
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines {
        what: String,
        /// When a line was written, or the work began.
        last: Option<Instant>,
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
            }
        };
        Self {
            shown,
            remaining: None,
        }
    }

    /// Also tells how long the work still takes.
    pub(crate) fn with_remaining(mut self, messages: Messages) -> Self {
        self.remaining = Some(Telling {
            messages,
            began: None,
            remaining: Remaining::default(),
        });
        self
    }

    /// `done` of `total` items; a total of zero is not known yet.
    pub(crate) fn update(&mut self, done: u64, total: u64, detail: &str) {
        let telling = self.remaining.as_mut();
        let left = telling.map(|telling| telling.left(done, total));
        let left = left.unwrap_or_default();
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
                let detail = salvor_text::width::truncate(detail, 30);
                bar.set_prefix(joined(&detail, &left));
            }
            Shown::Lines { what, last } => {
                let now = Instant::now();
                // The work begins when it is first heard of, not when a connection was asked for; work that
                // takes less than a line's time says nothing, as its result follows at once.
                if now < *last.get_or_insert(now) + BETWEEN_LINES {
                    return;
                }
                *last = Some(now);
                let mut line = joined(&line(what, done, total, detail), &left);
                line.push('\n');
                // Nobody can be told that nobody can be told.
                let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
            }
        }
    }
}

/// `detail, about 12 s left`, as far as there is either.
fn joined(detail: &str, left: &str) -> String {
    let separator = if detail.is_empty() || left.is_empty() {
        ""
    } else {
        ", "
    };
    format!("{detail}{separator}{left}")
}

/// `b1: 120/500 (configmaps)`; what is not known is left out, and so is a total that is already reached.
fn line(what: &str, done: u64, total: u64, detail: &str) -> String {
    let of = if total > done {
        format!("/{total}")
    } else {
        String::new()
    };
    let at = if detail.is_empty() {
        String::new()
    } else {
        format!(" ({detail})")
    };
    format!("{what}: {done}{of}{at}")
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        assert_eq!(line("b1", 0, 0, "limitranges"), "b1: 0 (limitranges)");
        assert_eq!(
            line("b1", 120, 500, "configmaps"),
            "b1: 120/500 (configmaps)"
        );
        assert_eq!(line("b1", 500, 500, ""), "b1: 500");
        assert_eq!(
            joined("b1: 1/5", "about 4 s left"),
            "b1: 1/5, about 4 s left"
        );
        assert_eq!(joined("b1: 1", ""), "b1: 1");
        assert_eq!(joined("", "about 4 s left"), "about 4 s left");
    }
}
