//! Units of systemd.

use super::{Jobs, Rendered};
use crate::exit::Failure;

/// What both services have.
const COMMON: &str = "\
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
UMask=0077
";
/// Where the local copy of a snapshot is: below /var/lib, which is no memory.
pub(super) const WORK: &str = "/var/lib/salvor-etcd";

pub(super) fn rendered(jobs: &Jobs<'_>) -> Result<Vec<Rendered>, Failure> {
    let mut files = Vec::new();
    if jobs.has_snapshot() {
        let calendars = super::calendar::calendars(&jobs.args.schedule);
        let calendars = calendars.ok_or_else(|| jobs.no_interval())?;
        let calendars: String = calendars
            .iter()
            .map(|line| format!("OnCalendar={line}\n"))
            .collect();
        let service = jobs.service(
            "Snapshot of etcd into a location",
            "Type=oneshot\n",
            &jobs.snapshot(None),
        );
        files.push(Rendered::new("salvor-etcd-snapshot.service", service));
        files.push(Rendered::new(
            "salvor-etcd-snapshot.timer",
            format!(
                "[Unit]\nDescription=Snapshots of etcd by schedule\n\n[Timer]\n{calendars}\
                 # A run that was missed while the host was off is made up for.\nPersistent=true\n\n\
                 [Install]\nWantedBy=timers.target\n"
            ),
        ));
    }
    if jobs.has_stream() {
        let service = jobs.service(
            "Every change of etcd into a location",
            "Restart=always\nRestartSec=5\n",
            &jobs.stream(),
        );
        let service = format!("{service}\n[Install]\nWantedBy=multi-user.target\n");
        files.push(Rendered::new("salvor-etcd-stream.service", service));
    }
    Ok(files)
}

impl Jobs<'_> {
    fn service(&self, description: &str, kind: &str, words: &[String]) -> String {
        let settings = self.args.settings.display().to_string();
        let program = self.args.program.display().to_string();
        let command: Vec<String> = std::iter::once(&program)
            .chain(words)
            .map(|text| word(text))
            .collect();
        let variables: String = self
            .variables()
            .iter()
            .map(|(name, value)| format!("Environment={}\n", word(&format!("{name}={value}"))))
            .collect();
        format!(
            "[Unit]\nDescription={description}\nWants=network-online.target\nAfter=network-online.target\n\n\
             [Service]\n{kind}EnvironmentFile=-{}/environment\n{variables}StateDirectory=salvor-etcd\nExecStart={}\n{COMMON}",
            settings.replace('%', "%%"),
            command.join(" ")
        )
    }
}

/// A word of a command line as systemd reads it.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%$+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_were_after_systemd_read_them() {
        for (text, expected) in [
            ("--location", "--location"),
            ("s3://b/p?region=x", "\"s3://b/p?region=x\""),
            ("a b", "\"a b\""),
            ("100%", "100%%"),
            ("$HOME", "$$HOME"),
            ("say \"x\\y\"", "\"say \\\"x\\\\y\\\"\""),
            ("", "\"\""),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
