//! `restore-wait`: the init container of a pod whose volumes are being filled. It ends when the mover has marked all of
//! them, and fails when that takes too long; the kubelet then begins it again, as the pod's restart policy says.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::args::RestoreWaitArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Between two looks. A pod waits at most so much longer than it must.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until each folder below the given one has the mark.
pub(crate) async fn run(args: &RestoreWaitArgs, session: &Session) -> Result<Exit, Failure> {
    let RestoreWaitArgs {
        mark,
        below,
        seconds,
    } = args;
    let names_a_file = mark
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !names_a_file || mark.as_os_str().is_empty() {
        return Err(Failure::usage(format!(
            "{} is not a path inside a volume",
            mark.display()
        )));
    }
    let deadline = Instant::now() + Duration::from_secs(*seconds);
    loop {
        let unmarked = unmarked(below, mark)?;
        if unmarked.is_empty() {
            session.printer.remark("all volumes are filled");
            return Ok(Exit::Done);
        }
        if Instant::now() + PAUSE > deadline {
            let names: Vec<String> = unmarked
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let text = format!("not filled within {seconds} s: {}", names.join(", "));
            return Err(Failure::new(Exit::TimedOut, text).hint(
                "the pod goes on waiting; delete it, or fill its volumes by restoring again",
            ));
        }
        tokio::select! {
            () = session.cancel.cancelled() => {
                return Err(Failure::new(Exit::Cancelled, "stopped while volumes are filled".to_owned()));
            }
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The volumes without a mark. A folder that cannot be listed holds no pod back for ever: it is an error.
fn unmarked(below: &Path, mark: &Path) -> Result<Vec<PathBuf>, Failure> {
    let doing = || format!("list the volumes in {}", below.display());
    let failed = |error| Failure::caused(Exit::Internal, doing(), error);
    let mut left = Vec::new();
    for entry in std::fs::read_dir(below).map_err(failed)? {
        let volume = entry.map_err(failed)?.path();
        // Of the link itself: what a volume holds is not followed.
        if std::fs::symlink_metadata(volume.join(mark)).is_err() {
            left.push(volume);
        }
    }
    left.sort();
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_counts_once_its_mark_is_there_and_no_link_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = Path::new(".velero/r");
        for volume in ["cache", "data"] {
            std::fs::create_dir_all(folder.path().join(volume).join(".velero")).expect("a folder");
        }
        let left = || unmarked(folder.path(), mark).expect("readable").len();
        assert_eq!(left(), 2);
        std::fs::write(folder.path().join("cache/.velero/r"), "").expect("a file");
        assert_eq!(left(), 1);
        std::fs::write(folder.path().join("data/.velero/other"), "").expect("a file");
        assert_eq!(left(), 1, "the mark of another restore");
        std::fs::write(folder.path().join("data/.velero/r"), "").expect("a file");
        assert_eq!(left(), 0);
        assert!(unmarked(&folder.path().join("nowhere"), mark).is_err());
    }
}
