//! The table of ratios, in Markdown, with everything that a figure needs to mean something.

use std::fmt::Write as _;
use std::process::Command;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) what: &'static str,
    /// What was measured.
    pub(crate) ours: String,
    /// The limit of the same run, where there is one.
    pub(crate) limit: String,
    /// The figure that is compared with the goal.
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
}

/// What good means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn text(self) -> String {
        match self {
            Goal::AtMost(most) => format!("<= {most}"),
            Goal::AtLeast(least) => format!(">= {least}"),
        }
    }

    fn is_met(self, figure: f64) -> bool {
        match self {
            Goal::AtMost(most) => figure <= most,
            Goal::AtLeast(least) => figure >= least,
        }
    }
}

/// Where and on what a run was made.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    machine: String,
    commit: String,
    command: String,
    load: String,
}

impl Circumstances {
    /// To be taken before the work begins: it asks how busy the machine is.
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kibibytes: f64 = memory
            .trim_end_matches("kB")
            .trim()
            .parse()
            .unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            machine: format!(
                "{cores} cores ({}), {:.0} GiB, Linux {}",
                field(&read("/proc/cpuinfo"), "model name"),
                kibibytes / f64::from(1 << 20),
                read("/proc/sys/kernel/osrelease").trim()
            ),
            commit: commit(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The commit of the sources, and whether they were changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
        let output = git.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

/// The report.
pub(crate) fn render(
    circumstances: &Circumstances,
    data: &[(&str, String)],
    lines: &[Line],
    with_goals: bool,
) -> String {
    let Circumstances {
        machine,
        commit,
        command,
        load,
    } = circumstances;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "- machine: {machine}; load before the run {load}");
    let _ = writeln!(text, "- command: `cargo xtask bench objects {command}`");
    let _ = writeln!(text, "- commit: {commit}");
    for (name, value) in data {
        let _ = writeln!(text, "- {name}: {value}");
    }
    let _ = writeln!(text, "\n| work | ours | limit | ratio or figure | goal |");
    let _ = writeln!(text, "|---|---|---|---|---|");
    for line in lines {
        let Line {
            what,
            ours,
            limit,
            figure,
            unit,
            goal,
        } = line;
        let goal = match goal {
            Some(goal) if with_goals => {
                let verdict = if goal.is_met(*figure) {
                    "met"
                } else {
                    "missed"
                };
                format!("{}: {verdict}", goal.text())
            }
            Some(goal) => goal.text(),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "| {what} | {ours} | {limit} | {figure:.2}{unit} | {goal} |"
        );
    }
    text
}
