//! What a server counts, and how it stands. Names and labels are Velero's where they mean the same; what only
//! this server knows begins with `salvor_`.
//!
//! Counters are kept here and outlive a term of leadership. What can be read off the objects is not kept: it is
//! computed when somebody asks, so it is right after a restart as well, and absent where another server leads.

mod copies;
mod counts;
mod repositories;
mod state;
mod stores;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use salvor_cluster::Cluster;
use tokio::sync::watch;

use self::copies::Copies;
use self::counts::Counts;
use self::repositories::Repositories;
use self::state::State;
use self::stores::Stores;
use crate::context::Context;
use crate::tls::Material;

/// The one label that most of them have.
pub(crate) type Label = [(&'static str, String); 1];
pub(crate) type Counters = Family<Label, Counter>;
pub(crate) type Gauges = Family<Label, Gauge>;

/// Label by the schedule that something belongs to; empty for what was asked for by hand.
pub(crate) fn by_schedule(schedule: &str) -> Label {
    [("schedule", schedule.to_owned())]
}

/// Label by location.
pub(crate) fn by_location(location: &str) -> Label {
    [("location", location.to_owned())]
}

/// How far a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It looks whether it can serve.
    #[default]
    Starting,
    /// Another server leads, or nobody does yet.
    StandingBy,
    /// It leads and reads the objects.
    Reading,
    /// It leads and works.
    Serving,
    /// It ends.
    Ending,
}

impl Stage {
    /// True when nothing more has to happen before this server does what it can do.
    pub(crate) fn is_ready(self) -> bool {
        matches!(self, Self::StandingBy | Self::Serving)
    }

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting: looking at the cluster\n",
            Self::StandingBy => "standing by: another server leads, or none does yet\n",
            Self::Reading => "leading: reading the objects\n",
            Self::Serving => "leading\n",
            Self::Ending => "ending\n",
        }
    }
}

/// Everything that one server measures. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    counts: Counts,
    state: State,
    copies: Copies,
    repositories: Repositories,
    stores: Stores,
    stage: Mutex<Stage>,
    certificate: Mutex<Option<watch::Receiver<Option<Material>>>>,
    /// The objects, while this server leads.
    term: Mutex<Option<Context>>,
}

impl Metrics {
    /// Metrics of a server that reaches its cluster through `cluster`.
    #[must_use]
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut registry = Registry::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("salvor_build", "Version of this server", Info::new(version));
        cluster.register_metrics(&mut registry);
        let counts = Counts::register(&mut registry);
        let state = State::register(&mut registry);
        let copies = Copies::register(&mut registry);
        let repositories = Repositories::register(&mut registry);
        let stores = Stores::register(&mut registry);
        Self {
            shared: Arc::new(Shared {
                registry,
                counts,
                state,
                copies,
                repositories,
                stores,
                stage: Mutex::default(),
                certificate: Mutex::default(),
                term: Mutex::default(),
            }),
        }
    }

    /// Shows from now on what `certificate` tells.
    pub(crate) fn watch_certificate(&self, certificate: watch::Receiver<Option<Material>>) {
        *lock(&self.shared.certificate) = Some(certificate);
    }

    /// All metrics as of now, in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        // Held until the text is there, so that a second reader does not see half of it.
        let term = lock(&self.shared.term);
        let serving = *lock(&self.shared.stage) == Stage::Serving;
        let until = lock(&self.shared.certificate)
            .as_ref()
            .and_then(|certificate| {
                let material = certificate.borrow();
                material.as_ref().and_then(|material| material.until)
            });
        self.shared.counts.certificate.set(until.unwrap_or(0));
        // Before the objects were read they would seem to be gone.
        let context = term.as_ref().filter(|_| serving);
        self.shared.state.update(context, &self.shared.counts);
        self.shared.copies.update(context);
        self.shared.repositories.update(context);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.shared.registry);
        text
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    pub(crate) fn copies(&self) -> &Copies {
        &self.shared.copies
    }

    pub(crate) fn repositories(&self) -> &Repositories {
        &self.shared.repositories
    }

    pub(crate) fn stage(&self) -> Stage {
        *lock(&self.shared.stage)
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        *lock(&self.shared.stage) = stage;
    }

    /// A term of leadership begins.
    pub(crate) fn begin_term(&self, context: &Context) {
        self.shared.counts.terms.inc();
        self.shared.stores.set(&context.locations);
        self.set_stage(Stage::Reading);
        *lock(&self.shared.term) = Some(context.clone());
    }

    /// It is over: the next leader knows better how things stand.
    pub(crate) fn end_term(&self) {
        *lock(&self.shared.term) = None;
        self.shared.counts.forget_state();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The same in the older text format of Prometheus, for readers that do not ask for OpenMetrics: there the whole
/// name of a counter, with `_total`, stands in its description.
pub(crate) fn classic(text: &str) -> String {
    let is_type = |line: &&str| line.starts_with("# TYPE ");
    let counters: Vec<&str> = text
        .lines()
        .filter(is_type)
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let infos: Vec<&str> = text
        .lines()
        .filter(is_type)
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" info"))
        .collect();
    let mut classic = String::with_capacity(text.len() + 1024);
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let described = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) => Some((what, name, rest)),
            _ => None,
        };
        match described {
            Some((what, name, rest)) if counters.contains(&name) => {
                classic.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            Some((what, name, rest)) if infos.contains(&name) => {
                let rest = if what == "TYPE" { "gauge" } else { rest };
                classic.push_str(&format!("# {what} {name}_info {rest}\n"));
            }
            _ => {
                classic.push_str(line);
                classic.push('\n');
            }
        }
    }
    classic
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_the_whole_names_and_no_end_mark() {
        let text = "# HELP a_b Some text.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP v V.\n\
                    # TYPE v info\nv_info{version=\"1\"} 1\n# HELP c_total How many.\n# TYPE c_total gauge\n\
                    c_total 3\n# EOF\n";
        assert_eq!(
            classic(text),
            "# HELP a_b_total Some text.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP v_info V.\n\
             # TYPE v_info gauge\nv_info{version=\"1\"} 1\n# HELP c_total How many.\n# TYPE c_total gauge\n\
             c_total 3\n"
        );
    }
}
