//! About what a location is trusted by.

use super::Messages;

impl Messages {
    /// A location has a record.
    #[must_use]
    pub fn location_initialised(self, name: &str, id: &str) -> String {
        self.say(
            format_args!("location {name} initialised, id {id}"),
            format_args!("위치 {name} 초기화됨, ID {id}"),
        )
    }

    /// The record is signed.
    #[must_use]
    pub fn record_signed(self, key: &str) -> String {
        self.say(
            format_args!("its record is signed with key {key}"),
            format_args!("기록을 키 {key}로 서명했습니다"),
        )
    }

    /// Nobody is named whom objects could be encrypted to.
    #[must_use]
    pub fn no_recipients(self) -> String {
        self.say(
            format_args!("no recipients: single objects such as snapshots of etcd or Vault cannot be encrypted to this location"),
            format_args!("수신자가 없습니다. etcd 나 Vault 스냅샷 같은 개별 객체를 이 위치에 암호화해 저장할 수 없습니다"),
        )
    }

    /// The keys are in the configuration.
    #[must_use]
    pub fn keys_pinned(self, path: &str) -> String {
        self.say(
            format_args!("its id, verification keys and recipients are pinned in {path}"),
            format_args!("ID, 검증 키, 수신자를 {path}에 고정했습니다"),
        )
    }

    /// The keys have to be pinned by somebody.
    #[must_use]
    pub fn pin_by_hand(self, annotation: &str, value: &str) -> String {
        self.say(
            format_args!("pin this in the configuration, or on the BackupStorageLocation: {annotation}={value}"),
            format_args!("설정이나 BackupStorageLocation 에 고정하세요: {annotation}={value}"),
        )
    }

    /// Packs came from a copy.
    #[must_use]
    pub fn packs_mended(self, packs: usize, bytes: &str, missing: usize) -> String {
        self.say(
            format_args!("brought from the copy: {packs} packs, {bytes}; not there or damaged as well: {missing}"),
            format_args!("사본에서 가져온 팩 {packs}개, {bytes}. 사본에도 없거나 손상된 팩 {missing}개"),
        )
    }
}
