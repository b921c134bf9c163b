//! Restore.

use salvor_api::velero::RestorePhase;

use super::backup::{command, container, hook_filters, hook_status, names, on_error};
use super::definition::{Body, age, column};
use super::schema::{
    Field, Schema, config_map, count, duration, flag, label_selector, list, map, object, text,
    time, word,
};

pub(super) fn restore() -> Body {
    Body {
        doc: "Brings objects of a backup, and data of its volumes, into this cluster.",
        columns: vec![
            column("Backup", "string", ".spec.backupName"),
            column("Status", "string", ".status.phase"),
            column("Errors", "integer", ".status.errors"),
            column("Warnings", "integer", ".status.warnings"),
            age(),
        ],
        spec: object("What to restore, and how.", spec()),
        status: object("What came of it.", status()),
    }
}

fn spec() -> Vec<Field> {
    vec![
        ("backupName", text("Backup to restore. Not together with scheduleName.")),
        ("excludedNamespaces", names("Namespaces of the backup to leave out.")),
        ("excludedResources", names("Resources of the backup to leave out.")),
        (
            "existingResourcePolicy",
            text("What happens to an object that is there and differs: `none` leaves it, `update` patches it.")
                .nullable(),
        ),
        ("hooks", hooks()),
        (
            "includeClusterResources",
            flag("Whether cluster-scoped objects are restored; absent means those that belong to what is restored.")
                .nullable(),
        ),
        ("includedNamespaces", names("Namespaces of the backup to restore; empty means all.")),
        ("includedResources", names("Resources of the backup to restore; empty means all.")),
        (
            "itemOperationTimeout",
            duration("How long asynchronous operations on items may take; absent means 4 hours."),
        ),
        (
            "labelSelector",
            label_selector("Only objects with these labels. Not together with orLabelSelectors.").nullable(),
        ),
        ("namespaceMapping", map("From a namespace of the backup to the namespace it is restored into.")),
        (
            "orLabelSelectors",
            list(
                "Only objects that match any of these.",
                label_selector("Which objects, by their labels."),
            )
            .nullable(),
        ),
        ("preserveNodePorts", flag("Whether services keep their node ports.").nullable()),
        (
            "resourceModifier",
            config_map("ConfigMap with rules that change objects before they are created.").nullable(),
        ),
        (
            "resourcePolicy",
            config_map("ConfigMap with policies for volumes and resources.").nullable(),
        ),
        ("restorePVs", flag("Whether volumes are restored with their data.").nullable()),
        (
            "restoreStatus",
            object(
                "Resources whose status is restored; absent means none.",
                vec![
                    ("excludedResources", names("Resources whose status is not restored.")),
                    ("includedResources", names("Resources whose status is restored; empty means all.")),
                ],
            )
            .nullable(),
        ),
        ("scheduleName", text("Restore the newest complete backup of this Schedule.")),
        (
            "skipDefaultResourceModifier",
            flag("Whether the modifier rules of the server are left out.").nullable(),
        ),
        (
            "uploaderConfig",
            object(
                "How volume data is downloaded.",
                vec![
                    (
                        "parallelFilesDownload",
                        count("How many files are written at the same time."),
                    ),
                    ("writeSparseFiles", flag("Whether runs of zeros become holes.").nullable()),
                ],
            )
            .nullable(),
        ),
    ]
}

fn hooks() -> Schema {
    let exec = object(
        "A command in a container that runs.",
        vec![
            ("command", command()),
            ("container", container()),
            (
                "execTimeout",
                duration("How long it may run; absent means 30 seconds."),
            ),
            ("onError", on_error()),
            (
                "waitForReady",
                flag("Whether to wait until the container is ready, not only running.").nullable(),
            ),
            (
                "waitTimeout",
                duration("How long to wait for the container; absent or zero means without end."),
            ),
        ],
    );
    let init = object(
        "Init containers that are added to the pod.",
        vec![
            (
                "initContainers",
                list(
                    "Containers as a pod spells them; name, image and command are needed.",
                    object("", Vec::new()).open(),
                )
                .open(),
            ),
            ("timeout", duration("How long they may take.")),
        ],
    );
    let hook = object(
        "One hook: exec or init.",
        vec![("exec", exec), ("init", init)],
    );
    let mut fields = hook_filters();
    fields.push((
        "postHooks",
        list("Hooks in the order in which they run.", hook),
    ));
    object(
        "Commands that run in pods once they are restored.",
        vec![(
            "resources",
            list(
                "One entry for each set of pods.",
                object("Hooks of one set of pods.", fields),
            ),
        )],
    )
}

fn status() -> Vec<Field> {
    // `Cancelled` is our word and is not written to a cluster: see `RestorePhase::in_cluster`.
    let phases: Vec<&str> = RestorePhase::WORDS
        .iter()
        .copied()
        .filter(|word| *word != "Cancelled")
        .collect();
    vec![
        ("completionTimestamp", time("When work ended, well or not.")),
        (
            "errors",
            count("Number of errors; they are in the results and the log."),
        ),
        ("failureReason", text("Why it failed as a whole.")),
        ("hookStatus", hook_status()),
        ("phase", word("Where it stands.", &phases)),
        (
            "progress",
            object(
                "How far it got; a hint.",
                vec![
                    ("itemsRestored", count("Items that are done.")),
                    (
                        "totalItems",
                        count("Items that are expected; this can change on the way."),
                    ),
                ],
            )
            .nullable(),
        ),
        (
            "restoreItemOperationsAttempted",
            count("Asynchronous operations begun."),
        ),
        (
            "restoreItemOperationsCompleted",
            count("Asynchronous operations that succeeded."),
        ),
        (
            "restoreItemOperationsFailed",
            count("Asynchronous operations that failed."),
        ),
        ("startTimestamp", time("When work began.")),
        (
            "validationErrors",
            names("What is wrong with the specification."),
        ),
        (
            "warnings",
            count("Number of warnings; they are in the results and the log."),
        ),
    ]
}
