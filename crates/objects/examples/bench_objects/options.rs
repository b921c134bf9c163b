//! What can be asked of the benchmark.

use std::path::PathBuf;

use crate::Outcome;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench objects [--testbed] [options]

Measures backup, restore and browse of many objects against what the same API servers can do. Two clusters
are needed, empty ones: --testbed starts them; else SALVOR_E2E_KUBECONFIG and SALVOR_E2E_KUBECONFIG_2 name
them. Objects are created in both and are not removed.

  --count N         objects (default: 10000)
  --large-every N   every Nth object has 1 MB (default: 100); etcd must hold them all
  --rounds N        backups and raw pagings, in turn; the medians count (default: 3)
  --smoke           does the work run at all: 1000 objects unless told otherwise, one round, no goals shown
  --reuse           the first cluster has the objects already, from a run with the same count; the capacity
                    of creates is then measured in the second, with a sample of its own
  --no-restore      leave the restore out; one cluster is enough then
  --no-browse       leave the browse out
  --salvor FILE     measure this binary instead of building the one of this repository
  --folder D        where the location and logs go (default: a temporary folder, removed at the end)
";

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) count: u64,
    pub(crate) large_every: u64,
    pub(crate) rounds: usize,
    pub(crate) smoke: bool,
    pub(crate) reuse: bool,
    pub(crate) restore: bool,
    pub(crate) browse: bool,
    pub(crate) salvor: Option<PathBuf>,
    pub(crate) folder: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome<Self> {
        let mut count = None;
        let mut rounds = None;
        let mut options = Options {
            count: 0,
            large_every: 100,
            rounds: 0,
            smoke: false,
            reuse: false,
            restore: true,
            browse: true,
            salvor: None,
            folder: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value\n\n{USAGE}"))
            };
            match argument.as_str() {
                "--count" => count = Some(number(&argument, &value()?)?),
                "--large-every" => options.large_every = number(&argument, &value()?)?,
                "--rounds" => {
                    let given = number(&argument, &value()?)?;
                    rounds = usize::try_from(given).ok();
                }
                "--smoke" => options.smoke = true,
                "--reuse" => options.reuse = true,
                "--no-restore" => options.restore = false,
                "--no-browse" => options.browse = false,
                "--salvor" => options.salvor = Some(value()?.into()),
                "--folder" => options.folder = Some(value()?.into()),
                _ => return Err(format!("no option `{argument}`\n\n{USAGE}")),
            }
        }
        options.count = count.unwrap_or(if options.smoke { 1_000 } else { 10_000 });
        options.rounds = rounds.unwrap_or(if options.smoke { 1 } else { 3 });
        Ok(options)
    }
}

fn number(argument: &str, value: &str) -> Outcome<u64> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{argument}: `{value}` is not a positive number")),
    }
}
