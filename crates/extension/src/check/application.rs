//! An application adapter: `docs/formats/providers.md`, "Application adapter".

use bytes::Bytes;
use serde_json::Value;

use super::{Report, expect, expect_code};
use crate::error::{CallError, Code, ProviderError};
use crate::provider::application::{
    Application, ApplicationClient, DumpInfo, RestoreMode, Sending, Verdict,
};

/// Longest dump that a check keeps, in bytes: it is shown to the adapter again.
const MAX_DUMP: usize = 256 << 20;
/// How long writes are held back, in seconds.
const HOLD: u32 = 5;

/// Looks at every clause. `objects` should show one application, with data, that may be held for some seconds;
/// with `may_restore` its data is replaced by its own dump.
pub async fn check_application_adapter(
    adapter: &ApplicationClient,
    objects: &[Value],
    may_restore: bool,
    report: &mut Report,
) {
    let seen = adapter.discover(&[]).await.map_err(chain);
    report.note(
        "nothing is found where nothing is shown",
        seen.and_then(|found| expect(found.is_empty(), || format!("{found:?}"))),
    );
    let found = adapter.discover(objects).await.map_err(chain);
    let found = match found {
        Ok(found) => found,
        Err(seen) => return report.note("applications are found in objects", Err(seen)),
    };
    report.note("applications are found in objects", Ok(()));
    let Some(application) = found.first() else {
        return report.skip(
            "an application is held, dumped, verified and restored",
            "none was found in the objects that were given",
        );
    };
    report.note(
        "a hold ends by itself, and can be released twice",
        holds(adapter, application).await,
    );
    let dumped = dump(adapter, application).await;
    report.note(
        "a dump is a stream that says that it is whole",
        dumped.as_ref().map(drop).map_err(Clone::clone),
    );
    let Ok((info, bytes)) = dumped else { return };
    report.note(
        "its own dump is sound",
        sound(adapter, application, &info, &bytes).await,
    );
    report.note(
        "a dump that was cut short is not",
        cut(adapter, application, &info, &bytes).await,
    );
    report.note(
        "a dump that breaks off is not restored",
        broken_off(adapter, application, &info, &bytes).await,
    );
    if may_restore {
        report.note(
            "data that is there stands in the way, or is replaced when asked to",
            restores(adapter, application, &info, &bytes).await,
        );
    } else {
        report.skip("a dump is restored", "it was not allowed to replace data");
    }
}

fn chain(error: ProviderError) -> String {
    error.chain()
}

async fn holds(adapter: &ApplicationClient, application: &Application) -> Result<(), String> {
    let quiesced = adapter.quiesce(application, HOLD).await.map_err(chain)?;
    adapter
        .release(application, &quiesced)
        .await
        .map_err(chain)?;
    adapter.release(application, &quiesced).await.map_err(chain)
}

async fn dump(
    adapter: &ApplicationClient,
    application: &Application,
) -> Result<(DumpInfo, Vec<u8>), String> {
    let (info, body) = adapter.dump(application).await.map_err(chain)?;
    Ok((info, body.all(MAX_DUMP).await.map_err(chain)?))
}

/// Sends a dump, or a part of it.
async fn send(mut to: Sending, bytes: &[u8]) -> Result<Sending, ProviderError> {
    match to.write(Bytes::copy_from_slice(bytes)).await {
        Ok(()) => Ok(to),
        Err(unheard) => Err(to.reason(unheard).await),
    }
}

async fn verify(
    adapter: &ApplicationClient,
    application: &Application,
    info: &DumpInfo,
    bytes: &[u8],
) -> Result<Verdict, ProviderError> {
    let sending = adapter.verify(application, info)?;
    send(sending, bytes).await?.verdict().await
}

async fn sound(
    adapter: &ApplicationClient,
    application: &Application,
    info: &DumpInfo,
    bytes: &[u8],
) -> Result<(), String> {
    let verdict = verify(adapter, application, info, bytes)
        .await
        .map_err(chain)?;
    expect(verdict.sound, || verdict.findings.join("; "))
}

async fn cut(
    adapter: &ApplicationClient,
    application: &Application,
    info: &DumpInfo,
    bytes: &[u8],
) -> Result<(), String> {
    let verdict = verify(adapter, application, info, &bytes[..bytes.len() / 2]).await;
    let verdict = verdict.map_err(chain)?;
    let told = !verdict.sound && !verdict.findings.is_empty();
    expect(told, || {
        "half of it is called sound, or nothing is said of it".to_owned()
    })
}

/// What is there must be what was there.
async fn broken_off(
    adapter: &ApplicationClient,
    application: &Application,
    info: &DumpInfo,
    bytes: &[u8],
) -> Result<(), String> {
    let begun = adapter.restore(application, info, RestoreMode::Replace);
    let sending = send(begun.map_err(chain)?, bytes).await.map_err(chain)?;
    if let CallError::Timeout(_) = sending.reason(CallError::BrokenOff).await.source {
        return Err("it does not notice the end".to_owned());
    }
    let (_, after) = dump(adapter, application).await?;
    expect(after == bytes, || "its data has changed".to_owned())
}

async fn restores(
    adapter: &ApplicationClient,
    application: &Application,
    info: &DumpInfo,
    bytes: &[u8],
) -> Result<(), String> {
    let begun = adapter.restore(application, info, RestoreMode::IntoEmpty);
    let refused = match begun {
        Ok(sending) => match send(sending, bytes).await {
            Ok(sending) => sending.restored().await.map(drop),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    expect_code(refused, Code::AlreadyExists)?;
    let begun = adapter.restore(application, info, RestoreMode::Replace);
    let sending = send(begun.map_err(chain)?, bytes).await.map_err(chain)?;
    sending.restored().await.map_err(chain)?;
    let (_, after) = dump(adapter, application).await?;
    expect(after == bytes, || "another dump comes back".to_owned())
}
