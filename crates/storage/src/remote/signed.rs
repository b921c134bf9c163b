//! Reading what a signed URL gives: no store, no credentials, one GET.

use futures::StreamExt as _;
use http::{Request, StatusCode};

use super::tls::Trust;
use super::transport::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::store::ByteStream;

/// Reads a URL that somebody has signed: its length, where it is told, and its bytes. `ca` is a PEM file or
/// PEM text to trust besides the system's roots. Only the URL's host and path are ever said in errors: the
/// rest of it is a secret.
///
/// # Errors
/// [`ErrorKind::Invalid`] for what is no HTTP URL, [`ErrorKind::NotFound`] and [`ErrorKind::Denied`] as the
/// server answers (an expired URL is denied), [`ErrorKind::Transient`] for what may pass.
pub async fn read_signed(
    url: &str,
    ca: Option<&str>,
    skip_verification: bool,
) -> Result<(Option<u64>, ByteStream)> {
    let named = harmless(url);
    let refuse = |kind, detail: String| Error::new(kind, "read", &named).with_detail(detail);
    let trust = Trust {
        ca: ca.map(str::to_owned),
        skip_verification,
    };
    let client = Client::new(&trust).map_err(|reason| refuse(ErrorKind::Invalid, reason))?;
    let request = Request::get(url)
        .body(())
        .map_err(|error| refuse(ErrorKind::Invalid, error.to_string()))?;
    if request.uri().host().is_none() {
        let reason = "it is not an http or https URL".to_owned();
        return Err(refuse(ErrorKind::Invalid, reason));
    }
    let (status, size, body) = client
        .get(request)
        .await
        .map_err(|reason| refuse(ErrorKind::Transient, reason))?;
    let kind = match status {
        StatusCode::OK => {
            let body = body.map(move |chunk| {
                chunk.map_err(|reason| {
                    Error::new(ErrorKind::Transient, "read", &named).with_detail(reason)
                })
            });
            return Ok((size, body.boxed()));
        }
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ErrorKind::Denied,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Throttled,
        status if status.is_server_error() => ErrorKind::Transient,
        _ => ErrorKind::Other,
    };
    Err(refuse(kind, format!("HTTP {}", status.as_u16())))
}

/// Scheme, host and path without what grants access: the query, and the last part of a path that is a token.
fn harmless(url: &str) -> String {
    let Ok(parsed) = url::Url::parse(url) else {
        return "a URL".to_owned();
    };
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}"));
    let path = parsed.path();
    let path = match path.rsplit_once('/') {
        Some((folder, last)) if last.len() >= 32 && !last.contains('.') => format!("{folder}/..."),
        _ => path.to_owned(),
    };
    format!(
        "{}://{host}{}{path}",
        parsed.scheme(),
        port.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_grants_access_is_never_said() {
        let token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for url in [
            format!("http://127.0.0.1:1/download/{token}"),
            format!("http://127.0.0.1:1/bucket/b.tar.gz?X-Amz-Signature={token}"),
            format!("file:///{token}"),
            token.to_owned(),
        ] {
            let error = read_signed(&url, None, false).await.map(drop);
            let error = error.expect_err(&url);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("0123456789abcdef"), "{shown}");
        }
    }
}
