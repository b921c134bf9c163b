//! Files of a host, by what every host has: `sh` and the tools of POSIX.

use std::path::Path;

use bytes::Bytes;

use super::{Command, Host, HostError, Input};

/// Owner, group and permission bits of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Permission bits, as `chmod` takes them.
    pub mode: u32,
}

fn text(path: &Path) -> String {
    // Paths of hosts come from configuration, which is text.
    path.to_string_lossy().into_owned()
}

impl dyn Host + '_ {
    /// Runs a script that ends with success.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn script(
        &self,
        doing: &str,
        script: &str,
        parameters: &[&str],
    ) -> Result<String, HostError> {
        let command = Command::script(script, parameters.iter().copied());
        let said = self.run(command).await?.success(self, doing)?;
        Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
    }

    /// Whether something is there under a path, links followed.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn exists(&self, path: &Path) -> Result<bool, HostError> {
        let doing = format!("look for {}", path.display());
        let script = r#"if test -e "$1"; then echo yes; else echo no; fi"#;
        let answer = self.script(&doing, script, &[&text(path)]).await?;
        match answer.as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(HostError::Answer {
                host: self.name().to_owned(),
                doing,
                answer,
            }),
        }
    }

    /// Reads a small file, of at most [`super::KEPT`] bytes.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn read(&self, path: &Path) -> Result<Bytes, HostError> {
        let command = Command::new(["cat".to_owned(), "--".to_owned(), text(path)]);
        let doing = format!("read {}", path.display());
        self.run(command).await?.success(self, &doing)
    }

    /// Writes a file: beside its place first, flushed to the disk, then renamed. A reader sees the old or the new one.
    ///
    /// # Errors
    /// [`HostError`]; the old one is still there.
    pub async fn write(
        &self,
        path: &Path,
        bytes: Bytes,
        owner: Option<Owner>,
    ) -> Result<(), HostError> {
        let script = r#"set -e
umask 077
cat > "$1.salvor-part"
if test -n "$2"; then chown -- "$2" "$1.salvor-part"; chmod -- "$3" "$1.salvor-part"; fi
sync -- "$1.salvor-part"
mv -f -- "$1.salvor-part" "$1"
sync -- "$(dirname -- "$1")""#;
        let (who, mode) = match owner {
            Some(owner) => (
                format!("{}:{}", owner.user, owner.group),
                format!("{:o}", owner.mode),
            ),
            None => Default::default(),
        };
        let command = Command::script(script, [text(path), who, mode]);
        let command = command.with_input(Input::Bytes(bytes));
        let doing = format!("write {}", path.display());
        self.run(command).await?.success(self, &doing).map(|_| ())
    }

    /// Moves something within one file system; what is in the way is never overwritten.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<(), HostError> {
        let doing = format!("move {} to {}", from.display(), to.display());
        let script = r#"set -e
if test -e "$2"; then echo "$2 is there already" >&2; exit 17; fi
mv -T -- "$1" "$2"
sync -- "$(dirname -- "$2")""#;
        let (from, to) = (text(from), text(to));
        self.script(&doing, script, &[&from, &to]).await.map(|_| ())
    }

    /// Owner and mode of something.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn owner(&self, path: &Path) -> Result<Owner, HostError> {
        let doing = format!("find the owner of {}", path.display());
        let answer = self
            .script(&doing, r#"stat -L -c '%u %g %a' -- "$1""#, &[&text(path)])
            .await?;
        let mut parts = answer.split(' ');
        let number =
            |part: Option<&str>, radix| part.and_then(|part| u32::from_str_radix(part, radix).ok());
        match (
            number(parts.next(), 10),
            number(parts.next(), 10),
            number(parts.next(), 8),
        ) {
            (Some(user), Some(group), Some(mode)) => Ok(Owner { user, group, mode }),
            _ => Err(HostError::Answer {
                host: self.name().to_owned(),
                doing,
                answer,
            }),
        }
    }

    /// Free bytes where something lies, or would lie.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn free_space(&self, path: &Path) -> Result<u64, HostError> {
        let doing = format!("find the free space at {}", path.display());
        let script = r#"p=$1
while ! test -e "$p"; do p=$(dirname -- "$p"); done
df -P -k -- "$p" | awk 'NR==2 {print $4}'"#;
        let answer = self.script(&doing, script, &[&text(path)]).await?;
        match answer.parse::<u64>() {
            Ok(kilobytes) => Ok(kilobytes * 1024),
            Err(_) => Err(HostError::Answer {
                host: self.name().to_owned(),
                doing,
                answer,
            }),
        }
    }
}
