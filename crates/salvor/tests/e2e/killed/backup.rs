//! A killed backup is no backup, or a whole one.

use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use super::{Stage, context, outlive_claim, points, seed, violations};
use crate::counted::{Counted, Ended, Measure, run};
use crate::support::Run;

/// What came of the points, so that a suite whose kills all miss is noticed.
#[derive(Debug, Default)]
struct Outcomes {
    killed: usize,
    done_before: usize,
    left_nothing: usize,
}

impl Outcomes {
    fn add(&mut self, ended: &Ended, there: bool, context: &str) {
        if ended.killed {
            self.killed += 1;
            self.left_nothing += usize::from(!there);
        } else {
            // It came to fewer steps than the one that was counted, and is done.
            assert_eq!(ended.run.code, 0, "{context}");
            assert!(there, "{context}");
            self.done_before += 1;
        }
    }

    fn assert_spread(&self, points: usize) {
        assert_eq!(self.killed + self.done_before, points);
        assert!(self.killed * 10 >= points * 8, "{self:?}");
        assert!(self.left_nothing * 2 >= points, "{self:?}");
    }
}

/// What must hold after a backup was killed: it is there and whole, or it is not there. True if it is there.
fn whole_or_absent(run: impl Fn(&str) -> Run, name: &str, context: &str) -> bool {
    let listed = run("backup get -o name");
    assert_eq!(listed.code, 0, "{context}: {}", listed.err);
    let listed_as = format!("backup.velero.io/{name}");
    let there = listed.out.lines().any(|line| line == listed_as);
    if there {
        let verified = run(&format!("backup verify {name}"));
        assert_eq!(
            verified.code, 0,
            "{context}: {}{}",
            verified.out, verified.err
        );
        let described = run(&format!("backup describe {name}"));
        assert!(
            described.out.contains("Completed"),
            "{context}: {}",
            described.out
        );
    } else {
        let described = run(&format!("backup describe {name}"));
        assert_eq!(
            described.code, 3,
            "{context}: {}{}",
            described.out, described.err
        );
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_whole_or_absent_and_its_name_is_free_again() {
    let Some(stage) = Stage::set("backupkill").await else {
        return;
    };
    let Some(s3) = or_skip(S3Server::start()) else {
        return;
    };
    s3.create_bucket("killed", false).expect("a bucket");
    let store = Counted::server(s3.address()).await;
    let bucket = |address: &str| {
        format!("s3://killed?endpoint=http://{address}&region=us-east-1&pathStyle=true")
    };
    let files = stage.files();
    let whole = |location: &str, name: &str, measure: Measure<'_>| {
        let ended = run(stage.counted(location, &stage.backup(name)), measure, None);
        ended.run.expect(0);
        ended.counted
    };
    whole(&stage.location(), "prepared", Measure::Requests(&stage.api));
    let requests = whole(
        &stage.location(),
        "by-requests",
        Measure::Requests(&stage.api),
    );
    let made = whole(&stage.location(), "by-files", Measure::Files(&files));
    let (direct, counted) = (bucket(s3.address()), bucket(&store.address()));
    whole(&counted, "prepared", Measure::Requests(&store));
    let stored = whole(&counted, "by-requests", Measure::Requests(&store));

    let mut outcomes = Outcomes::default();
    let in_folder = points(requests, 9, seed())
        .into_iter()
        .map(|point| (Measure::Requests(&stage.api), point));
    let in_folder = in_folder.chain(
        points(made, 7, seed() + 1)
            .into_iter()
            .map(|point| (Measure::Files(&files), point)),
    );
    for (number, (measure, point)) in in_folder.enumerate() {
        let name = format!("killed-{number:02}");
        let ended = run(
            stage.counted(&stage.location(), &stage.backup(&name)),
            measure,
            Some(point),
        );
        let context = context(&name, point, &ended);
        let there = whole_or_absent(|line| stage.run(line), &name, &context);
        outcomes.add(&ended, there, &context);
        assert_eq!(violations(&files), Vec::<String>::new(), "{context}");
        if there {
            let again = stage.run(&stage.backup(&name));
            assert_eq!(again.code, 4, "{context}: {}{}", again.out, again.err);
            continue;
        }
        if number % 4 == 0
            && files
                .join(format!("plugins/salvor/claims/backups/{name}"))
                .is_dir()
        {
            // Nobody can know yet that its writer is dead.
            let early = stage.run(&stage.backup(&name));
            let refused = early.code != 0 && early.err.contains("is being worked on by run");
            assert!(
                refused || early.code == 0,
                "{context}: {}{}",
                early.out,
                early.err
            );
            if early.code == 0 {
                continue;
            }
        }
        outlive_claim(&files, "backup", &name);
        let again = stage.run(&stage.backup(&name));
        assert_eq!(again.code, 0, "{context}: {}{}", again.out, again.err);
        stage.run(&format!("backup verify {name}")).expect(0);
    }
    for (number, point) in points(stored, 4, seed() + 2).into_iter().enumerate() {
        let name = format!("killed-{number}");
        let line = stage.backup(&name);
        let ended = run(
            stage.counted(&counted, &line),
            Measure::Requests(&store),
            Some(point),
        );
        let context = context(&name, point, &ended);
        let there = whole_or_absent(|line| stage.real.run(&direct, line), &name, &context);
        outcomes.add(&ended, there, &context);
        let new_name = format!("{name}-again");
        let again = stage.real.run(&direct, &stage.backup(&new_name));
        assert_eq!(again.code, 0, "{context}: {}{}", again.out, again.err);
        stage
            .real
            .run(&direct, &format!("backup verify {new_name}"))
            .expect(0);
    }
    outcomes.assert_spread(20);
    assert_eq!(violations(&files), Vec::<String>::new());
    stage.real.remove(&stage.fixture).await;
}
