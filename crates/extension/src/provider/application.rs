//! Questions to an application adapter: a dump is a stream whose end says that it is whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::{Body, Conversation, Provider};
use crate::error::{CallError, ProviderError};

/// Most applications that one answer may name.
const MAX_APPLICATIONS: usize = 10_000;

/// An application that an adapter knows how to deal with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// What the adapter knows it by; the same application always has the same.
    pub id: String,
    /// Its namespace.
    pub namespace: String,
    /// For people.
    pub name: String,
    /// What it is, such as `postgresql`.
    pub engine: String,
    /// The engine's version, where it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// A time in which nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quiesced {
    /// What it is released by.
    pub token: String,
    /// After how many seconds the adapter releases it by itself, whoever is gone by then.
    pub seconds: u32,
}

/// What a dump is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DumpInfo {
    /// Its form, in the adapter's words; handed back with it.
    pub format: String,
    /// The engine's version that made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// What an adapter finds in a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether it can be restored.
    pub sound: bool,
    /// What is wrong with it, or worth knowing.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// What a restore came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// What the user should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What becomes of data that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreMode {
    /// The restore is refused with `AlreadyExists`.
    IntoEmpty,
    /// It is replaced, when the dump has arrived whole.
    Replace,
}

/// A provider that knows an application.
#[derive(Clone, Debug)]
pub struct ApplicationClient(Provider);

/// A dump on its way to an adapter.
#[derive(Debug)]
pub struct Sending(Conversation);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    application: &'a Application,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<&'a DumpInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<RestoreMode>,
}

fn about(application: &Application) -> About<'_> {
    About {
        application,
        seconds: None,
        token: None,
        dump: None,
        mode: None,
    }
}

#[derive(Deserialize)]
struct Nothing {}

impl ApplicationClient {
    /// Asks this provider, which should be of that kind.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self(provider)
    }

    /// The provider that is asked.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.0
    }

    /// The applications that it sees in some objects of a cluster. It may only name namespaces that it was shown.
    ///
    /// # Errors
    /// The provider fails, or names others.
    pub async fn discover(&self, objects: &[Value]) -> Result<Vec<Application>, ProviderError> {
        #[derive(Serialize)]
        struct Arguments<'a> {
            objects: &'a [Value],
        }
        #[derive(Deserialize)]
        struct Found {
            applications: Vec<Application>,
        }
        let method = "discover";
        let Found { applications } = self.0.ask(method, Arguments { objects }).await?;
        let namespaces = objects
            .iter()
            .filter_map(|object| object["metadata"]["namespace"].as_str());
        let namespaces: BTreeSet<&str> = namespaces.collect();
        let ids: BTreeSet<&str> = applications.iter().map(|found| found.id.as_str()).collect();
        let wrong = if applications.len() > MAX_APPLICATIONS {
            Some("too many applications")
        } else if ids.len() != applications.len() || ids.contains("") {
            Some("applications without an id of their own")
        } else if applications
            .iter()
            .any(|found| !namespaces.contains(found.namespace.as_str()))
        {
            Some("applications in namespaces that it was not shown")
        } else {
            None
        };
        match wrong {
            Some(wrong) => Err(self.0.failed(method, CallError::Meaningless(wrong))),
            None => Ok(applications),
        }
    }

    /// Holds writes back for at most so many seconds; shorter is the adapter's right, longer is not.
    ///
    /// # Errors
    /// The provider refuses or fails, or promises no end.
    pub async fn quiesce(
        &self,
        application: &Application,
        seconds: u32,
    ) -> Result<Quiesced, ProviderError> {
        let arguments = About {
            seconds: Some(seconds),
            ..about(application)
        };
        let quiesced: Quiesced = self.0.ask("quiesce", arguments).await?;
        if quiesced.seconds > seconds || quiesced.token.is_empty() {
            let wrong = CallError::Meaningless(
                "a hold that is longer than was asked for, or cannot be released",
            );
            return Err(self.0.failed("quiesce", wrong));
        }
        Ok(quiesced)
    }

    /// Lets writes go on. A hold that is over already is released with success.
    ///
    /// # Errors
    /// The provider fails.
    pub async fn release(
        &self,
        application: &Application,
        quiesced: &Quiesced,
    ) -> Result<(), ProviderError> {
        let arguments = About {
            token: Some(&quiesced.token),
            ..about(application)
        };
        let Nothing {} = self.0.ask("release", arguments).await?;
        Ok(())
    }

    /// Its data as a stream.
    ///
    /// # Errors
    /// The provider refuses or fails.
    pub async fn dump(&self, application: &Application) -> Result<(DumpInfo, Body), ProviderError> {
        self.0.ask_for_body("dump", about(application)).await
    }

    /// Begins to show it a dump, so that it says whether the dump could be restored; nothing is changed.
    ///
    /// # Errors
    /// The question cannot be put into JSON.
    pub fn verify(
        &self,
        application: &Application,
        dump: &DumpInfo,
    ) -> Result<Sending, ProviderError> {
        let arguments = About {
            dump: Some(dump),
            ..about(application)
        };
        self.0.converse("verify", arguments).map(Sending)
    }

    /// Begins to give it a dump to restore. Nothing may change before the dump has arrived whole.
    ///
    /// # Errors
    /// The question cannot be put into JSON.
    pub fn restore(
        &self,
        application: &Application,
        dump: &DumpInfo,
        mode: RestoreMode,
    ) -> Result<Sending, ProviderError> {
        let arguments = About {
            dump: Some(dump),
            mode: Some(mode),
            ..about(application)
        };
        self.0.converse("restore", arguments).map(Sending)
    }
}

impl Sending {
    /// Sends the next bytes of the dump.
    ///
    /// # Errors
    /// The provider listens no longer: [`Sending::reason`] has its reason.
    pub async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), CallError> {
        self.0.write(bytes).await
    }

    /// Why the provider listens no longer.
    pub async fn reason(self, unheard: CallError) -> ProviderError {
        self.0.reason(unheard).await
    }

    /// The dump is whole: what the adapter finds in it.
    ///
    /// # Errors
    /// The provider fails.
    pub async fn verdict(self) -> Result<Verdict, ProviderError> {
        self.0.finish().await
    }

    /// The dump is whole: it is restored.
    ///
    /// # Errors
    /// The provider refuses or fails.
    pub async fn restored(self) -> Result<Restored, ProviderError> {
        self.0.finish().await
    }
}
