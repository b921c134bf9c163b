//! Questions to services of AWS that speak its query protocol, as EC2 does: a signed form, an answer in XML.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use opendal::raw::ServiceOperation;
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::Signer;
use salvor_seal::Digest;

use super::failure::explain;
use super::options::{Options, endpoint};
use super::s3::{StaticKeys, signer};
use super::trace::{Failure, Trace, shorten};
use super::transport::Client;
use super::xml::Element;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::RetryPolicy;

/// EC2 refills what a client may ask within seconds; many volumes are backed up at once, each with several questions.
const PATIENCE: RetryPolicy = RetryPolicy {
    attempts: 8,
    base: Duration::from_millis(500),
    max: Duration::from_secs(20),
};

/// A service of AWS in one region.
#[derive(Clone)]
pub struct AwsQuery {
    client: Client,
    signer: Signer<Credential>,
    endpoint: String,
    place: String,
    version: &'static str,
}

impl AwsQuery {
    /// A service, such as `ec2`, and the version of its API that is spoken. `options` are `region`, `profile`,
    /// `credentialsFile` (as `~/.aws/credentials`), `endpoint`, `caCert` (a PEM file or text), `insecureSkipTLSVerify`;
    /// `enableSharedConfig` is Velero's and changes nothing. What is not said is taken from the environment, credentials
    /// also from a web identity or the machine. No request is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the option that cannot be used, or when no region is known.
    pub fn new(
        service: &'static str,
        version: &'static str,
        options: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let environment = |name: &str| std::env::var(name).ok();
        Self::from_options(service, version, options, environment).map_err(|detail| {
            Error::new(ErrorKind::Invalid, "open", service).with_detail(shorten(&detail, 300))
        })
    }

    fn from_options(
        service: &'static str,
        version: &'static str,
        given: &BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut options = Options::new(given);
        let mut trust = options.trust()?;
        trust.ca = trust.ca.or_else(|| environment("AWS_CA_BUNDLE"));
        let region = options
            .text(&["region"])
            .or_else(|| environment("AWS_REGION"))
            .or_else(|| environment("AWS_DEFAULT_REGION"))
            .ok_or("the region is not known: say it in the setting `region`")?;
        if !region
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(
                "the setting `region` is no name of a region, such as eu-west-1".to_owned(),
            );
        }
        let own = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase());
        let address = options
            .text(&["endpoint"])
            .or_else(|| environment(&own))
            .or_else(|| environment("AWS_ENDPOINT_URL"));
        let endpoint = match address {
            Some(address) => endpoint(&address)?,
            None => {
                let china = if region.starts_with("cn-") { ".cn" } else { "" };
                format!("https://{service}.{region}.amazonaws.com{china}")
            }
        };
        let profile = options.text(&["profile"]);
        let keys = match options.text(&["credentialsFile"]) {
            Some(file) => Some(StaticKeys::read(&file, profile.as_deref())?),
            None => None,
        };
        options.ignore(&["enableSharedConfig"]);
        options.finish()?;
        let client = Client::new(&trust)?;
        let requests = RequestSigner::new(service, &region);
        Ok(Self {
            signer: signer(&client, profile.as_deref(), keys.as_ref(), requests),
            client,
            endpoint,
            place: format!("{service} of {region}"),
            version,
        })
    }

    /// Asks, and asks again while the service wants less, or does not answer, and nothing can have been changed. `about`
    /// is what the question is about, for errors.
    ///
    /// # Errors
    /// As the service answers: [`ErrorKind::NotFound`], [`ErrorKind::Denied`], [`ErrorKind::Full`] for a limit of the
    /// account. [`Error::may_have_happened`] tells whether a change that failed may have taken place.
    pub async fn ask(
        &self,
        action: &'static str,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<Element> {
        let mut attempt = 0;
        loop {
            match self.ask_once(action, about, parameters).await {
                Err(error)
                    if error.is_retryable()
                        && !error.may_have_happened()
                        && attempt + 1 < PATIENCE.attempts =>
                {
                    let delay = PATIENCE.delay(attempt, &error);
                    tracing::debug!(%error, ?delay, attempt, "question is asked again");
                    tokio::time::sleep(delay).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn ask_once(
        &self,
        action: &'static str,
        about: &str,
        parameters: &[(String, String)],
    ) -> Result<Element> {
        let trace = Trace::default();
        let failed = |cause: opendal::Error| {
            let mut error = explain(action, about, &self.place, &trace, &cause);
            // Whoever asks too often is sent away before anything is done.
            error.indeterminate &= error.kind != ErrorKind::Throttled;
            error
        };
        let answer = self.send(action, parameters, &trace).await;
        let answer = answer.map_err(&failed)?;
        if trace.failure().is_some() {
            return Err(failed(invalid("the service refused")));
        }
        let body = answer.into_body().to_bytes();
        Element::parse(&String::from_utf8_lossy(&body)).map_err(|reason| {
            let mut error = failed(invalid(reason));
            error.kind = ErrorKind::Other;
            error.with_detail(format!("the answer is {reason}"))
        })
    }

    fn form(&self, action: &str, parameters: &[(String, String)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", self.version)
            .extend_pairs(parameters);
        form.finish()
    }

    async fn send(
        &self,
        action: &'static str,
        parameters: &[(String, String)],
        trace: &Trace,
    ) -> opendal::Result<Response<Buffer>> {
        let form = self.form(action, parameters);
        let request = Request::post(format!("{}/", self.endpoint))
            .header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header(
                "x-amz-content-sha256",
                Digest::of(form.as_bytes()).to_string(),
            )
            .body(())
            .map_err(|error| invalid(&error.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        let signed = self.signer.sign(&mut parts, None).await;
        signed.map_err(|error| {
            opendal::Error::new(opendal::ErrorKind::Unexpected, error.to_string())
        })?;
        parts.extensions.insert(ServiceOperation(action));
        let length = HeaderValue::from(form.len());
        parts.headers.insert(CONTENT_LENGTH, length);
        let transport = HttpTransporter::new(self.client.traced(trace.clone()));
        let request = Request::from_parts(parts, Buffer::from(form));
        let sent = transport.send(request).await;
        // A refusal is in the notes, with the service's own code.
        match (sent, trace.failure()) {
            (Err(_), Some(Failure::Refused(_))) => Err(invalid("the service refused")),
            (sent, _) => sent,
        }
    }

    /// The service and its region, for people: `ec2 of eu-west-1`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Debug for AwsQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsQuery")
            .field("endpoint", &self.endpoint)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn invalid(reason: &str) -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(options: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<AwsQuery, String> {
        let given = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let lookup = |name: &str| {
            let mut found = environment.iter().filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        AwsQuery::from_options("ec2", "2016-11-15", &given, lookup)
    }

    #[test]
    fn region_and_endpoint_come_from_the_settings_or_the_environment() {
        for (options, environment, endpoint) in [
            (
                &[("region", "eu-west-1")][..],
                &[][..],
                "https://ec2.eu-west-1.amazonaws.com",
            ),
            (
                &[("region", "cn-north-1")],
                &[],
                "https://ec2.cn-north-1.amazonaws.com.cn",
            ),
            (
                &[],
                &[
                    ("AWS_REGION", "r"),
                    ("AWS_ENDPOINT_URL_EC2", "http://h:1/"),
                    ("AWS_ENDPOINT_URL", "http://other"),
                ],
                "http://h:1",
            ),
            (
                &[("region", "r"), ("endpoint", "h:1")],
                &[("AWS_ENDPOINT_URL", "http://other")],
                "https://h:1",
            ),
        ] {
            let made = service(options, environment).expect("usable");
            assert_eq!(made.endpoint, endpoint);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_without_its_value() {
        for (options, word) in [
            (&[][..], "region"),
            (&[("region", "eu west/1")], "region"),
            (&[("region", "r"), ("zone", "hunter2")], "zone"),
            (
                &[("region", "r"), ("credentialsFile", "/no/such/file")],
                "credentials",
            ),
        ] {
            let error = service(options, &[]).expect_err("unusable");
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
