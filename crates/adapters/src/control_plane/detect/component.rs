//! What starts each component of one machine, and what it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::known::DISTRIBUTIONS;
use super::manifest::{Pod, version};
use super::unit::Unit;
use super::words::{Settings, Variables, base};
use super::{ApiServer, Certificates, Etcd, Found, KUBELET, MANIFESTS, NAMES, UNITS};
use crate::control_plane::services::Component;
use crate::host::{Command, Host, HostError};

/// `$1` the root, `$2` the folders of units, then names of units. Tells name and user, and each file that is there.
const FILES: &str = r#"root=$1; folders=$2; shift 2
if test -n "$root"; then name=$(head -n 1 "$root/etc/hostname" 2>/dev/null) || true; else name=$(uname -n); fi
printf '%s\n' "$name"
id -u
for name in "$@"; do
  for folder in $folders; do
    if test -e "$root$folder/$name.service"; then printf 'unit %s %s\n' "$name" "$folder/$name.service"; fi
  done
  for folder in $folders; do
    for file in "$root$folder/$name.service.d"/*.conf; do
      if test -e "$file"; then printf 'more %s %s\n' "$name" "${file#"$root"}"; fi
    done
  done
done"#;
/// `$1` the root, then names of programs. Tells the numbers of their processes.
const PROCESSES: &str = r#"root=$1; shift
for p in "$root"/proc/[0-9]*; do
  program=$(tr '\0' '\n' 2>/dev/null < "$p/cmdline" | head -n 1) || continue
  for name in "$@"; do
    if test "${program##*/}" = "$name"; then printf '%s %s\n' "$name" "${p##*/}"; fi
  done
done"#;
/// `$1` the folder of a process. Of its variables only those of etcd leave the machine.
const VARIABLES: &str = r#"tr '\0' '\n' 2>/dev/null < "$1/environ" | grep '^ETCD_' || true"#;
/// What etcd takes where it is not told.
const PEER: &str = "http://localhost:2380";
const CLIENT: &str = "http://localhost:2379";

/// A component that something starts.
pub(super) struct Started {
    pub(super) component: Component,
    /// The file, or process, that it was read from.
    pub(super) from: String,
    /// Its unit, where it is one.
    pub(super) unit: String,
    argv: Vec<String>,
    variables: Variables,
    folder: Option<String>,
    pod: Option<Pod>,
}

impl Started {
    /// Where a path that it was told is on the machine.
    fn on_host(&self, path: &str) -> PathBuf {
        let path = match &self.folder {
            Some(folder) => Path::new(folder).join(path),
            None => PathBuf::from(path),
        };
        let of_pod = self.pod.as_ref().and_then(|pod| pod.on_host(&path));
        of_pod.unwrap_or(path)
    }

    fn certificates(&self, settings: &Settings, names: [&str; 3]) -> Certificates {
        let path = |name: &str| settings.get(name).map(|path| self.on_host(path));
        let [authorities, certificate, key] = names.map(path);
        Certificates {
            authorities,
            certificate,
            key,
        }
    }
}

/// A machine that is looked at.
pub(super) struct Looking<'a> {
    host: &'a dyn Host,
    /// Without a slash at its end: empty for the machine itself.
    root: String,
    pub(super) name: String,
    pub(super) user: u32,
    /// The file of each unit that wins.
    units: BTreeMap<String, String>,
    /// Drop-ins of each unit, by their names, in which order they count.
    more: BTreeMap<String, BTreeMap<String, String>>,
}

impl<'a> Looking<'a> {
    pub(super) async fn at(host: &'a dyn Host, root: &Path) -> Result<Self, HostError> {
        let root = root.to_string_lossy();
        let root = root.trim_end_matches('/').to_owned();
        let folders = UNITS.join(" ");
        let mut parameters = vec![root.as_str(), folders.as_str()];
        parameters.extend(NAMES.iter().flat_map(|(_, names)| names.iter().copied()));
        parameters.extend(
            DISTRIBUTIONS
                .iter()
                .flat_map(|(names, ..)| names.iter().copied()),
        );
        let doing = "look for the files of a control plane";
        let said = host.script(doing, FILES, &parameters).await?;
        let mut lines = said.lines();
        let name = lines.next().unwrap_or_default().trim().to_owned();
        let user = lines.next().and_then(|line| line.trim().parse().ok());
        let user = user.ok_or_else(|| HostError::Answer {
            host: host.name().to_owned(),
            doing: doing.to_owned(),
            answer: said.clone(),
        })?;
        let mut looking = Self {
            host,
            root,
            name,
            user,
            units: BTreeMap::new(),
            more: BTreeMap::new(),
        };
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("unit"), Some(name), Some(path)) => {
                    let paths = &mut looking.units;
                    paths.entry(name.to_owned()).or_insert(path.to_owned());
                }
                (Some("more"), Some(name), Some(path)) => {
                    let files = looking.more.entry(name.to_owned()).or_default();
                    files
                        .entry(base(path).to_owned())
                        .or_insert(path.to_owned());
                }
                _ => {}
            }
        }
        Ok(looking)
    }

    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("{}{path}", self.root))
    }

    /// A small text; `None` where it is not there.
    async fn text(&self, path: &str) -> Result<Option<String>, HostError> {
        let path = self.path(path);
        if !self.host.exists(&path).await? {
            return Ok(None);
        }
        let bytes = self.host.read(&path).await?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Where the kubelet looks for static pods.
    pub(super) async fn manifests(&self) -> Result<PathBuf, HostError> {
        let text = self.text(KUBELET).await?.unwrap_or_default();
        // Another program's configuration: one that is no YAML says nothing.
        let read: Option<serde_json::Value> = serde_saphyr::from_str(&text).ok();
        let told = read
            .as_ref()
            .and_then(|read| read["staticPodPath"].as_str());
        let told = told.filter(|path| path.starts_with('/'));
        Ok(PathBuf::from(told.unwrap_or(MANIFESTS)))
    }

    /// Components that are static pods; also those whose manifests an unfinished run has put aside.
    pub(super) async fn pods(
        &self,
        manifests: &Path,
        remarks: &mut Vec<String>,
    ) -> Result<Vec<Started>, HostError> {
        let aside = manifests
            .parent()
            .unwrap_or(manifests)
            .join("salvor-stopped");
        let mut pods = Vec::new();
        for component in Component::ALL {
            for folder in [manifests, &aside] {
                let path = folder
                    .join(format!("{component}.yaml"))
                    .display()
                    .to_string();
                let Some(text) = self.text(&path).await? else {
                    continue;
                };
                if folder == aside {
                    remarks.push(format!(
                        "{component} is stopped: a run that is not finished has put its manifest aside as {path}; `salvor \
                         control-plane runs` lists it"
                    ));
                }
                match Pod::read(&text, &component.to_string()) {
                    Ok(pod) => pods.push(Started {
                        component,
                        from: path,
                        unit: String::new(),
                        argv: pod.argv.clone(),
                        variables: pod.variables.clone(),
                        folder: None,
                        pod: Some(pod),
                    }),
                    Err(why) => remarks.push(format!("{path} is no static pod: {why}")),
                }
                break;
            }
        }
        Ok(pods)
    }

    /// Components that are units.
    pub(super) async fn units(&self, remarks: &mut Vec<String>) -> Result<Vec<Started>, HostError> {
        let mut units = Vec::new();
        for (component, names) in NAMES {
            let mut there = names.iter().filter(|name| self.units.contains_key(**name));
            let Some(name) = there.next() else { continue };
            for other in there {
                remarks.push(format!(
                    "{component} has a second unit, {other}, which is not looked at"
                ));
            }
            units.extend(self.unit(component, name, remarks).await?);
        }
        Ok(units)
    }

    async fn unit(
        &self,
        component: Component,
        name: &str,
        remarks: &mut Vec<String>,
    ) -> Result<Option<Started>, HostError> {
        let own = self.units.get(name).into_iter();
        let more = self.more.get(name).into_iter().flat_map(BTreeMap::values);
        let mut texts = Vec::new();
        for path in own.chain(more) {
            texts.extend(self.text(path).await?);
        }
        let from = self.units.get(name).cloned().unwrap_or_default();
        let unit = Unit::read(&texts, name, &self.name);
        if !unit.starts() {
            remarks.push(format!("{from} starts nothing: it is masked or empty"));
            return Ok(None);
        }
        let mut files = Vec::new();
        for file in &unit.files {
            match self.text(&file.path).await? {
                Some(text) => files.push(text),
                None if file.optional => {}
                None => remarks.push(format!("{from} names {}, which is not there", file.path)),
            }
        }
        let program = component.to_string();
        let (argv, variables) = unit.command(&files, &[program.as_str()]);
        if argv.first().is_none_or(|one| base(one) != program) {
            remarks.push(format!(
                "{from} starts {component} by another program, {}: its flags may not be seen, and paths may be those of a container",
                argv.first().map_or("none", String::as_str)
            ));
        }
        Ok(Some(Started {
            component,
            from,
            unit: name.to_owned(),
            argv,
            variables,
            folder: unit.folder.clone(),
            pod: None,
        }))
    }

    /// The distribution that keeps its control plane to itself, and what to do instead.
    pub(super) fn distribution(&self) -> Option<(&'static str, &'static str)> {
        let here = |(names, ..): &&(&[&str], &str, &str)| {
            names.iter().any(|name| self.units.contains_key(*name))
        };
        let found = DISTRIBUTIONS.iter().find(here);
        found.map(|(_, name, instead)| (*name, *instead))
    }

    /// Components that run, whoever has started them.
    pub(super) async fn processes(
        &self,
        remarks: &mut Vec<String>,
    ) -> Result<(Vec<u32>, Vec<Started>), HostError> {
        let names = [Component::Etcd, Component::KubeApiserver];
        let texts = names.map(|one| one.to_string());
        let parameters = [self.root.as_str(), &texts[0], &texts[1]];
        let doing = "look for processes of a control plane";
        let said = self.host.script(doing, PROCESSES, &parameters).await?;
        let (mut ids, mut started) = (Vec::new(), Vec::<Started>::new());
        for line in said.lines() {
            let Some((name, id)) = line.split_once(' ') else {
                continue;
            };
            let component = names.into_iter().find(|one| one.to_string() == name);
            let (Some(component), Ok(number)) = (component, id.parse()) else {
                continue;
            };
            ids.push(number);
            if started.iter().any(|one| one.component == component) {
                remarks.push(format!(
                    "{component} runs more than once: process {id} is not looked at"
                ));
                continue;
            }
            started.extend(self.process(component, number).await?);
        }
        Ok((ids, started))
    }

    async fn process(&self, component: Component, id: u32) -> Result<Option<Started>, HostError> {
        let folder = self.path(&format!("/proc/{id}"));
        let path = folder.join("cmdline").to_string_lossy().into_owned();
        let read = self.host.run(Command::new(["cat", "--", &path])).await?;
        let argv: Vec<String> = read
            .stdout
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        // It has ended meanwhile.
        if argv.first().is_none_or(String::is_empty) {
            return Ok(None);
        }
        let folder = folder.to_string_lossy();
        let doing = "read the variables of a process";
        let said = self.host.script(doing, VARIABLES, &[&folder]).await?;
        let pairs = said.lines().filter_map(|line| line.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Some(Started {
            component,
            from: format!("process {id}"),
            unit: String::new(),
            argv,
            variables: pairs.collect(),
            folder: None,
            pod: None,
        }))
    }

    /// What components are told.
    pub(super) async fn describe(
        &self,
        all: &[Started],
        found: &mut Found,
    ) -> Result<(), HostError> {
        for one in all {
            match one.component {
                Component::Etcd => {
                    let settings = self.settings_of_etcd(one, &mut found.remarks).await?;
                    let mut etcd = etcd(one, &settings, &mut found.remarks);
                    etcd.version = self.version(one).await?;
                    found.etcd = Some(etcd);
                }
                Component::KubeApiserver => {
                    let mut server = api_server(one, &Settings::of_flags(&one.argv));
                    server.version = self.version(one).await?;
                    found.api_server = Some(server);
                }
                Component::KubeControllerManager => {
                    let settings = Settings::of_flags(&one.argv);
                    found.cluster = settings.get("cluster-name").map(str::to_owned);
                }
                Component::KubeScheduler | Component::Kubelet => {}
            }
        }
        Ok(())
    }

    async fn settings_of_etcd(
        &self,
        one: &Started,
        remarks: &mut Vec<String>,
    ) -> Result<Settings, HostError> {
        let settings = Settings::of_etcd(&one.argv, &one.variables);
        let Some(file) = settings.get("config-file") else {
            return Ok(settings);
        };
        let path = one.on_host(file).to_string_lossy().into_owned();
        let read = self.text(&path).await?.map(|text| Settings::of_file(&text));
        match read {
            Some(Ok(settings)) => return Ok(settings),
            Some(Err(why)) => remarks.push(format!("{path} cannot be read: {why}")),
            None => remarks.push(format!("etcd is configured by {path}, which is not there")),
        }
        Ok(settings)
    }

    /// Of a pod by its image, of another program by its own word: not where the machine does not run.
    async fn version(&self, one: &Started) -> Result<Option<String>, HostError> {
        if let Some(pod) = &one.pod {
            return Ok(pod.version());
        }
        let component = one.component.to_string();
        let program = one
            .argv
            .first()
            .filter(|program| base(program) == component);
        let Some(program) = program.filter(|_| self.root.is_empty()) else {
            return Ok(None);
        };
        // One that is not there, or is of another machine's kind, has no version to tell.
        let asked = self
            .host
            .run(Command::new([program.as_str(), "--version"]))
            .await;
        let said = asked.map(|ended| ended.stdout).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let first = said.lines().next().unwrap_or_default();
        Ok(first.split(' ').next_back().and_then(version))
    }
}

fn etcd(one: &Started, settings: &Settings, remarks: &mut Vec<String>) -> Etcd {
    let from = &one.from;
    let name = settings.get("name").unwrap_or("default").to_owned();
    let told = settings.get("data-dir").map(str::to_owned);
    let data_directory = one.on_host(&told.unwrap_or_else(|| format!("{name}.etcd")));
    if !data_directory.is_absolute() {
        remarks.push(format!(
            "{from} gives etcd the data directory {}, which begins where etcd was started: name it in full in the description",
            data_directory.display()
        ));
    }
    for (what, text) in [
        ("name", name.as_str()),
        ("data directory", &data_directory.to_string_lossy()),
    ] {
        if text.contains(['$', '%']) {
            remarks.push(format!(
                "the {what} {text} of {from} has a part that only its start fills in"
            ));
        }
    }
    let or = |name: &str, other: &str, default: &str| {
        let found = [
            settings.list(name),
            settings.list(other),
            vec![default.to_owned()],
        ];
        let found = found.into_iter().find(|list| !list.is_empty());
        found.unwrap_or_default()
    };
    Etcd {
        from: from.clone(),
        data_directory,
        wal_directory: settings.get("wal-dir").map(|path| one.on_host(path)),
        peer_urls: or("initial-advertise-peer-urls", "listen-peer-urls", PEER),
        client_urls: or("advertise-client-urls", "listen-client-urls", CLIENT),
        initial_cluster: settings.list("initial-cluster"),
        token: settings.get("initial-cluster-token").map(str::to_owned),
        version: None,
        certificates: one.certificates(settings, ["trusted-ca-file", "cert-file", "key-file"]),
        peer_certificates: one.certificates(
            settings,
            ["peer-trusted-ca-file", "peer-cert-file", "peer-key-file"],
        ),
        name,
    }
}

fn api_server(one: &Started, settings: &Settings) -> ApiServer {
    let encryption = settings
        .get("encryption-provider-config")
        .or(settings.get("experimental-encryption-provider-config"));
    ApiServer {
        from: one.from.clone(),
        version: None,
        etcd_servers: settings.list("etcd-servers"),
        etcd_certificates: one
            .certificates(settings, ["etcd-cafile", "etcd-certfile", "etcd-keyfile"]),
        encryption: encryption.map(|path| one.on_host(path)),
    }
}
