//! Ending the process of a command that is no longer waited for.

/// Looks for the process of a command whose time is up, and ends it. Arguments: the command's words run
/// together, the parent that such a process has, seconds of its age at most.
///
/// Processes that are started from outside have the parent 0 in a container. The container's own process is
/// spared: it is number 1, or older than the command. A script is found by the end of its command line, which
/// begins with its interpreter. Two that look the same are both left alone. Shells
/// differ in how a process group is named, so both ways are tried.
pub(super) const END_PROCESS: &str = r#"want=$1 parent=$2 oldest=$3 found= n=0
read -r up _ </proc/uptime; up=${up%.*}
for d in /proc/[0-9]*; do
  p=${d#/proc/}
  [ "$p" = 1 ] && continue
  [ "$p" = $$ ] && continue
  s=$(cat "$d/stat" 2>/dev/null) || continue
  s=${s##*) }
  set -- $s
  [ "$2" = "$parent" ] || continue
  [ $((up - ${20} / 100)) -le "$oldest" ] || continue
  c=$(tr -d '\000' 2>/dev/null <"$d/cmdline") || continue
  case $c in *"$want") n=$((n + 1)); found=$p ;; esac
done
[ $n = 0 ] && { echo none; exit 0; }
[ $n = 1 ] || { echo several; exit 0; }
end() {
  kill "-$1" "-$found" 2>/dev/null || kill "-$1" -- "-$found" 2>/dev/null ||
    kill "-$1" "$found" 2>/dev/null || [ ! -d "/proc/$found" ]
}
end TERM || { echo denied; exit 0; }
i=0
while [ $i -lt 20 ]; do
  [ -d "/proc/$found" ] || { echo ended; exit 0; }
  sleep 0.1 2>/dev/null || sleep 1
  i=$((i + 1))
done
end KILL
echo ended"#;

/// What became of the process of a command that is no longer waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It was ended.
    Ended,
    /// There is no such process any more.
    Gone,
    /// It was left and may still run, for this reason.
    Left(String),
}

impl std::fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => f.write_str("its process was ended"),
            Self::Gone => f.write_str("its process was not found any more"),
            Self::Left(reason) => write!(f, "its process may still run: {reason}"),
        }
    }
}

impl ProcessEnd {
    /// From the word that the script prints.
    pub(super) fn said(text: &str) -> Self {
        match text.trim() {
            "ended" => Self::Ended,
            "none" => Self::Gone,
            "several" => Self::Left("several processes look like it".to_owned()),
            "denied" => Self::Left("it may not be signalled by the container's user".to_owned()),
            other => {
                let shown: String = other.chars().take(80).collect();
                Self::Left(format!("looking for it said `{shown}`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;

    /// Runs the script on children of this process, as if they had been started from outside.
    fn end(words: &[&str], oldest: &str) -> String {
        let parent = std::process::id().to_string();
        let output = Command::new("sh")
            .args([
                "-c",
                END_PROCESS,
                "salvor",
                &words.concat(),
                &parent,
                oldest,
            ])
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("plain words")
    }

    #[test]
    fn the_one_process_that_runs_the_command_is_ended_and_no_other() {
        let start = |program: &str, words: &[&str]| {
            let mut child = Command::new(program)
                .args(words)
                .stdout(Stdio::null())
                .spawn()
                .expect("it is there");
            // Its parent must collect it, as a node does.
            (child.id(), thread::spawn(move || child.wait()))
        };
        let wanted = ["sleep", "86399.25"];
        assert_eq!(end(&wanted, "60"), "none\n");
        let first = start("sleep", &wanted[1..]);
        // It is older than the command was.
        assert_eq!(end(&wanted, "-1"), "none\n");
        let second = start("sleep", &wanted[1..]);
        assert_eq!(end(&wanted, "60"), "several\n");
        assert!(!first.1.is_finished() && !second.1.is_finished());
        // A script's command line begins with its interpreter.
        let third = start(
            "sh",
            &[
                "-c",
                "trap '' TERM; while :; do sleep 0.05; done",
                "86398.25",
            ],
        );
        assert_eq!(
            ProcessEnd::said(&end(&["86398.25"], "60")),
            ProcessEnd::Ended
        );
        third.1.join().expect("no panic").expect("it was collected");
        let other = start("sleep", &["86397.25"]);
        assert_eq!(end(&["sleep", "86397.25"], "60"), "ended\n");
        other.1.join().expect("no panic").expect("it was collected");
        for (id, running) in [first, second] {
            assert!(!running.is_finished());
            let killed = Command::new("kill").arg(id.to_string()).status();
            assert!(killed.expect("there is kill").success());
            running.join().expect("no panic").expect("it was collected");
        }
    }
}
