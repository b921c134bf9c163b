use expect_test::expect;

use super::*;
use crate::go::{GoDuration, Time};
use crate::meta::StringMap;
use crate::velero::{BackupPhase, DEFAULT_TTL};

fn time(text: &str) -> Time {
    text.parse().expect(text)
}

fn policy(text: &str) -> Policy {
    text.parse().expect(text)
}

fn point(name: &str, taken: &str, phase: BackupPhase) -> Point {
    Point {
        name: name.to_owned(),
        taken: time(taken),
        phase,
        expiration: None,
        verified: false,
        damaged: false,
        holds: Vec::new(),
        archived: None,
        used_by: String::new(),
    }
}

fn scope(now: &str) -> Scope {
    Scope {
        location: "default".to_owned(),
        now: time(now),
        store_clock: None,
        guard: Guard::default(),
    }
}

fn plan(now: &str, policy: Option<&str>, points: Vec<Point>) -> RetentionPlan {
    let series = Series {
        name: "nightly".to_owned(),
        policy: policy.map(self::policy),
        protected: true,
        foreign: false,
        points,
    };
    RetentionPlan::new(&scope(now), vec![series])
}

fn kept(plan: &RetentionPlan) -> Vec<&str> {
    plan.series
        .iter()
        .flat_map(|series| &series.decisions)
        .filter(|decision| decision.action == Action::Keep)
        .map(|decision| decision.name.as_str())
        .collect()
}

/// One complete backup per day at two, the newest on the 20th of November.
fn nights(count: u64) -> Vec<Point> {
    (0..count)
        .map(|night| {
            let taken =
                time("2026-11-20T02:00:00Z").timestamp().as_second() - night as i64 * 86_400;
            let taken = Time::new(jiff::Timestamp::from_second(taken).expect("in range"));
            Point {
                taken,
                ..point(
                    &format!("n-{}", taken.compact()),
                    "2026-01-01T00:00:00Z",
                    BackupPhase::Completed,
                )
            }
        })
        .collect()
}

#[test]
fn policies_round_trip_through_their_text() {
    for (text, printed) in [
        (
            "last=3,daily=7,weekly=4,within=14d",
            "last=3,daily=7,weekly=4,within=2w",
        ),
        (" daily = 7 , last=1,", "last=1,daily=7"),
        (
            "yearly=all,zone=Europe/Berlin",
            "yearly=all,zone=Europe/Berlin",
        ),
        ("within=1y2w3d4h,failed=3d", "within=1y2w3d4h,failed=3d"),
        ("hourly=24,monthly=12,zone=UTC", "hourly=24,monthly=12"),
    ] {
        let read = policy(text);
        assert_eq!(read.to_string(), printed);
        assert_eq!(policy(printed), read);
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    let errors = [
        "",
        "last=0",
        "daily",
        "daily=7,daily=8",
        "dayly=7",
        "last=-1",
        "last=many",
        "within=14",
        "within=2m",
        "within=",
        "within=400y",
        "zone=Mars/Olympus,last=1",
    ]
    .map(|text| match text.parse::<Policy>() {
        Ok(policy) => panic!("`{text}` was taken as {policy}"),
        Err(error) => error.to_string(),
    });
    expect![[r#"
        it would keep nothing but the last good backup: give a count or a time, such as last=3
        it would keep nothing but the last good backup: give a count or a time, such as last=3
        `daily` is not of the form name=value, such as daily=7
        `daily` is given twice
        `dayly` is no rule: use last, hourly, daily, weekly, monthly, yearly, within, archive, failed or zone
        last: `-1` is no number up to 100000, and not `all`
        last: `many` is no number up to 100000, and not `all`
        within: `14` is no length of time: write hours, days, weeks or years, such as 36h, 14d, 2w, 1y
        within: `2m` is no length of time: write hours, days, weeks or years, such as 36h, 14d, 2w, 1y
        within: `` is no length of time: write hours, days, weeks or years, such as 36h, 14d, 2w, 1y
        within: `400y` is no length of time: write hours, days, weeks or years, such as 36h, 14d, 2w, 1y
        zone: time zone `Mars/Olympus` is not known here"#]].assert_eq(&errors.join("\n"));
}

#[test]
fn the_policy_for_a_location_goes_before_the_one_for_all() {
    let annotations = |pairs: &[(&str, &str)]| -> StringMap {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let both = annotations(&[
        ("salvor.dev/retention", "last=3"),
        ("salvor.dev/retention.offsite", "monthly=12"),
    ]);
    assert_eq!(policy_for(&both, "default"), Ok(Some(policy("last=3"))));
    assert_eq!(policy_for(&both, "offsite"), Ok(Some(policy("monthly=12"))));
    assert_eq!(policy_for(&annotations(&[]), "default"), Ok(None));
    let wrong = annotations(&[("salvor.dev/retention", "last")]);
    let error = policy_for(&wrong, "default").expect_err("it is not name=value");
    assert_eq!(error.to_string(), "annotation salvor.dev/retention");
}

#[test]
fn every_decision_says_why() {
    let mut points = nights(40);
    points[2].phase = BackupPhase::PartiallyFailed;
    points[3].phase = BackupPhase::Failed;
    points[9].phase = BackupPhase::Failed;
    points[12].holds = vec!["audit 2026, by legal".to_owned()];
    points[13].used_by = "restore r1".to_owned();
    points[14].phase = BackupPhase::Finalizing;
    points[15].verified = true;
    points.push(point("odd", "2027-03-01T00:00:00Z", BackupPhase::Completed));
    let plan = plan(
        "2026-11-20T12:00:00Z",
        Some("last=2,daily=4,weekly=2,monthly=1,within=36h"),
        points,
    );
    expect![[r#"
        location default at 2026-11-20T12:00:00Z
        series nightly: last=2,daily=4,weekly=2,monthly=1,within=1d12h
          odd keep: dated in the future, within 1d12h
          n-20261120020000 keep: last good one, last 1, daily 2026-11-20, weekly 2026-W47, monthly 2026-11, within 1d12h
          n-20261119020000 keep: last 2, daily 2026-11-19, within 1d12h
          n-20261118020000 keep: daily 2026-11-18 (partial, none complete)
          n-20261117020000 keep: failed recently
          n-20261116020000 keep: daily 2026-11-16
          n-20261115020000 keep: daily 2026-11-15, weekly 2026-W46
          n-20261114020000 remove: no rule keeps it
          n-20261113020000 remove: no rule keeps it
          n-20261112020000 remove: no rule keeps it
          n-20261111020000 remove: failed 9d ago
          n-20261110020000 remove: no rule keeps it
          n-20261109020000 remove: no rule keeps it
          n-20261108020000 keep: held: audit 2026, by legal
          n-20261107020000 keep: in use by restore r1
          n-20261106020000 keep: not finished: Finalizing
          n-20261105020000 keep: last verified one
          n-20261104020000 remove: no rule keeps it
          n-20261103020000 remove: no rule keeps it
          n-20261102020000 remove: no rule keeps it
          n-20261101020000 remove: no rule keeps it
          n-20261031020000 remove: no rule keeps it
          n-20261030020000 remove: no rule keeps it
          n-20261029020000 remove: no rule keeps it
          n-20261028020000 remove: no rule keeps it
          n-20261027020000 remove: no rule keeps it
          n-20261026020000 remove: no rule keeps it
          n-20261025020000 remove: no rule keeps it
          n-20261024020000 remove: no rule keeps it
          n-20261023020000 remove: no rule keeps it
          n-20261022020000 remove: no rule keeps it
          n-20261021020000 remove: no rule keeps it
          n-20261020020000 remove: no rule keeps it
          n-20261019020000 remove: no rule keeps it
          n-20261018020000 remove: no rule keeps it
          n-20261017020000 remove: no rule keeps it
          n-20261016020000 remove: no rule keeps it
          n-20261015020000 remove: no rule keeps it
          n-20261014020000 remove: no rule keeps it
          n-20261013020000 remove: no rule keeps it
          n-20261012020000 remove: no rule keeps it
        keep 11, remove 30 of 41
        stopped: 30 of 41 backups of series nightly would go, more than 50 percent; confirm with a27d63011dbf
    "#]].assert_eq(&plan.to_string());
}

#[test]
fn without_a_policy_expiration_decides() {
    let mut points = nights(4);
    for (point, expiration) in points.iter_mut().zip([
        Some("2026-11-19T02:00:00Z"),
        Some("2026-11-17T02:00:00Z"),
        Some("2026-11-20T12:00:01Z"),
        None,
    ]) {
        point.expiration = expiration.map(time);
    }
    points.push(Point {
        expiration: Some(time("2026-11-20T11:59:10Z")),
        ..point("failed", "2026-10-21T02:00:00Z", BackupPhase::Failed)
    });
    let protected = plan("2026-11-20T12:00:00Z", None, points.clone());
    expect![[r#"
        location default at 2026-11-20T12:00:00Z
        series nightly: expiration
          n-20261120020000 keep: last good one
          n-20261119020000 remove: expired 3d ago
          n-20261118020000 keep: expires 2026-11-20T12:00:01Z
          n-20261117020000 keep: no expiration
          failed remove: expired 50s ago
        keep 3, remove 2 of 5
    "#]]
    .assert_eq(&protected.to_string());
    let series = Series {
        name: "by hand".to_owned(),
        policy: None,
        protected: false,
        foreign: false,
        points,
    };
    let open = RetentionPlan::new(&scope("2026-11-20T12:00:00Z"), vec![series]);
    assert_eq!(
        kept(&open).len(),
        2,
        "as Velero: the last good one goes as well"
    );
}

#[test]
fn partial_and_failed_backups_take_no_place_from_complete_ones() {
    let mut points = nights(30);
    for point in &mut points[..10] {
        point.phase = BackupPhase::PartiallyFailed;
    }
    let plan = plan("2026-11-20T12:00:00Z", Some("daily=7"), points);
    let kept = kept(&plan);
    // Seven days with a complete one, and seven of the days that have only a partial one.
    assert_eq!(kept.len(), 14);
    assert_eq!(
        kept.iter()
            .filter(|name| **name <= "n-20261110020000")
            .count(),
        7
    );
}

#[test]
fn days_begin_where_the_zone_says() {
    let points = || {
        vec![
            point("evening", "2026-11-20T14:30:00Z", BackupPhase::Completed),
            point("night", "2026-11-20T15:30:00Z", BackupPhase::Completed),
            point("new-year", "2026-12-31T15:30:00Z", BackupPhase::Completed),
        ]
    };
    let now = "2027-01-10T00:00:00Z";
    let utc = plan(now, Some("daily=9"), points());
    assert_eq!(kept(&utc), ["new-year", "night"]);
    let seoul = plan(now, Some("daily=9,yearly=2,zone=Asia/Seoul"), points());
    assert_eq!(kept(&seoul), ["new-year", "night", "evening"]);
    assert!(
        seoul
            .to_string()
            .contains("new-year keep: last good one, daily 2027-01-01, yearly 2027")
    );
}

#[test]
fn an_hour_that_comes_twice_is_two_hours() {
    let points = vec![
        point("first", "2026-10-25T00:30:00Z", BackupPhase::Completed),
        point("second", "2026-10-25T01:30:00Z", BackupPhase::Completed),
    ];
    let plan = plan(
        "2026-10-25T12:00:00Z",
        Some("hourly=2,zone=Europe/Berlin"),
        points,
    );
    assert_eq!(kept(&plan), ["second", "first"]);
}

#[test]
fn a_plan_that_takes_too_much_stops_until_it_is_confirmed() {
    let plan = |share| {
        let series = Series {
            name: "nightly".to_owned(),
            policy: Some(policy("last=3")),
            protected: true,
            foreign: false,
            points: nights(30),
        };
        let guard = Guard {
            share,
            at_least: 10,
        };
        RetentionPlan::new(
            &Scope {
                guard,
                ..scope("2026-11-20T12:00:00Z")
            },
            vec![series],
        )
    };
    let guarded = plan(50);
    let stop = guarded.to_remove(None).expect_err("27 of 30 are too many");
    assert_eq!(
        stop.to_string(),
        "27 of 30 backups of series nightly would go, more than 50 percent"
    );
    assert!(guarded.to_remove(Some("000000000000")).is_err());
    assert_eq!(
        guarded
            .to_remove(Some(&guarded.digest()))
            .map(|names| names.len()),
        Ok(27)
    );
    assert_eq!(plan(90).to_remove(None).map(|names| names.len()), Ok(27));
    assert!(plan(89).to_remove(None).is_err());
    let last = guarded.to_string();
    assert!(
        last.ends_with(&format!("confirm with {}\n", guarded.digest())),
        "{last}"
    );
}

#[test]
fn clocks_that_differ_stop_every_removal() {
    let series = |policy_text: &str| Series {
        name: "nightly".to_owned(),
        policy: Some(policy(policy_text)),
        protected: true,
        foreign: false,
        points: nights(4),
    };
    let ahead = Scope {
        store_clock: Some(time("2025-11-20T12:00:00Z")),
        ..scope("2026-11-20T12:00:00Z")
    };
    let plan = RetentionPlan::new(&ahead, vec![series("last=3")]);
    assert!(matches!(
        plan.to_remove(Some(&plan.digest())),
        Err(Stop::Clock { .. })
    ));
    let nothing = RetentionPlan::new(&ahead, vec![series("last=9")]);
    assert_eq!(nothing.to_remove(None), Ok(vec![]));
}

#[test]
fn a_backup_under_a_policy_carries_no_expiration() {
    let started = time("2026-11-20T02:00:00Z");
    assert_eq!(
        expiration(Some(&policy("last=1")), started, DEFAULT_TTL),
        None
    );
    assert_eq!(
        expiration(None, started, GoDuration::from_hours(48)),
        Some(time("2026-11-22T02:00:00Z"))
    );
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Constants of Knuth's MMIX generator; the upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn whatever_is_there_the_promises_hold() {
    let now = time("2026-11-20T12:00:00Z");
    let mut removed = 0;
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let points: Vec<Point> = (0..dice.roll(40))
            .map(|n| {
                let age = dice.roll(400 * 24) as i64 * 3_600 - 100 * 3_600;
                let taken = jiff::Timestamp::from_second(now.timestamp().as_second() - age);
                let taken = Time::new(taken.expect("in range"));
                let phase = match dice.roll(8) {
                    0 => BackupPhase::Failed,
                    1 => BackupPhase::PartiallyFailed,
                    2 => BackupPhase::InProgress,
                    3 => BackupPhase::Other("Hibernating".to_owned()),
                    _ => BackupPhase::Completed,
                };
                Point {
                    name: format!("p{n}"),
                    taken,
                    phase,
                    expiration: (dice.roll(3) > 0).then(|| taken.plus(DEFAULT_TTL.0)),
                    verified: dice.roll(6) == 0,
                    damaged: false,
                    holds: (dice.roll(9) == 0)
                        .then(|| "h".to_owned())
                        .into_iter()
                        .collect(),
                    archived: None,
                    used_by: String::new(),
                }
            })
            .collect();
        let rules = [
            "last=1",
            "daily=3,weekly=2",
            "within=10d",
            "hourly=5,monthly=2,yearly=1,failed=2d",
        ];
        let rule = rules.get(dice.roll(5) as usize).copied();
        let plan = plan("2026-11-20T12:00:00Z", rule, points.clone());
        let gone: Vec<&str> = plan.series[0].removed().collect();
        removed += gone.len();
        let went = |point: &&Point| gone.contains(&point.name.as_str());
        // Nothing that is held, unfinished or from the future goes.
        for point in points.iter().filter(went) {
            assert!(
                point.holds.is_empty() && point.phase.is_final() && point.taken <= now,
                "{plan}"
            );
        }
        // The newest good one and the newest verified one stay.
        let good = |point: &&Point| point.phase == BackupPhase::Completed && point.taken <= now;
        let newest = |points: &mut dyn Iterator<Item = &Point>| {
            points
                .max_by_key(|point| (point.taken, point.name.clone()))
                .cloned()
        };
        let last = newest(&mut points.iter().filter(good));
        let verified = newest(&mut points.iter().filter(good).filter(|point| point.verified));
        for point in last.iter().chain(&verified) {
            assert!(!went(&point), "{plan}");
        }
        // One decision per backup, each with a reason; the order of the input means nothing.
        assert_eq!(plan.series[0].decisions.len(), points.len());
        assert!(
            plan.series[0]
                .decisions
                .iter()
                .all(|decision| !decision.reasons.is_empty())
        );
        let backwards = self::plan(
            "2026-11-20T12:00:00Z",
            rule,
            points.iter().rev().cloned().collect(),
        );
        assert_eq!(backwards, plan);
        // Carried out, it leaves nothing more to remove.
        let left: Vec<Point> = points
            .iter()
            .filter(|point| !went(point))
            .cloned()
            .collect();
        let again = self::plan("2026-11-20T12:00:00Z", rule, left);
        assert_eq!(again.series[0].removed().count(), 0, "{plan}\n{again}");
    }
    assert!(
        removed > 5_000,
        "only {removed} were removed: the cases are too tame"
    );
}

#[test]
fn what_is_kept_for_long_and_not_needed_at_hand_is_archived() {
    let mut points = nights(9);
    points[4].holds = vec!["audit".to_owned()];
    points[5].archived = Some("GLACIER".to_owned());
    points[6].phase = BackupPhase::Failed;
    points[7].used_by = "restore r".to_owned();
    let now = "2026-11-20T12:00:00Z";
    let plan = plan(now, Some("daily=30,archive=3d:GLACIER,failed=60d"), points);
    let names: Vec<&str> = plan.to_archive().map(|(name, _)| name).collect();
    assert_eq!(names, ["n-20261117020000", "n-20261112020000"]);
    let text = plan.to_string();
    for line in [
        "  n-20261120020000 keep: last good one, daily 2026-11-20\n",
        "  n-20261117020000 archive to GLACIER: daily 2026-11-17\n",
        "  n-20261115020000 keep in GLACIER: daily 2026-11-15\n",
        "keep 9 (2 to be archived), remove 0 of 9\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_policy_without_archiving_archives_nothing_and_a_stopped_plan_neither() {
    let now = "2026-11-20T12:00:00Z";
    assert_eq!(
        plan(now, Some("daily=30"), nights(9)).to_archive().count(),
        0
    );
    assert_eq!(plan(now, None, nights(9)).to_archive().count(), 0);
    let stopped = plan(now, Some("daily=5,archive=1d:GLACIER"), nights(30));
    assert!(stopped.stop.is_some());
    assert_eq!(stopped.to_archive().count(), 0);
    // Not yet, by a second.
    let young = nights(2);
    let soon = plan(
        "2026-11-20T01:59:59Z",
        Some("last=9,archive=1d:GLACIER"),
        young.clone(),
    );
    assert_eq!(soon.to_archive().count(), 0);
    let due = plan(
        "2026-11-20T02:00:00Z",
        Some("last=9,archive=1d:GLACIER"),
        young,
    );
    assert_eq!(due.to_archive().count(), 1);
}

#[test]
fn a_rule_of_archiving_is_read_and_printed() {
    for text in [
        "last=3,archive=90d:DEEP_ARCHIVE",
        "last=3,archive=1y:STANDARD_IA",
    ] {
        let read: Policy = text.parse().expect(text);
        assert_eq!(read.to_string().parse::<Policy>(), Ok(read), "{text}");
    }
    for text in [
        "last=3,archive=90d",
        "last=3,archive=GLACIER",
        "last=3,archive=90d:glacier",
        "last=3,archive=90d:",
        "last=3,archive=x:GLACIER",
        "archive=90d:GLACIER",
    ] {
        assert!(text.parse::<Policy>().is_err(), "{text}");
    }
    assert_eq!(super::mark("DEEP_ARCHIVE"), "DEEP_ARCHIVE, retrieval 12h");
    assert_eq!(
        super::marked_class(&super::mark("STANDARD_IA")),
        "STANDARD_IA"
    );
}
