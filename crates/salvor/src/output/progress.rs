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
            Shown::Lines { what, last } => {
                let now = Instant::now();
                // The work begins when it is first heard of, not when a connection was asked for; work that
                // takes less than a line's time says nothing, as its result follows at once.
                if now < *last.get_or_insert(now) + BETWEEN_LINES {
                    return;
                }
                *last = Some(now);
                let mut line = line(what, done, total, detail);
                line.push('\n');
                // Nobody can be told that nobody can be told.
                let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
            }
        }
    }
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
    }
}
