//! The command line of `cargo xtask testbed`.

use std::path::PathBuf;

use super::bed::Settings;

/// All options of all commands, with their defaults.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) name: String,
    pub(super) folder: Option<PathBuf>,
    pub(super) settings: Settings,
    pub(super) keep: bool,
    pub(super) all: bool,
    pub(super) after_stdin_closes: bool,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options {
            name: "main".to_owned(),
            folder: None,
            settings: Settings::default(),
            keep: false,
            all: false,
            after_stdin_closes: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (option, inline) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || {
                let next = || rest.next().cloned();
                inline
                    .clone()
                    .or_else(next)
                    .ok_or(format!("{option} needs a value"))
            };
            match option {
                "--name" => options.name = name(value()?)?,
                "--dir" => options.folder = Some(value()?.into()),
                "--etcd-quota" => options.settings.etcd_quota_bytes = Some(bytes(&value()?)?),
                "--etcd-data" => options.settings.etcd_data = Some(absolute(&value()?)?),
                "--apiserver-flag" => options.settings.apiserver_flags.push(value()?),
                "--no-controllers" => options.settings.controllers = false,
                "--node" => options.settings.node = true,
                "--keep" => options.keep = true,
                "--all" => options.all = true,
                "--after-stdin-closes" => options.after_stdin_closes = true,
                _ => return Err(format!("no option `{argument}`")),
            }
        }
        if options.settings.node && !options.settings.controllers {
            return Err("--node needs the controllers: leave --no-controllers out".to_owned());
        }
        Ok(options)
    }
}

/// A name is one folder name: `down` deletes the folder.
fn name(name: String) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(format!("name `{name}`: letters, digits and dashes only"));
    }
    Ok(name)
}

/// Servers run in their own folder, so that a relative path would mean something else to them.
fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("path `{path}`: {error}"))
}

fn bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match (text.strip_suffix("GiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 30),
        (_, Some(digits)) => (digits, 20),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.trim().parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("size `{text}`: bytes, or a number with MiB or GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn reads_values_after_a_blank_or_an_equals_sign() {
        let options = parse("--name b2 --etcd-quota=8GiB --apiserver-flag=--v=4 --no-controllers");
        let options = options.expect("all are valid");
        assert_eq!(options.name, "b2");
        assert_eq!(options.settings.etcd_quota_bytes, Some(8 << 30));
        assert_eq!(options.settings.apiserver_flags, ["--v=4"]);
        assert!(!options.settings.controllers);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (line, reason) in [
            ("--what", "no option `--what`"),
            ("--name", "--name needs a value"),
            (
                "--name ../x",
                "name `../x`: letters, digits and dashes only",
            ),
            ("--name=", "name ``: letters, digits and dashes only"),
            (
                "--etcd-quota 8GB",
                "size `8GB`: bytes, or a number with MiB or GiB",
            ),
            (
                "--etcd-quota 99999999999GiB",
                "size `99999999999GiB`: bytes, or a number with MiB or GiB",
            ),
            (
                "--node --no-controllers",
                "--node needs the controllers: leave --no-controllers out",
            ),
        ] {
            assert_eq!(parse(line), Err(reason.to_owned()), "{line}");
        }
    }
}
