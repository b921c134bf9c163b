//! The location's record: signed, numbered, compared with what is pinned.

use std::sync::Arc;

use salvor_location::trust::Trust;
use salvor_location::{CheckReport, Error, InitLocation, Location, LocationRecord};
use salvor_seal::SigningKey;
use salvor_seal::age::Identity;
use salvor_storage::{GetOptions, Key, MemoryStore, ObjectStore, PutMode};
use serde_json::Value;

use crate::world::location;

struct Signed {
    store: Arc<dyn ObjectStore>,
    key: SigningKey,
    identity: Identity,
}

impl Signed {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            key: SigningKey::generate().expect("random numbers"),
            identity: Identity::generate().expect("random numbers"),
        }
    }

    fn trust(&self) -> Trust {
        Trust {
            verification_keys: vec![self.key.verification_key()],
            recipients: vec![self.identity.recipient()],
            id: None,
        }
    }

    fn bare(&self) -> Location {
        location(Arc::clone(&self.store))
    }

    fn pinned(&self) -> Location {
        self.bare().with_trust(self.trust())
    }

    fn init(&self) -> InitLocation {
        InitLocation {
            mirror_of: None,
            signing_key: Some(self.key.clone()),
        }
    }

    async fn initialised(&self) -> LocationRecord {
        let made = self
            .pinned()
            .init(&self.init(), &CheckReport::default())
            .await;
        made.expect("written")
    }

    fn key_of(number: u64) -> Key {
        Key::new(format!("plugins/salvor/location/{number:06}.json")).expect("a key")
    }

    async fn read(&self, number: u64) -> Value {
        let object = self
            .store
            .get(&Self::key_of(number), GetOptions::default())
            .await;
        let bytes = object.expect("there").bytes(1 << 20).await.expect("read");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    async fn put(&self, number: u64, value: &Value) {
        let body = value.to_string().into();
        let key = Self::key_of(number);
        let put = self.store.put(&key, body, PutMode::Overwrite);
        put.await.expect("written");
    }
}

#[tokio::test]
async fn a_location_is_signed_keeps_its_id_and_is_renewed() {
    let signed = Signed::new();
    // Used before anybody thought of signing.
    let first = signed.bare().prepare().await.expect("prepared");
    let refused = signed.pinned().prepare().await.expect_err("nobody signed");
    assert!(
        refused.to_string().contains("nobody signed it"),
        "{refused}"
    );
    let record = signed.initialised().await;
    assert_eq!(record.id, first.id);
    assert_eq!(
        record.recipients,
        [signed.identity.recipient().fingerprint()]
    );
    assert_eq!(signed.pinned().prepare().await.expect("signed"), record);
    let recipients = signed.pinned().recipients().await.expect("pinned");
    assert_eq!(recipients, [signed.identity.recipient()]);
    // Another one above it counts from then on.
    let options = InitLocation {
        mirror_of: Some("other".to_owned()),
        ..signed.init()
    };
    let (pinned, report) = (signed.pinned(), CheckReport::default());
    let again = pinned.init(&options, &report);
    assert_eq!(again.await.expect("written").id, first.id);
    let counts = signed
        .pinned()
        .record()
        .await
        .expect("read")
        .expect("there");
    assert_eq!(counts.mirror_of.as_deref(), Some("other"));
    // Who pins nothing reads it, too.
    assert_eq!(signed.bare().prepare().await.expect("read"), counts);
}

#[tokio::test]
async fn whatever_is_changed_in_a_signed_record_it_does_not_count() {
    let signed = Signed::new();
    signed.initialised().await;
    let whole = signed.read(1).await;
    let mut fields: Vec<String> = whole
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    fields.retain(|field| field != "version");
    assert!(fields.len() >= 5, "{fields:?}");
    for field in fields {
        let mut changed = whole.clone();
        changed[&field] = match &whole[&field] {
            Value::Bool(value) => Value::Bool(!value),
            Value::String(_) if field == "created" => "2020-01-01T00:00:00Z".into(),
            Value::String(_) => "another".into(),
            Value::Array(_) => serde_json::json!(["0123456789abcdef"]),
            _ => Value::Null,
        };
        signed.put(1, &changed).await;
        let refused = signed.pinned().prepare().await.expect_err(&field);
        assert!(
            matches!(refused, Error::Untrusted { .. }),
            "{field}: {refused}"
        );
    }
    for (field, text) in [("signed", "{}"), ("value", "AAAA"), ("key", "0")] {
        let mut changed = whole.clone();
        changed["signature"][field] = text.into();
        signed.put(1, &changed).await;
        let outcome = signed.pinned().prepare().await;
        // Which key it names is for people: the signature is tried with those that are pinned.
        assert_eq!(outcome.is_ok(), field == "key", "{field}: {outcome:?}");
    }
    signed.put(1, &whole).await;
    signed.pinned().prepare().await.expect("whole again");
}

#[tokio::test]
async fn records_of_others_above_a_signed_one_are_passed_over_and_named() {
    let signed = Signed::new();
    let record = signed.initialised().await;
    let other = Signed {
        store: Arc::clone(&signed.store),
        ..Signed::new()
    };
    // Somebody with the right to write, and a key and a recipient of their own.
    let forged = other
        .pinned()
        .init(&other.init(), &CheckReport::default())
        .await;
    assert_ne!(forged.expect("written").recipients, record.recipients);
    signed
        .put(9, &serde_json::json!({"version": 99, "id": "newer"}))
        .await;
    assert_eq!(signed.pinned().prepare().await.expect("ours"), record);
    let recipients = signed.pinned().recipients().await.expect("ours");
    assert_eq!(recipients, [signed.identity.recipient()]);
    let records = signed.pinned().records_of_location().await.expect("read");
    let names: Vec<&str> = records
        .passed_over
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["000009.json", "000002.json"]);
    let report = signed.pinned().check().await.expect("checked");
    let told = format!("{:?}", report.steps);
    assert!(told.contains("000002.json` does not count"), "{told}");
    assert!(report.is_usable(), "{told}");
    // The next record of ours is above theirs.
    signed.initialised().await;
    let records = signed.pinned().records_of_location().await.expect("read");
    assert_eq!(records.counting.expect("ours").number, 10);
}

#[tokio::test]
async fn an_empty_bucket_is_not_the_one_that_is_pinned() {
    let signed = Signed::new();
    let refused = signed.pinned().prepare().await.expect_err("empty");
    assert!(
        refused.to_string().contains("it has no record"),
        "{refused}"
    );
    let report = signed.pinned().check().await.expect("checked");
    assert!(!report.is_usable());
    // Nor does a key that is not pinned make it one.
    let other = Signed::new();
    let refused = signed
        .pinned()
        .init(&other.init(), &CheckReport::default())
        .await;
    assert!(
        matches!(refused, Err(Error::Untrusted { .. })),
        "{refused:?}"
    );
    let unsigned = InitLocation::default();
    let refused = signed
        .pinned()
        .init(&unsigned, &CheckReport::default())
        .await;
    assert!(
        matches!(refused, Err(Error::Untrusted { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn another_location_under_the_url_of_the_pinned_one_is_not_written_to() {
    let signed = Signed::new();
    let init = InitLocation::default();
    let record = signed.bare().init(&init, &CheckReport::default()).await;
    let id = record.expect("written").id;
    let trust = |id: &str| Trust {
        recipients: vec![signed.identity.recipient()],
        id: Some(id.to_owned()),
        ..Trust::default()
    };
    let own = signed.bare().with_trust(trust(&id));
    own.recipients().await.expect("it is the one");
    own.assert_there().await.expect("it is the one");
    // Nothing is mounted there, or something else is.
    let empty = location(Arc::new(MemoryStore::new())).with_trust(trust(&id));
    let other = signed.bare().with_trust(trust("another"));
    for (wrong, why) in [(empty, "it has no record"), (other, "its id is")] {
        let report = CheckReport::default();
        let refusals = [
            wrong.recipients().await.err(),
            wrong.assert_there().await.err(),
            wrong.prepare().await.err(),
            wrong.init(&init, &report).await.err(),
        ];
        for refused in refusals {
            let refused = refused.expect("another one");
            assert!(matches!(refused, Error::OtherPlace { .. }), "{refused}");
            assert!(refused.to_string().contains(why), "{refused}");
            assert!(refused.advice().contains("mounted"));
        }
    }
}

#[tokio::test]
async fn other_recipients_than_are_pinned_stop_encryption() {
    let signed = Signed::new();
    signed.initialised().await;
    let mine = Identity::generate().expect("random numbers");
    let trust = Trust {
        recipients: vec![mine.recipient()],
        ..signed.trust()
    };
    let changed = signed.bare().with_trust(trust);
    let refused = changed.recipients().await.expect_err("others");
    assert!(
        matches!(refused, Error::RecipientsDiffer { .. }),
        "{refused}"
    );
    for fingerprint in [
        mine.recipient().fingerprint(),
        signed.identity.recipient().fingerprint(),
    ] {
        assert!(refused.to_string().contains(&fingerprint), "{refused}");
    }
    assert!(!changed.check().await.expect("checked").is_usable());
    let none = signed.bare().recipients().await.expect_err("none");
    assert!(matches!(none, Error::NoRecipients { .. }), "{none}");
}

#[test]
fn configurations_are_read_and_mistakes_named() {
    let signed = Signed::new();
    let key = signed.key.verification_key().to_string();
    let recipient = signed.identity.recipient().to_string();
    let text = format!(" {recipient}, {recipient}\n");
    let trust = Trust::parse([key.as_str()], [text.as_str()]).expect("right");
    assert_eq!(
        (trust.verification_keys.len(), trust.recipients.len()),
        (1, 2)
    );
    assert_eq!(trust.fingerprints().len(), 1);
    assert!(
        Trust::parse(["ed25519:07"], [])
            .expect_err("short")
            .contains("ed25519:07")
    );
    assert!(
        Trust::parse([], ["age1x"])
            .expect_err("short")
            .contains("age1x")
    );
    assert_eq!(
        Trust::parse([""], [" "]).expect("nothing"),
        Trust::default()
    );
}
