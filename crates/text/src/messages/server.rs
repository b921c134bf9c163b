//! About the server and its installation.

use super::Messages;

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
}
