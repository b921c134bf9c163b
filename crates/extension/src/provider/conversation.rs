//! Asking a provider: versions, bounds and time are dealt with here, once for all kinds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use salvor_api::meta::StringMap;
use salvor_seal::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{ProviderDefinition, ProviderKind};
use crate::credentials::SecretKey;
use crate::definition::VERSION;
use crate::error::{CallError, Complaint, ProviderError};
use crate::transport::{Answering, Reply, Transport};
use crate::wire::{Chunks, Sink};

/// A provider that can be asked. Clones share connections and limits.
#[derive(Clone)]
pub struct Provider {
    definition: Arc<ProviderDefinition>,
    transport: Arc<Transport>,
    places: Arc<Semaphore>,
    config: Arc<StringMap>,
}

/// The first line of a question.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a, A> {
    version: &'a str,
    provider: &'a str,
    kind: ProviderKind,
    method: &'a str,
    config: &'a StringMap,
    /// Whether a body follows.
    body: bool,
    arguments: A,
}

/// The first line of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    #[allow(dead_code, reason = "looked at before the rest is read")]
    version: String,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Complaint>,
    #[serde(default)]
    body: bool,
}

/// What a provider says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Its name and version, for people.
    pub name: String,
    /// The versions of the contract that it knows.
    pub versions: Vec<String>,
    /// The kinds that it is.
    pub kinds: Vec<ProviderKind>,
    /// What it can do beyond what it must, by kind; unknown words are ignored.
    #[serde(default)]
    pub features: Vec<String>,
}

/// A question whose body is being sent.
#[derive(Debug)]
pub struct Conversation {
    sink: Sink,
    answer: Answer,
}

/// An answer that is to come.
pub(crate) struct Answer {
    reply: Reply,
    patience: Duration,
    provider: Arc<ProviderDefinition>,
    method: &'static str,
}

/// The body of an answer. What came out of it counts only when [`Body::next`] has said that it is whole.
pub struct Body {
    answering: Answering,
    chunks: Chunks,
    patience: Duration,
    provider: Arc<ProviderDefinition>,
    method: &'static str,
}

impl Provider {
    pub(super) fn from_parts(
        definition: ProviderDefinition,
        transport: Arc<Transport>,
        places: Arc<Semaphore>,
    ) -> Self {
        Self {
            config: Arc::new(definition.config.clone()),
            definition: Arc::new(definition),
            transport,
            places,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> ProviderKind {
        self.definition.kind
    }

    /// How it is defined.
    #[must_use]
    pub fn definition(&self) -> &ProviderDefinition {
        &self.definition
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn with_secrets(&self, found: &BTreeMap<SecretKey, Secret>) -> Result<Self, String> {
        let webhook = self.definition.webhook.as_ref();
        let mut known = self.clone();
        if let Some(transport) = self.transport.with_secrets(webhook, found)? {
            known.transport = Arc::new(transport);
        }
        Ok(known)
    }

    /// Told more with every question; what is given here wins over the definition.
    #[must_use]
    pub fn with_config(&self, more: &StringMap) -> Self {
        let mut config = (*self.config).clone();
        config.extend(more.clone());
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// What it says of itself. It must know this version and be of the kind that it is defined as.
    ///
    /// # Errors
    /// It cannot be asked, or is something else.
    pub async fn describe(&self) -> Result<About, ProviderError> {
        let method = "describe";
        let about: About = self.ask(method, ()).await?;
        if !about.versions.iter().any(|version| version == VERSION) {
            let known: String = about.versions.join(", ").chars().take(80).collect();
            return Err(self.failed(method, CallError::Version(known)));
        }
        if !about.kinds.contains(&self.kind()) {
            let wrong = "other kinds than the one that it is defined as";
            return Err(self.failed(method, CallError::Meaningless(wrong)));
        }
        Ok(about)
    }

    /// Asks something that has no body on either side. Cancel safe: a program that runs is ended.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        arguments: impl Serialize,
    ) -> Result<T, ProviderError> {
        // An error would mean that the semaphore was closed, which nobody does.
        let _place = self.places.acquire().await.ok();
        let answer = self.put_question(method, arguments)?;
        answer.result().await
    }

    /// Asks something whose answer has a body.
    pub(crate) async fn ask_for_body<T: DeserializeOwned>(
        &self,
        method: &'static str,
        arguments: impl Serialize,
    ) -> Result<(T, Body), ProviderError> {
        // A body that is being read holds no place: its owner may wait for another question's answer.
        let _place = self.places.acquire().await.ok();
        let answer = self.put_question(method, arguments)?;
        answer.body().await
    }

    fn put_question(
        &self,
        method: &'static str,
        arguments: impl Serialize,
    ) -> Result<Answer, ProviderError> {
        let (_, answer) = self.open(method, arguments, false)?;
        Ok(answer)
    }

    /// Asks something that has a body.
    pub(crate) fn converse(
        &self,
        method: &'static str,
        arguments: impl Serialize,
    ) -> Result<Conversation, ProviderError> {
        let (sink, answer) = self.open(method, arguments, true)?;
        Ok(Conversation { sink, answer })
    }

    fn open(
        &self,
        method: &'static str,
        arguments: impl Serialize,
        body: bool,
    ) -> Result<(Sink, Answer), ProviderError> {
        let question = Question {
            version: VERSION,
            provider: self.name(),
            kind: self.kind(),
            method,
            config: &self.config,
            body,
            arguments,
        };
        let malformed = |source| self.failed(method, CallError::Malformed { source });
        let mut line = serde_json::to_vec(&question).map_err(malformed)?;
        line.push(b'\n');
        Ok(self.open_line(method, line.into(), body))
    }

    /// Sends a first line as it is.
    pub(crate) fn open_line(
        &self,
        method: &'static str,
        line: Bytes,
        body: bool,
    ) -> (Sink, Answer) {
        tracing::debug!(provider = %self.name(), method, "provider is asked");
        let patience = self.definition.timeout.0;
        let (to, reply) = self.transport.open(line, body);
        let answer = Answer {
            reply,
            patience,
            provider: Arc::clone(&self.definition),
            method,
        };
        (Sink::new(to, patience), answer)
    }

    pub(crate) fn failed(&self, method: &'static str, source: CallError) -> ProviderError {
        failed(&self.definition, method, source)
    }
}

fn failed(provider: &ProviderDefinition, method: &'static str, source: CallError) -> ProviderError {
    ProviderError {
        provider: provider.name.clone(),
        method,
        source,
    }
}

impl Conversation {
    /// Sends a part of the body.
    ///
    /// # Errors
    /// The provider listens no longer; the conversation is then of no more use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), CallError> {
        self.sink.write(bytes).await
    }

    /// How many bytes were sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sink.bytes()
    }

    /// Says that the body is whole; the answer.
    pub(crate) async fn finish<T: DeserializeOwned>(self) -> Result<T, ProviderError> {
        match self.sink.finish().await {
            Ok(()) => self.answer.result().await,
            Err(unheard) => Err(self.answer.reason(unheard).await),
        }
    }

    /// Why the provider listens no longer.
    pub async fn reason(self, unheard: CallError) -> ProviderError {
        drop(self.sink);
        self.answer.reason(unheard).await
    }

    /// Says that the body is whole, with another digest than it has.
    pub(crate) async fn finish_wrongly<T: DeserializeOwned>(self) -> Result<T, ProviderError> {
        match self.sink.finish_with("0".repeat(64)).await {
            Ok(()) => self.answer.result().await,
            Err(unheard) => Err(self.answer.reason(unheard).await),
        }
    }
}

impl Answer {
    fn failed(&self, source: CallError) -> ProviderError {
        failed(&self.provider, self.method, source)
    }

    /// The result, of an answer that must have no body.
    pub(crate) async fn result<T: DeserializeOwned>(self) -> Result<T, ProviderError> {
        let (provider, method, patience) = (Arc::clone(&self.provider), self.method, self.patience);
        let (result, mut answering, has_body) = self.head().await?;
        if has_body {
            let wrong = CallError::Meaningless("a body where none belongs");
            return Err(failed(&provider, method, wrong));
        }
        let ended = answering.end(patience).await;
        ended.map_err(|source| failed(&provider, method, source))?;
        Ok(result)
    }

    async fn body<T: DeserializeOwned>(self) -> Result<(T, Body), ProviderError> {
        let (provider, method, patience) = (Arc::clone(&self.provider), self.method, self.patience);
        let (result, answering, has_body) = self.head().await?;
        if !has_body {
            let wrong = CallError::Meaningless("no body");
            return Err(failed(&provider, method, wrong));
        }
        let body = Body {
            answering,
            chunks: Chunks::new(),
            patience,
            provider,
            method,
        };
        Ok((result, body))
    }

    async fn head<T: DeserializeOwned>(self) -> Result<(T, Answering, bool), ProviderError> {
        let (provider, method) = (Arc::clone(&self.provider), self.method);
        let read = self.reply.head(self.patience).await;
        let read = read.and_then(|(line, answering)| {
            let (result, body) = read_head(&line)?;
            Ok((result, answering, body))
        });
        read.map_err(|source| failed(&provider, method, source))
    }

    /// What the provider says of why it listens no longer; `unheard` when it says nothing of use.
    async fn reason(self, unheard: CallError) -> ProviderError {
        let silent = self.failed(unheard);
        match self.head::<Value>().await {
            Err(error) => error,
            // It claims success without having heard everything.
            Ok(_) => silent,
        }
    }
}

fn read_head<T: DeserializeOwned>(line: &[u8]) -> Result<(T, bool), CallError> {
    // Unknown fields of a newer version are no reason to call it malformed.
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let malformed = |source| CallError::Malformed { source };
    let Version { version } = serde_json::from_slice(line).map_err(malformed)?;
    if version != VERSION {
        return Err(CallError::Version(version.chars().take(40).collect()));
    }
    let head: Head = serde_json::from_slice(line).map_err(malformed)?;
    match (head.error, head.result) {
        (Some(complaint), _) => Err(CallError::Told(complaint)),
        (None, Some(result)) => {
            let result = serde_json::from_value(result).map_err(malformed)?;
            Ok((result, head.body))
        }
        (None, None) => Err(CallError::Meaningless("neither result nor error")),
    }
}

impl Body {
    /// The next bytes; `None` when the body is whole and is what the provider sent.
    ///
    /// # Errors
    /// It breaks off, differs from what its end says, or comes too slowly.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let source = &mut self.answering.source;
        let next = match self.chunks.next(source, self.patience).await {
            Ok(None) => self.answering.end(self.patience).await.map(|()| None),
            next => next,
        };
        next.map_err(|source| failed(&self.provider, self.method, source))
    }

    /// All of it, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Body::next`], or it is longer.
    pub async fn all(mut self, limit: usize) -> Result<Vec<u8>, ProviderError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > limit {
                let source = CallError::TooLarge(limit);
                return Err(failed(&self.provider, self.method, source));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the transport, which holds credentials, nor the configuration, which may.
        f.debug_struct("Provider")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("provider", &self.provider.name)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("provider", &self.provider.name)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
