//! How the demo is told: acts with their time and bytes, and where to look next.

use std::path::PathBuf;
use std::time::Instant;

use salvor_location::{Location, Profile};
use salvor_storage::{FsStore, StoreUrl};
use salvor_text::ByteCount;
use salvor_text::duration::elapsed;
use salvor_text::width::width;

use super::acts::{self, Compared, DemoCluster};
use crate::args::DemoArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs the demo. Exits with 1 when anything differs at the end.
pub(crate) async fn run(args: &DemoArgs, session: &Session) -> Result<Exit, Failure> {
    let began = Instant::now();
    let said = session.messages;
    let folder = folder(args, session)?;
    let location = location(folder.clone())?;
    let shown = folder.display().to_string();
    let mut teller = Teller { session, act: 0 };
    session
        .printer
        .result(&format!("{}\n\n", said.demo_title()))?;

    let act = Instant::now();
    let (demo, size) = Box::pin(DemoCluster::start()).await?;
    let before = demo.snapshot().await?;
    let line = said.demo_cluster(size.objects, size.namespaces, size.kinds);
    teller.act(&line, act)?;
    teller.line(&said.demo_platform())?;

    let act = Instant::now();
    let outcome = demo.back_up(&location, &session.cancel).await?;
    let bytes = ByteCount(outcome.stats.archive_bytes).to_string();
    teller.act(
        &said.demo_backed_up(outcome.stats.items, &bytes, &shown),
        act,
    )?;

    let act = Instant::now();
    let lost = demo.destroy(&session.cancel).await?;
    let line = said.demo_destroyed(acts::LOST_NAMESPACE, acts::LOST_DEFINITION, lost);
    teller.act(&line, act)?;

    let act = Instant::now();
    let name = format!("{}-restore", acts::BACKUP);
    let request = demo.restore_request(&location, &name).await?;
    let plan = acts::compare(&request, &session.cancel).await?;
    let compared = Compared::of(&plan);
    let missing = compared.missing.len() as u64;
    let own = lost.saturating_sub(missing);
    teller.act(&said.demo_diff(missing, compared.changed, own), act)?;
    for line in compared.summary() {
        teller.line(&format!("- {line}"))?;
    }

    let act = Instant::now();
    acts::recover(&request, &location, plan, &session.cancel).await?;
    teller.act(&said.demo_restored(missing, compared.equal), act)?;

    let act = Instant::now();
    let compared = demo.compare_with(&before).await?;
    if !compared.is_clean() {
        let differing = &compared.report.differences;
        teller.act(&said.demo_differs(differing.len() as u64), act)?;
        for difference in differing {
            let key = &difference.object;
            teller.line(&format!("- {} {}", key.resource, key.scoped_name()))?;
            session.printer.result(&difference.text)?;
        }
        return Ok(Exit::Differences);
    }
    teller.act(&said.demo_proven(compared.report.same), act)?;

    session.printer.result(&format!(
        "\n{}\n  {}\n    salvor backup browse {backup} \\\n      --location {shown} \\\n      \
         --write-kubeconfig {shown}/kubeconfig\n  {}\n    \
         kubectl --kubeconfig {shown}/kubeconfig \\\n      -n {lost} get deployments\n  {}\n    \
         salvor backup create first --location file:///path/to/backups\n\n{}\n",
        said.demo_next(),
        said.demo_browse(),
        said.demo_second_terminal(),
        said.demo_real(),
        said.demo_total(&elapsed(began.elapsed())),
        backup = acts::BACKUP,
        lost = acts::LOST_NAMESPACE,
    ))?;
    Ok(Exit::Done)
}

/// Numbers the acts and appends their time.
struct Teller<'a> {
    session: &'a Session,
    act: u32,
}

impl Teller<'_> {
    fn act(&mut self, text: &str, began: Instant) -> Result<(), Failure> {
        self.act += 1;
        let text = format!("{}. {text} ({})", self.act, elapsed(began.elapsed()));
        self.session.printer.result(&wrapped(&text, ""))
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        self.session.printer.result(&wrapped(text, INDENT))
    }
}

/// Widest line, in columns of a terminal.
const COLUMNS: usize = 80;
/// What lines of an act begin with, after its first.
const INDENT: &str = "   ";

/// Text in lines of at most [`COLUMNS`], broken at blanks but not between a number and what it counts; a
/// longer word stands alone.
fn wrapped(text: &str, first: &str) -> String {
    let mut lines = vec![first.to_owned()];
    let mut is_empty = true;
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match words.last_mut() {
            Some(last) if last.ends_with(|c: char| c.is_ascii_digit()) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    for word in &words {
        let line = lines.last().map_or("", String::as_str);
        let blank = usize::from(!is_empty);
        if !is_empty && width(line) + blank + width(word) > COLUMNS {
            lines.push(INDENT.to_owned());
            is_empty = true;
        }
        if let Some(line) = lines.last_mut() {
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
        }
        is_empty = false;
    }
    lines.join("\n") + "\n"
}

/// `--dir`, or a new folder among the temporary files, which stays for looking around.
fn folder(args: &DemoArgs, session: &Session) -> Result<PathBuf, Failure> {
    let folder = match &args.dir {
        Some(folder) => std::path::absolute(folder).map_err(|error| {
            Failure::caused(Exit::Usage, format!("use {}", folder.display()), error)
        })?,
        None => {
            let stamp = session.now().as_millisecond();
            let name = format!("salvor-demo-{}-{stamp}", std::process::id());
            std::env::temp_dir().join(name)
        }
    };
    if folder.join("backups").exists() {
        let shown = folder.display().to_string();
        return Err(Failure::new(
            Exit::Refused,
            session.messages.demo_folder_in_use(&shown),
        ));
    }
    Ok(folder)
}

fn location(folder: PathBuf) -> Result<Location, Failure> {
    let store = FsStore::new(&folder);
    let profile = Profile {
        name: "demo".to_owned(),
        url: StoreUrl::file(folder),
        read_only: false,
    };
    Ok(Location::new(std::sync::Arc::new(store), profile))
}
