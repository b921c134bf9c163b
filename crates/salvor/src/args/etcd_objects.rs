//! Flags of the commands that look at Kubernetes' objects in snapshots of etcd.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use salvor_etcd::chain::Target;

use super::etcd::PlaceArgs;
use crate::args::Format;

/// What stands for the cluster on the command line.
const LIVE: &str = "live";
/// What stands before the id of a point.
const POINT: &str = "point:";
/// What stands before a revision or time of captured changes.
const AT: &str = "at:";
/// The last state that was captured.
const LATEST: &str = "latest";

/// A snapshot as it stood at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Where it is.
    pub(crate) place: Place,
    /// The revision; `None` for the last.
    pub(crate) revision: Option<u64>,
}

/// Where a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// A point of the location, by id or as `latest`.
    Point(String),
    /// The captured changes of the location.
    Chain(Target),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Point(id) => write!(f, "{POINT}{id}"),
            Self::Chain(Target::Revision(revision)) => write!(f, "{AT}{revision}"),
            Self::Chain(Target::Time(time)) => write!(f, "{AT}{time}"),
            Self::Chain(Target::Latest) => write!(f, "{AT}{LATEST}"),
        }
    }
}

impl Moment {
    /// Reads a revision, a time or `latest` of captured changes.
    fn parse_at(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let target = match text {
            LATEST => Target::Latest,
            text if is_number => {
                let revision = text.parse().ok().filter(|at| (1..=i64::MAX as u64).contains(at));
                Target::Revision(revision.ok_or_else(|| format!("`{text}` is no revision"))?)
            }
            text => Target::Time(text.parse::<Timestamp>().map_err(|_| {
                format!("`{text}` is no revision, no time such as 2026-11-22T03:04:05Z, and not `{LATEST}`")
            })?),
        };
        Ok(Self {
            place: Place::Chain(target),
            revision: None,
        })
    }

    /// Reads `FILE`, `FILE@REVISION`, `point:ID`, `point:ID@REVISION` or `at:REVISION|TIME|latest`. A file of that very
    /// name comes first.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(at) = text.strip_prefix(AT)
            && !PathBuf::from(text).exists()
        {
            return Self::parse_at(at);
        }
        let place = |text: &str| match text.strip_prefix(POINT) {
            Some(id) if !PathBuf::from(text).exists() => Place::Point(id.to_owned()),
            _ => Place::File(PathBuf::from(text)),
        };
        let revision = text
            .rsplit_once('@')
            .filter(|_| !PathBuf::from(text).exists())
            .and_then(|(before, revision)| Some((before, revision.parse().ok()?)));
        Ok(match revision {
            Some((before, revision)) => Self {
                place: place(before),
                revision: Some(revision),
            },
            None => Self {
                place: place(text),
                revision: None,
            },
        })
    }

    /// Whether the cluster is meant.
    pub(crate) fn is_live(&self) -> bool {
        self.revision.is_none() && self.place == Place::File(PathBuf::from(LIVE))
    }
}

/// What a snapshot is read from, by flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct FromArgs {
    /// Snapshot, database of a member that is not running, or point of the location; with @REVISION as it stood then.
    #[arg(long, required_unless_present = "at", conflicts_with = "at",
          value_name = "FILE[@REVISION]|point:ID[@REVISION]", value_parser = Moment::parse)]
    from: Option<Moment>,
    /// A state out of the captured changes of the location.
    #[arg(long, value_name = "REVISION|TIME|latest", value_parser = Moment::parse_at)]
    at: Option<Moment>,
}

/// The same, of which the first has its place in the line.
#[derive(Clone, Debug, Args)]
pub(crate) struct FromPlaceArgs {
    /// Snapshot, database of a member that is not running, or point of the location; with @REVISION as it stood then.
    #[arg(required_unless_present = "at", conflicts_with = "at",
          value_name = "FILE[@REVISION]|point:ID[@REVISION]", value_parser = Moment::parse)]
    from: Option<Moment>,
    /// A state out of the captured changes of the location.
    #[arg(long, value_name = "REVISION|TIME|latest", value_parser = Moment::parse_at)]
    at: Option<Moment>,
}

/// One of the two is there; without either, the last captured state.
fn moment(from: Option<&Moment>, at: Option<&Moment>) -> Moment {
    from.or(at).cloned().unwrap_or(Moment {
        place: Place::Chain(Target::Latest),
        revision: None,
    })
}

impl FromArgs {
    pub(crate) fn moment(&self) -> Moment {
        moment(self.from.as_ref(), self.at.as_ref())
    }
}

impl FromPlaceArgs {
    pub(crate) fn moment(&self) -> Moment {
        moment(self.from.as_ref(), self.at.as_ref())
    }
}

/// How values are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The API server's encryption configuration, whose keys open what it encrypted at rest; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_config: Vec<PathBuf>,
}

/// How objects are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// A table.
    #[default]
    Table,
    /// JSON.
    Json,
}

/// Flags of `inspect`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) from: FromPlaceArgs,
    /// A line for each kind and namespace.
    #[arg(long)]
    pub(crate) by_namespace: bool,
    /// How many of the biggest objects are shown.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub(crate) biggest: usize,
    /// How the figures are printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: InspectFormat,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// Kind of the objects, as kubectl takes it: pods, deploy, things.example.com.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// Names; without any all are listed.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) from: FromArgs,
    /// How they are printed [default: YAML with names, otherwise a table].
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Flags of `blame`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BlameArgs {
    /// Kind of the object, as kubectl takes it.
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// Its name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) from: FromArgs,
    /// How the versions are printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: InspectFormat,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Flags of `diff`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    /// The older side; at: takes it from the captured changes of the location.
    #[arg(value_name = "FILE[@REVISION]|point:ID[@REVISION]|at:REVISION|TIME|latest", value_parser = Moment::parse)]
    pub(crate) from: Moment,
    /// The newer side, or `live` for the cluster.
    #[arg(value_name = "FILE[@REVISION]|at:...|live", value_parser = Moment::parse)]
    pub(crate) to: Moment,
    /// Namespaces to compare; globs.
    #[arg(long, value_delimiter = ',', default_value = "*", value_name = "NAMES")]
    pub(crate) include_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) exclude_namespaces: Vec<String>,
    /// Resources to compare.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) include_resources: Vec<String>,
    /// Resources to leave out.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) exclude_resources: Vec<String>,
    /// How the differences are printed; a table is a unified difference per object.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Flags of `export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name of the backup to make.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) from: FromArgs,
    #[command(flatten)]
    pub(crate) filters: super::filters::FilterArgs,
    /// Go on where some objects cannot be read, such as those that are encrypted at rest; the backup lacks them.
    #[arg(long)]
    pub(crate) skip_unreadable: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Flags of `browse`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EtcdBrowseArgs {
    #[command(flatten)]
    pub(crate) from: FromPlaceArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

/// Where an API is served.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Port on 127.0.0.1 [default: any that is free].
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "PORT"
    )]
    pub(crate) port: u16,
    /// File to write the kubeconfig to, which must be new; it is removed at the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_kubeconfig: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_place_and_a_revision() {
        let file = |name: &str| Place::File(PathBuf::from(name));
        for (text, place, revision) in [
            ("a.db", file("a.db"), None),
            ("a.db@12", file("a.db"), Some(12)),
            ("me@home.db", file("me@home.db"), None),
            ("point:latest", Place::Point("latest".to_owned()), None),
            ("point:p-1@7", Place::Point("p-1".to_owned()), Some(7)),
            ("at:7", Place::Chain(Target::Revision(7)), None),
            ("at:latest", Place::Chain(Target::Latest), None),
        ] {
            assert_eq!(
                Moment::parse(text),
                Ok(Moment { place, revision }),
                "{text}"
            );
        }
        let time = Moment::parse("at:2026-11-22T03:04:05Z").expect("a time");
        assert_eq!(time.place.to_string(), "at:2026-11-22T03:04:05Z");
        for bad in ["at:0", "at:", "at:9223372036854775808", "at:yesterday"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
        assert!(Moment::parse("live").is_ok_and(|moment| moment.is_live()));
    }
}
