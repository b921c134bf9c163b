//! Which VolumeSnapshotClass a snapshot is taken with, as Velero chooses it.

use salvor_api::meta::StringMap;
use serde_json::Value;

/// Annotation of a claim or a storage class, label of a snapshot class; with `_<driver>`, annotation of a backup.
const KEY: &str = "velero.io/csi-volumesnapshot-class";
/// The same of group snapshots.
pub(super) const GROUP_KEY: &str = "velero.io/csi-volumegroupsnapshot-class";
const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";

/// What of a VolumeSnapshotClass decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotClass {
    /// Its name.
    pub name: String,
    /// The driver it is for.
    pub driver: String,
    /// Whether it has Velero's label.
    pub labelled: bool,
    /// Whether it is the cluster's default.
    pub default: bool,
}

impl SnapshotClass {
    /// Of the object.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        Self::keyed(object, KEY)
    }

    pub(super) fn keyed(object: &Value, key: &str) -> Self {
        let metadata = &object["metadata"];
        let says = |value: &Value| value.as_str().is_some_and(|value| value != "false");
        Self {
            name: metadata["name"].as_str().unwrap_or_default().to_owned(),
            driver: object["driver"].as_str().unwrap_or_default().to_owned(),
            labelled: says(&metadata["labels"][key]),
            default: says(&metadata["annotations"][DEFAULT]),
        }
    }
}

/// Classes that are asked for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassWishes {
    /// By an annotation of the claim.
    pub claim: Option<String>,
    /// By the volume policy that chose the snapshot.
    pub policy: Option<String>,
    /// By an annotation of the claim's storage class.
    pub storage_class: Option<String>,
    /// By an annotation of the backup for this driver.
    pub backup: Option<String>,
}

impl ClassWishes {
    /// What a claim, its storage class and a backup's annotations ask for.
    #[must_use]
    pub fn of(
        claim: &Value,
        policy: Option<&str>,
        storage_class: Option<&Value>,
        backup: &StringMap,
        driver: &str,
    ) -> Self {
        Self::keyed(KEY, claim, policy, storage_class, backup, driver)
    }

    pub(super) fn keyed(
        key: &str,
        claim: &Value,
        policy: Option<&str>,
        storage_class: Option<&Value>,
        backup: &StringMap,
        driver: &str,
    ) -> Self {
        let annotated = |object: &Value| {
            let wish = object["metadata"]["annotations"][key].as_str();
            wish.map(str::to_owned)
        };
        Self {
            claim: annotated(claim),
            policy: policy.map(str::to_owned),
            storage_class: storage_class.and_then(annotated),
            backup: backup
                .get(&format!("{key}_{}", driver.to_lowercase()))
                .cloned(),
        }
    }
}

/// Why a class was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// The claim's annotation.
    Claim,
    /// The volume policy.
    Policy,
    /// The storage class's annotation.
    StorageClass,
    /// The backup's annotation.
    Backup,
    /// Its label.
    Label,
    /// It is the default.
    Default,
    /// There is no other.
    Only,
}

/// The class that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChoice {
    /// Its name.
    pub name: String,
    /// Why this one.
    pub by: ChosenBy,
    /// Wishes that could not be met, and other things that users should know.
    pub notes: Vec<String>,
}

/// Why no class was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// There is none.
    #[error("no VolumeSnapshotClass is for driver {driver}: create one")]
    None {
        /// The driver.
        driver: String,
    },
    /// There are several, and nothing says which.
    #[error(
        "driver {driver} has the VolumeSnapshotClasses {}: give one of them the label {KEY}=true, or name one by that \
         annotation of the claim", classes.join(", ")
    )]
    Ambiguous {
        /// The driver.
        driver: String,
        /// The classes.
        classes: Vec<String>,
    },
}

/// Chooses: the claim's wish, the policy's, the storage class's, the backup's; a labelled class, the default, the only
/// one. A wish for a class that is not there or of another driver is noted and passed over.
///
/// # Errors
/// There is none, or several and nothing to choose by.
pub fn choose_class(
    driver: &str,
    classes: &[SnapshotClass],
    wishes: &ClassWishes,
) -> Result<ClassChoice, ClassError> {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let mut notes = Vec::new();
    let asked = [
        (&wishes.claim, ChosenBy::Claim, "the claim's annotation"),
        (&wishes.policy, ChosenBy::Policy, "the volume policy"),
        (
            &wishes.storage_class,
            ChosenBy::StorageClass,
            "the storage class's annotation",
        ),
        (&wishes.backup, ChosenBy::Backup, "the backup's annotation"),
    ];
    for (wish, by, who) in asked {
        let Some(wish) = wish else { continue };
        let found = classes.iter().find(|class| same(&class.name, wish));
        let reason = match found {
            Some(class) if same(&class.driver, driver) => {
                let name = class.name.clone();
                return Ok(ClassChoice { name, by, notes });
            }
            Some(class) => format!("it is for driver {}", class.driver),
            None => "there is none of that name".to_owned(),
        };
        notes.push(format!(
            "{who} names the VolumeSnapshotClass {wish}, which is passed over: {reason}"
        ));
    }
    let mut fitting: Vec<&SnapshotClass> = classes
        .iter()
        .filter(|class| same(&class.driver, driver))
        .collect();
    fitting.sort_by(|a, b| a.name.cmp(&b.name));
    let chosen = fitting
        .iter()
        .find(|class| class.labelled)
        .map(|class| (class, ChosenBy::Label))
        .or_else(|| {
            let default = fitting.iter().find(|class| class.default);
            default.map(|class| (class, ChosenBy::Default))
        })
        .or(match fitting.as_slice() {
            [only] => Some((only, ChosenBy::Only)),
            _ => None,
        });
    let driver = driver.to_owned();
    match chosen {
        Some((class, by)) => Ok(ClassChoice {
            name: class.name.clone(),
            by,
            notes,
        }),
        None if fitting.is_empty() => Err(ClassError::None { driver }),
        None => Err(ClassError::Ambiguous {
            driver,
            classes: fitting.iter().map(|class| class.name.clone()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(name: &str, driver: &str, labelled: bool, default: bool) -> SnapshotClass {
        SnapshotClass {
            name: name.to_owned(),
            driver: driver.to_owned(),
            labelled,
            default,
        }
    }

    #[test]
    fn the_nearest_wish_that_fits_wins_then_label_default_and_the_only_one() {
        let wishes = |claim: &str, policy: &str, storage_class: &str, backup: &str| {
            let some = |wish: &str| Some(wish.to_owned()).filter(|wish| !wish.is_empty());
            ClassWishes {
                claim: some(claim),
                policy: some(policy),
                storage_class: some(storage_class),
                backup: some(backup),
            }
        };
        let many = [
            class("a", "d", false, true),
            class("b", "d", true, false),
            class("c", "d", false, false),
            class("other", "e", true, true),
        ];
        let two = [class("a", "d", false, false), class("c", "d", false, false)];
        use ChosenBy::*;
        let ambiguous = || {
            Err(ClassError::Ambiguous {
                driver: "d".into(),
                classes: vec!["a".into(), "c".into()],
            })
        };
        for (classes, wishes, expected, noted) in [
            (&many[..], wishes("c", "a", "b", "a"), Ok(("c", Claim)), 0),
            (&many[..], wishes("", "a", "b", "c"), Ok(("a", Policy)), 0),
            (
                &many[..],
                wishes("", "", "C", "a"),
                Ok(("c", StorageClass)),
                0,
            ),
            (&many[..], wishes("", "", "", "c"), Ok(("c", Backup)), 0),
            (
                &many[..],
                wishes("gone", "other", "", "c"),
                Ok(("c", Backup)),
                2,
            ),
            (&many[..], wishes("other", "", "", ""), Ok(("b", Label)), 1),
            (&many[..], wishes("", "", "", ""), Ok(("b", Label)), 0),
            (&many[..1], wishes("", "", "", ""), Ok(("a", Default)), 0),
            (&many[2..], wishes("", "", "", ""), Ok(("c", Only)), 0),
            (&two[..], wishes("", "", "", ""), ambiguous(), 0),
            (&two[..], wishes("gone", "", "", ""), ambiguous(), 0),
            (
                &many[3..],
                wishes("", "", "", ""),
                Err(ClassError::None { driver: "d".into() }),
                0,
            ),
        ] {
            let choice = choose_class("d", classes, &wishes);
            let notes = choice.as_ref().map_or(0, |choice| choice.notes.len());
            assert_eq!(notes, noted, "{wishes:?}");
            let choice = choice.map(|choice| (choice.name, choice.by));
            let expected = expected.map(|(name, by): (&str, _)| (name.to_owned(), by));
            assert_eq!(choice, expected, "{classes:?} {wishes:?}");
        }
    }

    #[test]
    fn wishes_and_classes_are_read_from_the_objects() {
        let annotated = |class: &str| json!({"metadata": {"annotations": {KEY: class}}});
        let backup = StringMap::from([(format!("{KEY}_disk.example.io"), "of-backup".to_owned())]);
        let wishes = ClassWishes::of(
            &annotated("of-claim"),
            Some("of-policy"),
            Some(&annotated("of-class")),
            &backup,
            "Disk.example.io",
        );
        assert_eq!(wishes.claim.as_deref(), Some("of-claim"));
        assert_eq!(wishes.policy.as_deref(), Some("of-policy"));
        assert_eq!(wishes.storage_class.as_deref(), Some("of-class"));
        assert_eq!(wishes.backup.as_deref(), Some("of-backup"));
        let object = json!({"metadata": {"name": "x", "labels": {KEY: "true"},
            "annotations": {DEFAULT: "false"}}, "driver": "d"});
        assert_eq!(SnapshotClass::of(&object), class("x", "d", true, false));
        assert_eq!(SnapshotClass::of(&json!({})), SnapshotClass::default());
    }
}
