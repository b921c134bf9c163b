//! An object store: `docs/formats/providers.md`, "Object store".

use bytes::Bytes;
use futures::future::join_all;

use super::{Report, expect, expect_code};
use crate::error::{CallError, Code, ProviderError};
use crate::provider::object_store::{ListRequest, ObjectStoreClient, StoredObject};

/// Bytes of the large object: several chunks, and more than a pipe or a socket holds.
const LARGE: usize = (3 << 20) + 17;
/// Writers that create one key at the same time.
const WRITERS: u8 = 8;

struct Suite<'a> {
    store: &'a ObjectStoreClient,
    folder: &'a str,
}

/// Looks at every clause, with objects below `folder`, which must be empty; they are removed at the end.
pub async fn check_object_store(store: &ObjectStoreClient, folder: &str, report: &mut Report) {
    let suite = Suite { store, folder };
    report.note(
        "what was written is read, also when it is empty or large",
        suite.reads().await,
    );
    report.note(
        "parts are read; a part outside of the object is Invalid",
        suite.ranges().await,
    );
    report.note(
        "what is not there is NotFound, and can be deleted",
        suite.missing().await,
    );
    report.note(
        "writing again replaces, create-only refuses with AlreadyExists",
        suite.twice().await,
    );
    report.note(
        "of several writers that create one key one succeeds",
        suite.race().await,
    );
    report.note(
        "a body that breaks off leaves no object",
        suite.broken_off().await,
    );
    report.note(
        "a body that is not what its end says leaves no object",
        suite.wrong_digest().await,
    );
    report.note(
        "listings are in order, page by page, and end",
        suite.lists().await,
    );
    report.note(
        "a folder is listed with its objects and folders",
        suite.lists_folders().await,
    );
    report.note(
        "keys may hold spaces, signs and letters of any script",
        suite.odd_keys().await,
    );
    report.note(
        "a key that climbs is refused with Invalid",
        suite.climbing().await,
    );
    report.note(
        "what was deleted is gone, its neighbours are not",
        suite.deletes().await,
    );
}

impl Suite<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    async fn put(
        &self,
        name: &str,
        body: Bytes,
        create_only: bool,
    ) -> Result<StoredObject, ProviderError> {
        let mut put = self.store.put(&self.key(name), create_only)?;
        match put.write(body).await {
            Ok(()) => put.finish().await,
            Err(unheard) => Err(put.reason(unheard).await),
        }
    }

    async fn write(&self, name: &str, body: &[u8]) -> Result<(), String> {
        let body = Bytes::copy_from_slice(body);
        let written = self.put(name, body, false).await;
        written.map(drop).map_err(|error| error.chain())
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let got = self.store.get(&self.key(name), None).await;
        let (_, body) = got.map_err(|error| error.chain())?;
        body.all(2 * LARGE).await.map_err(|error| error.chain())
    }

    async fn is_absent(&self, name: &str) -> Result<(), String> {
        let seen = self.store.stat(&self.key(name)).await;
        expect_code(seen.map(drop), Code::NotFound)
    }

    async fn reads(&self) -> Result<(), String> {
        let large: Vec<u8> = (0..LARGE).map(|at| ((at * at) >> 3) as u8).collect();
        for (name, body) in [
            ("empty", Vec::new()),
            ("small", b"x".to_vec()),
            ("large", large),
        ] {
            self.write(name, &body).await?;
            let read = self.read(name).await?;
            expect(read == body, || {
                format!(
                    "{name}: {} bytes came back, not what was written",
                    read.len()
                )
            })?;
            let stat = self.store.stat(&self.key(name)).await;
            let size = stat.map_err(|error| error.chain())?.size;
            expect(size == body.len() as u64, || {
                format!("{name}: stat says {size} bytes")
            })?;
        }
        Ok(())
    }

    async fn ranges(&self) -> Result<(), String> {
        self.write("ranged", b"0123456789").await?;
        for (from, to) in [(0, 1), (0, 10), (9, 10), (5, 5), (3, 7)] {
            let got = self.store.get(&self.key("ranged"), Some(from..to)).await;
            let (object, body) = got.map_err(|error| error.chain())?;
            let part = body.all(100).await.map_err(|error| error.chain())?;
            let right = object.size == 10 && part == b"0123456789"[from as usize..to as usize];
            expect(right, || {
                format!("{from}-{to}: {part:?} of {} bytes", object.size)
            })?;
        }
        let outside = self.store.get(&self.key("ranged"), Some(8..11)).await;
        expect_code(outside.map(drop), Code::Invalid)
    }

    async fn missing(&self) -> Result<(), String> {
        let key = self.key("no/such");
        expect_code(self.store.get(&key, None).await.map(drop), Code::NotFound)?;
        self.is_absent("no/such").await?;
        self.store.delete(&key).await.map_err(|error| error.chain())
    }

    async fn twice(&self) -> Result<(), String> {
        self.write("twice", b"first").await?;
        self.write("twice", b"second").await?;
        let refused = self.put("twice", Bytes::from_static(b"third"), true).await;
        expect_code(refused.map(drop), Code::AlreadyExists)?;
        let read = self.read("twice").await?;
        expect(read == b"second", || format!("{read:?} came back"))
    }

    async fn race(&self) -> Result<(), String> {
        let writers = (0..WRITERS).map(|writer| async move {
            let body = Bytes::from(vec![writer; 1000]);
            (writer, self.put("race", body, true).await)
        });
        let mut winners = Vec::new();
        for (writer, outcome) in join_all(writers).await {
            match outcome {
                Ok(_) => winners.push(writer),
                Err(error) if error.code() == Some(Code::AlreadyExists) => {}
                Err(error) => return Err(error.chain()),
            }
        }
        expect(winners.len() == 1, || {
            format!("{} succeeded", winners.len())
        })?;
        let read = self.read("race").await?;
        expect(read == vec![winners[0]; 1000], || {
            "another's bytes are stored".to_owned()
        })
    }

    async fn broken_off(&self) -> Result<(), String> {
        let begun = self.store.put(&self.key("broken"), false);
        let mut put = begun.map_err(|error| error.chain())?;
        put.write(Bytes::from(vec![7; 100_000]))
            .await
            .map_err(|error| error.to_string())?;
        // Its answer, if there is one, says that it noticed.
        match put.reason(CallError::BrokenOff).await.source {
            CallError::Timeout(_) => Err("it does not notice the end".to_owned()),
            _ => self.is_absent("broken").await,
        }
    }

    async fn wrong_digest(&self) -> Result<(), String> {
        let begun = self.store.put(&self.key("wrong"), false);
        let mut put = begun.map_err(|error| error.chain())?;
        put.write(Bytes::from_static(b"text"))
            .await
            .map_err(|error| error.to_string())?;
        expect_code(put.finish_wrongly().await.map(drop), Code::Invalid)?;
        self.is_absent("wrong").await
    }

    async fn lists(&self) -> Result<(), String> {
        // By bytes `-` stands before `.`, and that before `/`.
        let names = [
            "l/a", "l/a-b/1", "l/a.b", "l/a/1", "l/a/2/x", "l/b/1", "l/c",
        ];
        for name in names.iter().chain(&["lx"]) {
            self.write(name, name.as_bytes()).await?;
        }
        let prefix = self.key("l/");
        let mut listed = Vec::new();
        let mut after = String::new();
        loop {
            let request = ListRequest {
                prefix: &prefix,
                after: &after,
                folder: false,
                limit: 2,
            };
            let page = self
                .store
                .list(request)
                .await
                .map_err(|error| error.chain())?;
            let positions = page.entries.iter().map(|entry| entry.position().to_owned());
            listed.extend(positions);
            match listed.last() {
                Some(last) if page.more => after.clone_from(last),
                _ => break,
            }
        }
        let expected = names.map(|name| self.key(name));
        expect(listed == expected, || format!("{listed:?}"))
    }

    async fn lists_folders(&self) -> Result<(), String> {
        let prefix = self.key("l/");
        let request = ListRequest {
            prefix: &prefix,
            folder: true,
            limit: 100,
            ..ListRequest::default()
        };
        let page = self
            .store
            .list(request)
            .await
            .map_err(|error| error.chain())?;
        let listed: Vec<&str> = page
            .entries
            .iter()
            .map(|entry| &entry.position()[prefix.len()..])
            .collect();
        expect(listed == ["a", "a-b/", "a.b", "a/", "b/", "c"], || {
            format!("{listed:?}")
        })?;
        let nothing = ListRequest {
            prefix: &self.key("no/such/"),
            limit: 100,
            ..ListRequest::default()
        };
        let page = self
            .store
            .list(nothing)
            .await
            .map_err(|error| error.chain())?;
        expect(page.entries.is_empty() && !page.more, || {
            "a missing folder is not empty".to_owned()
        })
    }

    async fn odd_keys(&self) -> Result<(), String> {
        let long = format!("odd/{}", "x".repeat(700));
        for name in [
            "odd/한글",
            "odd/with space",
            "odd/per%20cent",
            "odd/#?;:@!$'()*,&=+",
            &long,
        ] {
            self.write(name, name.as_bytes()).await?;
            let read = self.read(name).await?;
            expect(read == name.as_bytes(), || {
                format!("{name}: something else comes back")
            })?;
        }
        Ok(())
    }

    async fn climbing(&self) -> Result<(), String> {
        for name in ["../outside", "a/../../../outside", "a//b"] {
            let refused = self.put(name, Bytes::from_static(b"x"), false).await;
            expect_code(refused.map(drop), Code::Invalid)
                .map_err(|seen| format!("{name}: {seen}"))?;
        }
        Ok(())
    }

    /// Also removes what the others wrote.
    async fn deletes(&self) -> Result<(), String> {
        let failed = |error: ProviderError| error.chain();
        self.store.delete(&self.key("l/a")).await.map_err(failed)?;
        self.is_absent("l/a").await?;
        self.read("l/a/1").await?;
        let prefix = self.key("");
        let all = ListRequest {
            prefix: &prefix,
            limit: 1000,
            ..ListRequest::default()
        };
        for entry in self.store.list(all).await.map_err(failed)?.entries {
            self.store.delete(entry.position()).await.map_err(failed)?;
        }
        let left = self.store.list(all).await.map_err(failed)?.entries;
        expect(left.is_empty(), || {
            format!("{} objects are left", left.len())
        })
    }
}
