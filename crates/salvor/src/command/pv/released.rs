//! `pv released`.

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_text::{Table, duration};
use salvor_volume::claims::released::{ClaimNow, Released, released};
use salvor_volume::claims::seen::Seen;

use crate::args::{Format, FormatArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Lists volumes that outlived their claim.
pub(crate) async fn run(args: &FormatArgs, session: &Session) -> Result<Exit, Failure> {
    let cluster = session.cluster(None).await?;
    let seen = Seen::read(&cluster, None).await?;
    let found = released(&seen.volumes, &seen.claims);
    match args.output {
        Format::Json => session.printer.json(&found)?,
        Format::Yaml => session.printer.yaml(&found)?,
        Format::Name => {
            let names: String = found
                .iter()
                .map(|one| format!("persistentvolume/{}\n", one.name))
                .collect();
            session.printer.result(&names)?;
        }
        Format::Table | Format::Wide => {
            if found.is_empty() {
                session
                    .printer
                    .remark(&session.messages.no_released_volumes());
                return Ok(Exit::Done);
            }
            let wide = args.output == Format::Wide;
            session
                .printer
                .result(&table(&found, session.now(), wide))?;
            for one in found.iter().filter(|one| one.reclaim_policy != "Retain") {
                let text = session
                    .messages
                    .not_retained(&one.name, &one.reclaim_policy);
                session.printer.warning(&text);
            }
        }
    }
    Ok(Exit::Done)
}

fn table(volumes: &[Released], now: Timestamp, wide: bool) -> String {
    let mut headers = vec![
        "NAME",
        "CAPACITY",
        "CLASS",
        "POLICY",
        "CLAIM",
        "WHERE",
        "SINCE",
        "CLAIM NOW",
    ];
    if wide {
        headers.extend(["NODE", "ACCESS", "AGE", "STATUS", "MESSAGE"]);
    }
    let mut table = Table::new(&headers);
    let age = |time: Option<Time>| {
        time.map_or_else(
            || "unknown".to_owned(),
            |time| {
                let seconds = Time::new(now).seconds_since(time);
                duration::short(u64::try_from(seconds).unwrap_or(0))
            },
        )
    };
    for volume in volumes {
        let claim = volume.claim.as_ref().map(ToString::to_string);
        let mut row = vec![
            volume.name.clone(),
            volume.capacity.clone(),
            volume.storage_class.clone(),
            volume.reclaim_policy.clone(),
            claim.unwrap_or_default(),
            format!("{} {}", volume.place.kind, volume.place.handle),
            age(volume.since),
            now_shown(volume.claim_now.as_ref()),
        ];
        if wide {
            row.extend([
                volume.place.nodes.join(", "),
                volume.access_modes.join(","),
                age(volume.created),
                volume.phase.clone(),
                volume.message.clone(),
            ]);
        }
        table.row(&row);
    }
    table.to_string()
}

fn now_shown(claim: Option<&ClaimNow>) -> String {
    match claim {
        None => "none".to_owned(),
        Some(claim) if claim.volume.is_empty() => claim.phase.clone(),
        Some(claim) => format!("{}, {}", claim.phase, claim.volume),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use salvor_volume::claims::volume::{ClaimRef, Place};

    use super::*;

    #[test]
    fn a_row_says_what_where_and_whose() {
        let time = |text: &str| text.parse::<Time>().ok();
        let volume = Released {
            name: "pvc-1".into(),
            phase: "Released".into(),
            message: String::new(),
            capacity: "8Gi".into(),
            storage_class: "local-path".into(),
            reclaim_policy: "Retain".into(),
            access_modes: vec!["ReadWriteOnce".into()],
            claim: Some(ClaimRef {
                namespace: "shop".into(),
                name: "data-db-0".into(),
                uid: "1".into(),
            }),
            place: Place {
                kind: "hostPath".into(),
                handle: "/opt/pvc-1".into(),
                nodes: vec!["node1".into()],
            },
            created: time("2026-01-01T00:00:00Z"),
            since: time("2026-03-01T10:00:00Z"),
            claim_now: None,
        };
        let now = "2026-03-03T10:00:00Z".parse().expect("a time");
        expect![[r#"
            NAME    CAPACITY   CLASS        POLICY   CLAIM            WHERE                 SINCE   CLAIM NOW   NODE    ACCESS          AGE   STATUS     MESSAGE
            pvc-1   8Gi        local-path   Retain   shop/data-db-0   hostPath /opt/pvc-1   2d      none        node1   ReadWriteOnce   61d   Released   
        "#]]
        .assert_eq(&table(&[volume], now, true));
    }
}
