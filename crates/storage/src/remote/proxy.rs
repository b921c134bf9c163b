//! Connections by way of the proxy that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
//! `NO_PROXY`), as the Kubernetes client makes them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Connects directly, or through a tunnel of the proxy that is meant for an address.
#[derive(Clone)]
pub(super) struct ProxyConnector {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl ProxyConnector {
    /// As the environment says.
    pub(super) fn from_environment(direct: HttpConnector) -> Self {
        Self::new(direct, Matcher::from_env())
    }

    fn new(direct: HttpConnector, proxies: Matcher) -> Self {
        Self {
            direct,
            proxies: Arc::new(proxies),
        }
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.intercept(&address) else {
            let connecting = self.direct.call(address);
            return Box::pin(async { connecting.await.map_err(Into::into) });
        };
        if proxy.uri().scheme_str() != Some("http") {
            // The proxy's address may carry a password: only its kind is told.
            let kind = proxy.uri().scheme_str().unwrap_or_default().to_owned();
            let reason = format!("a proxy of kind `{kind}` is not supported: only http:// is");
            return Box::pin(async { Err(reason.into()) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        let connecting = tunnel.call(address);
        Box::pin(async {
            connecting
                .await
                .map_err(|error| format!("proxy: {error}").into())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn connect(proxies: Matcher, address: &str) -> Result<TokioIo<TcpStream>, BoxError> {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        ProxyConnector::new(direct, proxies)
            .call(address.parse().expect("an address"))
            .await
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_with_the_proxys_credentials() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = proxy.local_addr().expect("address");
        let serving = tokio::spawn(async move {
            let (mut client, _) = proxy.accept().await.expect("a client");
            let mut head = vec![0; 4096];
            let length = client.read(&mut head).await.expect("a request");
            client
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .await
                .expect("answered");
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let proxies = Matcher::builder()
            .https(format!("http://user:pw@{address}"))
            .build();
        connect(proxies, "https://bucket.example:443/")
            .await
            .expect("a tunnel");
        let asked = serving.await.expect("no panic").to_ascii_lowercase();
        assert!(asked.starts_with("connect bucket.example:443 "), "{asked}");
        assert!(asked.contains("proxy-authorization: basic"), "{asked}");
    }

    #[tokio::test]
    async fn exceptions_are_reached_directly_and_strange_proxies_are_refused() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = server.local_addr().expect("address");
        let proxies = || Matcher::builder().all("socks5://user:hunter2@127.0.0.1:1");
        connect(
            proxies().no("127.0.0.1").build(),
            &format!("https://{address}/"),
        )
        .await
        .expect("reached directly");
        let error = connect(proxies().build(), "https://bucket.example/")
            .await
            .expect_err("no such proxy")
            .to_string();
        assert!(
            error.contains("socks5") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
