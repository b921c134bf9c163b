//! Archives made of a few objects.

use salvor_api::resource::ObjectKey;
use salvor_archive::assemble::Assembler;
use salvor_archive::index::Index;
use salvor_archive::item::ItemRef;
use salvor_archive::segment::SegmentBuilder;
use serde_json::Value;

/// Plural, version, preferred, body.
pub(crate) type Stored = (&'static str, &'static str, bool, Value);

/// An archive of these objects, each in a member of its own.
pub(crate) fn archive(objects: &[Stored]) -> (Index, Vec<u8>) {
    let (mut assembler, head) = Assembler::new();
    let mut file = head.to_vec();
    for (resource, version, preferred, body) in objects {
        let text = |key: &str| body["metadata"][key].as_str().map(str::to_owned);
        let key = ObjectKey {
            resource: resource.parse().expect("a resource"),
            namespace: text("namespace"),
            name: text("name").expect("a name"),
        };
        let bytes = body.to_string().into_bytes();
        let item = ItemRef {
            key: &key,
            version,
            preferred: *preferred,
            body: &bytes,
        };
        let mut segment = SegmentBuilder::new();
        segment.push(&item, 0).expect("it fits");
        let member = segment.finish().compress().expect("it compresses");
        file.extend_from_slice(&assembler.add(member).expect("it is added"));
    }
    let (tail, index) = assembler.finish();
    file.extend_from_slice(&tail);
    (index, file)
}
