//! `reader`: what the ephemeral container of `volume export` does.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use salvor_volume::export::reader::processes::root_of;
use salvor_volume::export::reader::stay::{come, stay};
use salvor_volume::export::reader::tree::{Packed, Remarks, pack};

use crate::args::agent::{ReadArgs, ReaderCommand};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Where the kernel tells of processes.
const PROCESSES: &str = "/proc";
/// Bytes of the archive that go out at once.
const PIECE: usize = 256 << 10;

/// Stays, or reads.
pub(super) async fn run(command: ReaderCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ReaderCommand::Stay { name, limit } => {
            let stayed = stay(&name, limit.0, &session.cancel).await;
            stayed.map_err(|error| Failure::caused(Exit::Internal, "wait for a reader", error))?;
            Ok(Exit::Done)
        }
        ReaderCommand::Read(args) => read(args, session).await,
    }
}

async fn read(args: ReadArgs, session: &Session) -> Result<Exit, Failure> {
    let reading = come(&args.name).await.map_err(|error| {
        Failure::caused(Exit::Internal, "find who waits for this reader", error)
    })?;
    // Whoever waits for this reader ends after its process, not before.
    reading.to_the_end();
    // A reader that is cancelled ends in the middle: the archive has no end then.
    let (taken, stall) = (Arc::new(Taken::default()), args.stall.0);
    let taking = Arc::clone(&taken);
    let packing = tokio::task::spawn_blocking(move || written(&args, &taking));
    let packed = tokio::select! {
        () = session.cancel.cancelled() => return Ok(Exit::Cancelled),
        () = taken.stops(stall) => {
            let text = format!("nobody took any of the archive for {} s", stall.as_secs());
            return Err(Failure::new(Exit::TimedOut, text));
        }
        packed = packing => packed,
    };
    let packed =
        packed.unwrap_or_else(|error| Err(Failure::caused(Exit::Internal, "read", error)))?;
    tell(&packed.changed, ": file changed as we read it", session);
    tell(&packed.failed, "", session);
    // As GNU tar ends.
    Ok(
        match (packed.failed.is_empty(), packed.changed.is_empty()) {
            (true, true) => Exit::Done,
            (true, false) => Exit::Differences,
            (false, _) => Exit::Partial,
        },
    )
}

/// How far whoever reads the archive is. A node does not close the output of a command whose client is gone: it just takes
/// no more of it, for ever.
#[derive(Debug, Default)]
struct Taken {
    waits: AtomicBool,
    writes: AtomicU64,
}

impl Taken {
    /// Comes back when a write has not ended for as long as `stall`, or twice that.
    async fn stops(&self, stall: Duration) {
        let now = || {
            let writes = self.writes.load(Ordering::Acquire);
            (self.waits.load(Ordering::Acquire), writes)
        };
        loop {
            let before = now();
            tokio::time::sleep(stall).await;
            if before.0 && before == now() {
                return;
            }
        }
    }
}

/// Standard output without its buffer, which is for lines.
struct Output<'a> {
    file: File,
    taken: &'a Taken,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.taken.waits.store(true, Ordering::Release);
        let written = self.file.write(bytes);
        self.taken.writes.fetch_add(1, Ordering::AcqRel);
        self.taken.waits.store(false, Ordering::Release);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn written(args: &ReadArgs, taken: &Taken) -> Result<Packed, Failure> {
    let failed = |error| Failure::caused(Exit::Internal, "", error);
    let root = match (&args.root, &args.container_id) {
        (Some(root), _) => root.clone(),
        (None, id) => {
            let id = id.as_deref().unwrap_or_default();
            root_of(Path::new(PROCESSES), id, args.shared_processes)
                .map_err(|error| Failure::caused(Exit::Refused, "", error))?
        }
    };
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output =
        output.map_err(|error| Failure::caused(Exit::Internal, "open standard output", error))?;
    let output = Output {
        file: File::from(output),
        taken,
    };
    let mut to = io::BufWriter::with_capacity(PIECE, output);
    pack(&root, &args.path, &mut to).map_err(failed)
}

/// One line each, which `volume export` reads: nothing before or behind them.
fn tell(remarks: &Remarks, what: &str, session: &Session) {
    for line in &remarks.lines {
        session.printer.remark(line);
    }
    if remarks.more > 0 {
        session
            .printer
            .remark(&format!("{} more{what}", remarks.more));
    }
}
