//! What a backup is about to read, before it reads it.

use std::collections::BTreeSet;

use salvor_api::resource::GroupResource;

use super::collect::Collector;
use super::plan::Reach;

/// Lists to read, and where commands run. A namespace that is `None` stands for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) lists: BTreeSet<(GroupResource, Option<String>)>,
    /// Namespaces in whose pods the spec's hooks may run, or whose volumes are copied because the spec asks for it: who
    /// did that by hand would do both by commands in pods. What a pod's own annotations ask for is the will of whoever
    /// may change the pod.
    pub(crate) commands: BTreeSet<Option<String>>,
}

/// The namespaces that are read one by one, or all at once.
fn places(collector: &Collector) -> Vec<Option<String>> {
    match collector.scope.one_by_one() {
        Some(names) => names.map(|name| Some(name.to_owned())).collect(),
        None => vec![None],
    }
}

pub(crate) fn of(collector: &Collector) -> Reads {
    let mut reads = Reads::default();
    let lines = collector.plan.resources.iter();
    for line in lines.filter(|line| line.reach == Reach::Listed) {
        let resource = line.resource.group_resource();
        let namespaces = match line.resource.namespaced {
            true => places(collector),
            false => vec![None],
        };
        for namespace in namespaces {
            reads.lists.insert((resource.clone(), namespace));
        }
    }
    if !collector.hooks.is_empty() || collector.volumes(|volumes| volumes.may_copy()) {
        reads.commands.extend(places(collector));
    }
    reads
}
