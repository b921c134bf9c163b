//! The file that says from which entry on a restored member has a log: whoever joins later gets all of the data from before.
//!
//! Without it etcd takes the log, which begins with the members, for all that ever was. It would send just that to a member that
//! joins, and nothing of what stands in the restored database: the member would vote, and have none of the keys.

use serde_json::{Map, Value, json};

use super::TERM;
use crate::checksum::Crc32c;
use crate::membership::{Cluster, Member};
use crate::protobuf::Message;

/// Time that etcd writes for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Name and content of `snap/<term>-<index>.snap` of a member that begins with [`super::initial`].
#[must_use]
pub fn first_snapshot(cluster: &Cluster) -> (String, Vec<u8>) {
    let index = cluster.members().len() as u64;
    let voters = cluster.members().iter().map(|member| member.id);
    let configuration = voters
        .fold(Message::new(), |message, id| message.integer(1, id))
        .integer(5, 0);
    let metadata = Message::new()
        .bytes(1, &configuration.finish())
        .integer(2, index)
        .integer(3, TERM);
    let snapshot = Message::new()
        .bytes(1, store(cluster).to_string().as_bytes())
        .bytes(2, &metadata.finish())
        .finish();
    let mut crc = Crc32c::new();
    crc.update(&snapshot);
    let file = Message::new()
        .integer(1, crc.value().into())
        .bytes(2, &snapshot)
        .finish();
    (format!("{TERM:016x}-{index:016x}.snap"), file)
}

/// The store of etcd 2, in which members stand until 3.5.
fn store(cluster: &Cluster) -> Value {
    let mut members = Map::new();
    for member in cluster.members() {
        let name = format!("{:x}", member.id);
        members.insert(
            name.clone(),
            member_node(&format!("/0/members/{name}"), member),
        );
    }
    let members = folder("/0/members", members);
    let own = folder("/0", Map::from_iter([("members".to_owned(), members)]));
    let keys = folder("/1", Map::new());
    let root = [("0".to_owned(), own), ("1".to_owned(), keys)];
    json!({
        "Root": folder("/", Map::from_iter(root)),
        "CurrentIndex": 0,
        "CurrentVersion": 2,
    })
}

fn member_node(path: &str, member: &Member) -> Value {
    let mut attributes = json!({ "peerURLs": member.peer_urls });
    if member.is_learner {
        attributes["isLearner"] = true.into();
    }
    let value = node(
        &format!("{path}/raftAttributes"),
        &attributes.to_string(),
        Value::Null,
    );
    folder(path, Map::from_iter([("raftAttributes".to_owned(), value)]))
}

fn folder(path: &str, children: Map<String, Value>) -> Value {
    node(path, "", Value::Object(children))
}

fn node(path: &str, value: &str, children: Value) -> Value {
    json!({
        "Path": path,
        "CreatedIndex": 0,
        "ModifiedIndex": 0,
        "ExpireTime": NEVER,
        "Value": value,
        "Children": children,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::fields;

    #[test]
    fn it_names_the_last_entry_of_the_log_and_all_members() {
        let cluster = Cluster::new("a=http://a:1,b=http://b:1", "t").expect("two members");
        let (name, file) = first_snapshot(&cluster);
        assert_eq!(name, "0000000000000001-0000000000000002.snap");
        let all: Vec<_> = fields(&file).collect::<Result<_, _>>().expect("a message");
        let inner = all[1].bytes().expect("the snapshot");
        let mut crc = Crc32c::new();
        crc.update(inner);
        assert_eq!(all[0].integer().expect("a number"), u64::from(crc.value()));
        let inner: Vec<_> = fields(inner).collect::<Result<_, _>>().expect("a message");
        let store = inner[0].bytes().expect("the store");
        let store: Value = serde_json::from_slice(store).expect("JSON");
        let members = &store["Root"]["Children"]["0"]["Children"]["members"]["Children"];
        assert_eq!(members.as_object().map(Map::len), Some(2));
        let first = format!("{:x}", cluster.members()[0].id);
        let urls = &members[&first]["Children"]["raftAttributes"]["Value"];
        assert!(
            urls.as_str().is_some_and(|urls| urls.contains("http://")),
            "{store}"
        );
    }
}
