//! Stops and starts the components of a control plane on one machine.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plane::{Commands, Flavour};
use crate::host::{Command, Exit, Host, HostError};

/// How long a component may take to stop or start.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Manifests that are out of the kubelet's sight stand in `salvor-stopped` beside its folder: on the same file system, so that
/// a kill leaves a manifest in one of the two places. A process is known by its program's name, as a container's processes
/// are seen from the machine.
const STATIC_POD: &str = r#"set -e
shown=$1/$2.yaml
aside=$(dirname -- "$1")/salvor-stopped/$2.yaml
runs() {
  for p in /proc/[0-9]*; do
    program=$(tr '\0' '\n' 2>/dev/null < "$p/cmdline" | head -n 1) || continue
    test "${program##*/}" = "$2" && return 0
  done
  return 1
}
state() {
  if test -e "$shown" || runs "$@"; then echo running
  elif test -e "$aside"; then echo stopped
  else echo absent; fi
}
case $3 in
state) state "$@" ;;
stop)
  mkdir -p -- "$(dirname -- "$aside")"
  if test -e "$shown"; then mv -f -- "$shown" "$aside"; fi
  n=0
  while runs "$@"; do
    n=$((n + 1))
    if test $n -gt "$4"; then echo "its process still runs: does the kubelet run?" >&2; exit 1; fi
    sleep 1
  done
  state "$@" ;;
start)
  if test -e "$aside"; then mv -f -- "$aside" "$shown"; fi
  state "$@" ;;
esac"#;

/// What runs on a machine of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// What runs the pods of this machine, those of its control plane too under kubeadm.
    Kubelet,
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
    ];
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
        })
    }
}

/// Whether a component runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Running,
    /// It does not.
    Stopped,
    /// It is none of this machine's.
    Absent,
}

/// The components of one machine.
#[derive(Clone, Debug)]
pub struct Services {
    host: Arc<dyn Host>,
    flavour: Flavour,
}

impl Services {
    /// Of a machine.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, flavour: Flavour) -> Self {
        Self { host, flavour }
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// Whether a component runs.
    ///
    /// # Errors
    /// It cannot be found out.
    pub async fn state(&self, component: Component) -> Result<State, HostError> {
        match &self.flavour {
            Flavour::Commands { components } => match components.get(&component) {
                None => Ok(State::Absent),
                Some(commands) => self.is_running(&commands.is_running).await,
            },
            Flavour::Systemd { units } => match units.get(&component) {
                None => Ok(State::Absent),
                Some(unit) => self.is_active(unit).await,
            },
            Flavour::Kubeadm { manifests } => match component {
                Component::Kubelet => self.is_active("kubelet").await,
                _ => self.pod(manifests, component, "state").await,
            },
        }
    }

    /// Stops a component; one that does not run is left as it is.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&self, component: Component) -> Result<(), HostError> {
        self.change(component, "stop", |commands| &commands.stop)
            .await
    }

    /// Starts a component; one that runs is left as it is.
    ///
    /// # Errors
    /// It cannot be started. That it came up is not looked at: what it serves tells.
    pub async fn start(&self, component: Component) -> Result<(), HostError> {
        self.change(component, "start", |commands| &commands.start)
            .await
    }

    async fn change(
        &self,
        component: Component,
        verb: &str,
        of: impl Fn(&Commands) -> &Vec<String> + Send,
    ) -> Result<(), HostError> {
        let wanted = if verb == "stop" {
            State::Stopped
        } else {
            State::Running
        };
        let found = self.state(component).await?;
        if found == wanted || found == State::Absent {
            return Ok(());
        }
        let argv = match &self.flavour {
            Flavour::Commands { components } => {
                components.get(&component).map(|one| self.filled(of(one)))
            }
            Flavour::Systemd { units } => units
                .get(&component)
                .map(|unit| ["systemctl", verb, "--", unit].map(str::to_owned).to_vec()),
            Flavour::Kubeadm { manifests } if component != Component::Kubelet => {
                return self.pod(manifests, component, verb).await.map(|_| ());
            }
            Flavour::Kubeadm { .. } => Some(
                ["systemctl", verb, "--", "kubelet"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
        };
        let Some(argv) = argv else { return Ok(()) };
        let command = Command::new(argv).with_limit(PATIENCE);
        let ended = self.host.run(command).await?;
        ended
            .success(self.host.as_ref(), &format!("{verb} {component}"))
            .map(|_| ())
    }

    async fn is_running(&self, argv: &[String]) -> Result<State, HostError> {
        let ended = self.host.run(Command::new(self.filled(argv))).await?;
        match ended.exit {
            Exit::Code(0) => Ok(State::Running),
            // A shell's words for a program that is not there.
            Exit::Code(126 | 127) | Exit::Signal(_) => ended
                .success(self.host.as_ref(), "ask whether it runs")
                .map(|_| State::Stopped),
            Exit::Code(_) => Ok(State::Stopped),
        }
    }

    async fn is_active(&self, unit: &str) -> Result<State, HostError> {
        let doing = format!("ask for the state of unit {unit}");
        let script = r#"systemctl show --property=LoadState,ActiveState --value -- "$1""#;
        let answer = self.host.script(&doing, script, &[unit]).await?;
        let mut lines = answer.lines();
        match (lines.next(), lines.next()) {
            (Some("not-found"), _) => Ok(State::Absent),
            (
                Some("loaded" | "masked"),
                Some("active" | "activating" | "reloading" | "deactivating"),
            ) => Ok(State::Running),
            (Some("loaded" | "masked"), Some("inactive" | "failed")) => Ok(State::Stopped),
            _ => Err(HostError::Answer {
                host: self.host.name().to_owned(),
                doing,
                answer,
            }),
        }
    }

    /// A static pod is stopped by moving its manifest out of the kubelet's sight, and has stopped when its process is gone.
    async fn pod(
        &self,
        manifests: &Path,
        component: Component,
        verb: &str,
    ) -> Result<State, HostError> {
        let doing = match verb {
            "state" => format!("ask for the state of the static pod of {component}"),
            verb => format!("{verb} the static pod of {component}"),
        };
        let seconds = PATIENCE.as_secs().to_string();
        let folder = manifests.to_string_lossy().into_owned();
        let parameters = [folder, component.to_string(), verb.to_owned(), seconds];
        // A little more than the script gives itself, so that its own words are heard.
        let limit = PATIENCE + Duration::from_secs(10);
        let command = Command::script(STATIC_POD, parameters).with_limit(limit);
        let answer = self
            .host
            .run(command)
            .await?
            .success(self.host.as_ref(), &doing)?;
        match answer.as_ref() {
            b"running\n" => Ok(State::Running),
            b"stopped\n" => Ok(State::Stopped),
            b"absent\n" => Ok(State::Absent),
            answer => Err(HostError::Answer {
                host: self.host.name().to_owned(),
                doing,
                answer: String::from_utf8_lossy(answer).into_owned(),
            }),
        }
    }

    fn filled(&self, argv: &[String]) -> Vec<String> {
        let fill = |part: &String| part.replace("{member}", self.host.name());
        argv.iter().map(fill).collect()
    }
}
