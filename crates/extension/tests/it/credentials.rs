//! Credentials reach the endpoint that they are for, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Origin, Providers, SecretKey, Subject};
use salvor_seal::Secret;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "hunter2-token";

/// An endpoint for one request; its headers.
fn endpoint(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let seen = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a question");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut headers, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
            headers.push_str(&line);
        }
        reader.read_exact(&mut vec![0; length]).expect("a question");
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        write!(stream, "{head}{answer}").expect("answered");
        headers
    });
    (format!("http://{address}/"), seen)
}

fn actions(url: &str, credentials: &str) -> Actions {
    let text = format!(
        "version: v1\nactions:\n- name: example.com/a\n  kind: BackupItemAction\n  \
         webhook: {{url: '{url}', credentials: {credentials}}}\n"
    );
    Actions::parse(&text, Origin::File).expect("valid")
}

async fn ask(actions: &Actions) -> Result<(), String> {
    let subject = Subject {
        kind: ActionKind::BackupItemAction,
        occasion: &Occasion::default(),
        key: &ObjectKey::namespaced("pods".parse().expect("a resource"), "shop", "p"),
    };
    let cancel = CancellationToken::new();
    let asked = actions.ask(&subject, json!({"kind": "Pod"}), None, &cancel);
    asked.await.map(drop).map_err(|failed| failed.chain())
}

fn found(value: &str) -> BTreeMap<SecretKey, Secret> {
    let key = SecretKey {
        name: "mask".to_owned(),
        key: "token".to_owned(),
    };
    [(key, Secret::new(value.to_owned()))].into()
}

#[tokio::test]
async fn a_secret_is_shown_as_token_or_as_user_and_password() {
    for (scheme, value, header) in [
        ("Bearer", TOKEN, "Bearer hunter2-token"),
        ("Basic", "user:pass\n", "Basic dXNlcjpwYXNz"),
    ] {
        let (url, seen) = endpoint(r#"{"version":"v1"}"#);
        let actions = actions(
            &url,
            &format!("{{scheme: {scheme}, secret: {{name: mask}}}}"),
        );
        assert_eq!(
            actions.secrets().into_iter().collect::<Vec<_>>(),
            found("").into_keys().collect::<Vec<_>>()
        );
        let unknown = ask(&actions).await.expect_err("nobody has looked");
        assert!(
            unknown.contains("secret `mask` was not looked up"),
            "{unknown}"
        );
        let known = actions.with_secrets(&found(value)).expect("usable");
        ask(&known).await.expect("answered");
        let headers = seen.join().expect("no panic");
        assert!(
            headers.contains(&format!("authorization: {header}\r\n")),
            "{headers}"
        );
        assert_eq!(
            known.fingerprint(),
            actions.fingerprint(),
            "no credentials in records"
        );
        assert!(!format!("{known:?}").contains(value.trim()), "{known:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_anew_for_each_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let credentials = format!("{{scheme: Bearer, file: '{}'}}", path.display());
    for token in ["first", "second"] {
        std::fs::write(&path, token).expect("written");
        let (url, seen) = endpoint(r#"{"version":"v1"}"#);
        ask(&actions(&url, &credentials)).await.expect("answered");
        assert!(
            seen.join()
                .expect("no panic")
                .contains(&format!("authorization: Bearer {token}\r\n"))
        );
    }
    std::fs::remove_file(&path).expect("removed");
    let error = ask(&actions("http://127.0.0.1:9/", &credentials))
        .await
        .expect_err("no file");
    assert!(error.contains("get its credentials"), "{error}");
}

#[test]
fn what_is_wrong_with_credentials_is_said_without_them() {
    for (scheme, value) in [
        ("Bearer", "hunter2\u{1}x"),
        ("Basic", "hunter2"),
        ("Bearer", " "),
    ] {
        let credentials = format!("{{scheme: {scheme}, secret: {{name: mask}}}}");
        let refused = actions("http://127.0.0.1/", &credentials).with_secrets(&found(value));
        let errors = refused.expect_err("unusable").join("; ");
        assert!(errors.contains("secret `mask`, key `token`"), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[tokio::test]
async fn providers_are_shown_credentials_as_well() {
    let (url, seen) = endpoint(
        r#"{"version":"v1","result":{"name":"x","versions":["v1"],"kinds":["ObjectStore"]}}"#,
    );
    let text = format!(
        "version: v1\nproviders:\n- name: example.com/s\n  kind: ObjectStore\n  \
         webhook: {{url: '{url}', credentials: {{scheme: Bearer, secret: {{name: mask}}}}}}\n"
    );
    let providers = Providers::parse(&text, Origin::File).expect("valid");
    assert_eq!(providers.secrets().len(), 1);
    let known = providers.with_secrets(&found(TOKEN)).expect("usable");
    let provider = known.iter().next().expect("one");
    provider.describe().await.expect("answered");
    assert!(seen.join().expect("no panic").contains(TOKEN));
    assert!(!format!("{known:?}").contains(TOKEN));
}
