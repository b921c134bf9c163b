//! About places where backups are stored.

use super::Messages;
use crate::particle::{eul, eun, i};

impl Messages {
    /// Nothing says where backups are.
    #[must_use]
    pub fn no_location(self) -> String {
        self.say(
            format_args!("no backup location is given"),
            format_args!("백업 저장 위치가 지정되지 않았습니다"),
        )
    }

    /// How to say where backups are.
    #[must_use]
    pub fn how_to_give_location(self, config: &str) -> String {
        self.say(
            format_args!(
                "pass --location file:///folder or s3://bucket/prefix, set SALVOR_LOCATION, \
                 or name one in {config}"
            ),
            format_args!(
                "--location file:///folder 또는 s3://bucket/prefix 를 지정하거나 SALVOR_LOCATION 을 \
                 설정하거나 {config} 에 이름을 붙여 두세요"
            ),
        )
    }

    /// Short label of a location that does not survive what it protects.
    #[must_use]
    pub fn temporary(self) -> String {
        self.say(
            format_args!("temporary: lost with the cluster"),
            format_args!("임시: 클러스터와 함께 사라짐"),
        )
    }

    /// Short label of a location of which the address does not tell where it is.
    #[must_use]
    pub fn private_network(self) -> String {
        self.say(
            format_args!("private network: off-site only if it stands elsewhere"),
            format_args!("사설망: 다른 곳에 있을 때만 외부 보관"),
        )
    }

    /// Below a list of backups of a store at an address of this machine or of a cluster.
    #[must_use]
    pub fn near_note(self, location: &str, url: &str) -> String {
        let url = in_brackets(url);
        self.say(
            format_args!(
                "location {location}{url} is a store on this machine or in a cluster: when that is lost, \
                 its backups are lost with it, and they never count as an off-site copy"
            ),
            format_args!(
                "위치 {location}{} 이 장비나 클러스터 안의 저장소입니다{url}. 함께 사라질 수 있으므로 외부 \
                 사본으로 치지 않습니다",
                eun(location)
            ),
        )
    }

    /// Short label of a location elsewhere.
    #[must_use]
    pub fn off_site(self) -> String {
        self.say(format_args!("off-site"), format_args!("외부 보관"))
    }

    /// Below a list of backups of such a location; `url` may be empty.
    #[must_use]
    pub fn temporary_note(self, location: &str, url: &str) -> String {
        let url = in_brackets(url);
        self.say(
            format_args!(
                "location {location}{url} is a folder of this machine: its backups are temporary, \
                 lost with the cluster, and never count as an off-site copy"
            ),
            format_args!(
                "위치 {location}{} 이 장비의 폴더입니다{url}. 이 백업은 임시이며 클러스터와 함께 사라질 수 \
                 있으므로 외부 사본으로 치지 않습니다",
                eun(location)
            ),
        )
    }

    /// A location was added to the configuration.
    #[must_use]
    pub fn location_named(self, name: &str, config: &str) -> String {
        self.say(
            format_args!("location {name} written to {config}; try it with: salvor backup-location check {name}"),
            format_args!(
                "위치 {name}{} {config}에 적었습니다. 점검하려면: salvor backup-location check {name}",
                eul(name)
            ),
        )
    }

    /// A location is now used when none is named.
    #[must_use]
    pub fn location_is_default(self, name: &str) -> String {
        self.say(
            format_args!("location {name} is the default now"),
            format_args!("이제 {name}{} 기본 위치입니다", i(name)),
        )
    }

    /// A backup could not be read.
    #[must_use]
    pub fn damaged(self, name: &str, reason: &str) -> String {
        self.say(
            format_args!("backup {name} cannot be read: {reason}"),
            format_args!("백업 {name}{} 읽을 수 없습니다: {reason}", eun(name)),
        )
    }

    /// All checks of a location passed.
    #[must_use]
    pub fn location_usable(self, name: &str) -> String {
        self.say(
            format_args!("location {name} is ready for backups"),
            format_args!("위치 {name}{} 백업에 사용할 수 있습니다", eun(name)),
        )
    }

    /// Some checks of a location failed.
    #[must_use]
    pub fn location_unusable(self, name: &str) -> String {
        self.say(
            format_args!("location {name} is not ready: see the findings above"),
            format_args!(
                "위치 {name}{} 아직 사용할 수 없습니다. 위 점검 결과를 보세요",
                eun(name)
            ),
        )
    }
}

/// ` (text)`, or nothing.
fn in_brackets(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}
