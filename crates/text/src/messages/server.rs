//! About the server and its installation.

use super::Messages;

/// What became of an object that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It is new.
    Created,
    /// It was there and is as it should be now.
    Current,
    /// It was there and was left alone.
    Kept,
}

impl Messages {
    /// The server begins.
    #[must_use]
    pub fn server_begins(self, namespace: &str, cluster: &str, identity: &str) -> String {
        self.say(
            format_args!(
                "serving namespace {namespace} of cluster {cluster} as {identity}; Ctrl-C stops"
            ),
            format_args!(
                "클러스터 {cluster}의 네임스페이스 {namespace}에서 {identity} 이름으로 동작합니다. 멈추려면 Ctrl-C"
            ),
        )
    }

    /// Metrics and probes are not served at their usual address.
    #[must_use]
    pub fn no_metrics(self, address: &str, reason: &str) -> String {
        self.say(
            format_args!(
                "metrics and probes are not served on {address}: {reason}; --metrics-address takes another"
            ),
            format_args!(
                "{address}에서 메트릭과 프로브를 제공할 수 없습니다: {reason}. 다른 주소는 --metrics-address로 지정합니다"
            ),
        )
    }

    /// The server ended in good order.
    #[must_use]
    pub fn server_ends(self) -> String {
        self.say(
            format_args!("stopped; another server may take over"),
            format_args!("멈췄습니다. 다른 서버가 이어받을 수 있습니다"),
        )
    }

    /// A definition was created or brought up to date.
    #[must_use]
    pub fn definition_installed(self, name: &str, created: bool) -> String {
        if created {
            self.say(
                format_args!("definition {name} created"),
                format_args!("정의 {name} 생성함"),
            )
        } else {
            self.say(
                format_args!("definition {name} is up to date"),
                format_args!("정의 {name} 최신 상태임"),
            )
        }
    }

    /// An object was installed.
    #[must_use]
    pub fn installed(self, what: &str, done: Installed) -> String {
        match done {
            Installed::Created => self.say(
                format_args!("{what} created"),
                format_args!("{what} 생성함"),
            ),
            Installed::Current => self.say(
                format_args!("{what} is up to date"),
                format_args!("{what} 최신 상태임"),
            ),
            Installed::Kept => self.say(
                format_args!("{what} is there already and stays as it is"),
                format_args!("{what} 이미 있으므로 그대로 둠"),
            ),
        }
    }

    /// A server is ready.
    #[must_use]
    pub fn server_ready(self) -> String {
        self.say(
            format_args!("the server is ready"),
            format_args!("서버가 준비되었습니다"),
        )
    }

    /// A key for the repositories of volumes was made.
    #[must_use]
    pub fn repository_key_made(self, namespace: &str, secret: &str) -> String {
        self.say(
            format_args!(
                "Secret {namespace}/{secret} is the key of all volume data: keep a copy of it outside of this cluster, nothing opens that data without it"
            ),
            format_args!(
                "시크릿 {namespace}/{secret}은 모든 볼륨 데이터의 키입니다. 이 클러스터 밖에 사본을 보관하세요. 이것 없이는 아무것도 그 데이터를 열 수 없습니다"
            ),
        )
    }

    /// The key of the repositories of volumes is made and is in no manifest.
    #[must_use]
    pub fn repository_key_not_printed(self, namespace: &str, secret: &str) -> String {
        self.say(
            format_args!(
                "not printed: Secret {namespace}/{secret}, the key of all volume data, which install makes where it is missing"
            ),
            format_args!(
                "출력하지 않음: 시크릿 {namespace}/{secret}(모든 볼륨 데이터의 키). 없으면 install이 만듭니다"
            ),
        )
    }

    /// The key of the repositories of volumes goes with what is uninstalled.
    #[must_use]
    pub fn repository_key_goes(self, namespace: &str, secret: &str) -> String {
        self.say(
            format_args!(
                "Secret {namespace}/{secret}, the key of all volume data, goes as well: without a copy of it that data is lost"
            ),
            format_args!(
                "모든 볼륨 데이터의 키인 시크릿 {namespace}/{secret}도 사라집니다. 사본이 없으면 그 데이터를 잃습니다"
            ),
        )
    }

    /// Velero's plugins were named.
    #[must_use]
    pub fn plugins_built_in(self) -> String {
        self.say(
            format_args!(
                "--plugins: AWS, Azure and Google Cloud are built in; no plugin is installed"
            ),
            format_args!(
                "--plugins: AWS, Azure, Google Cloud는 내장되어 있어 플러그인을 설치하지 않습니다"
            ),
        )
    }

    /// No default location is installed.
    #[must_use]
    pub fn no_default_location(self) -> String {
        self.say(
            format_args!(
                "no default location is created: pass --provider and --bucket, or create a BackupStorageLocation"
            ),
            format_args!(
                "기본 위치를 만들지 않습니다. --provider와 --bucket을 주거나 BackupStorageLocation을 만드십시오"
            ),
        )
    }

    /// The definitions are not removed.
    #[must_use]
    pub fn definitions_stay(self, namespaces: &str) -> String {
        self.say(
            format_args!("the definitions stay: objects of theirs are in {namespaces}"),
            format_args!("정의는 남깁니다. {namespaces}에 그 오브젝트가 있습니다"),
        )
    }

    /// What will be removed.
    #[must_use]
    pub fn will_be_uninstalled(self, namespace: &str, definitions: bool) -> String {
        if definitions {
            self.say(
                format_args!(
                    "namespace {namespace} with everything in it, the definitions of Velero's kinds and the server's \
                     rights will be removed; backups stay where they are stored"
                ),
                format_args!(
                    "네임스페이스 {namespace}와 그 안의 모든 것, Velero 리소스의 정의, 서버의 권한을 지웁니다. 저장된 백업은 \
                     그대로 남습니다"
                ),
            )
        } else {
            self.say(
                format_args!(
                    "namespace {namespace} with everything in it and the server's rights will be removed; backups \
                     stay where they are stored"
                ),
                format_args!(
                    "네임스페이스 {namespace}와 그 안의 모든 것, 서버의 권한을 지웁니다. 저장된 백업은 그대로 남습니다"
                ),
            )
        }
    }

    /// An object was removed.
    #[must_use]
    pub fn removed(self, what: &str) -> String {
        self.say(
            format_args!("{what} removed"),
            format_args!("{what} 삭제함"),
        )
    }

    /// Everything was removed.
    #[must_use]
    pub fn uninstalled(self) -> String {
        self.say(
            format_args!(
                "uninstalled; an installation over the same location finds its backups again"
            ),
            format_args!("제거했습니다. 같은 위치로 다시 설치하면 백업을 다시 찾습니다"),
        )
    }
}
