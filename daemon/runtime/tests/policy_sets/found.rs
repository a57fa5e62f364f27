// SPDX-License-Identifier: MIT OR Apache-2.0

//! Contents of a policy, in the notation of its files.

use std::collections::BTreeMap;

use protheap_policy::name::DeviceName;
use protheap_policy::node::Origin;
use protheap_policy::policy::{GpuPolicy, Policy};
use protheap_policy::schema::{Candidate, EvidenceStatus, Sourced};

use crate::model::Said;
use crate::set::{quoted, written};

pub(crate) fn gpu_of(policy: &Policy, [device, compatible @ ..]: [&str; 3]) -> Option<GpuPolicy> {
    policy.gpu(&DeviceName::new(device).unwrap(), &compatible.map(str::to_owned))
}

/// Returns the file and the text of a value, and checks that the file has this text at the origin.
fn said(origin: &Origin, value: String) -> (String, String) {
    assert_eq!(origin.file.text.get(origin.span.0..origin.span.1), Some(value.as_str()));
    (origin.file.path.clone(), value)
}

fn candidate(heap: &Candidate) -> String {
    let provider = heap.provider.as_deref().map(|name| ("provider", name));
    let by = provider.or(heap.module.as_deref().map(|name| ("module", name)));
    let tee = heap.conditions.tee.as_deref();
    said(&heap.origin, written(&heap.name.to_string(), tee, by)).1
}

pub(crate) fn said_of_gpu(gpu: &GpuPolicy) -> Said {
    fn one<T>(all: &mut Said, key: &str, value: &Option<Sourced<T>>, text: fn(&T) -> String) {
        let value = value.iter().map(|value| said(&value.origin, text(&value.value)));
        all.extend(value.map(|value| (key.to_owned(), value)));
    }
    let (mut all, table) = (Said::new(), gpu.table());
    one(&mut all, "heaps", &table.heaps, |heaps| {
        format!("[{}]", heaps.iter().map(candidate).collect::<Vec<_>>().join(", "))
    });
    one(&mut all, "bind", &table.bind, |bind| quoted(bind.as_str()));
    one(&mut all, "hold", &table.hold, |us| format!("\"{}s\"", us / 1_000_000));
    one(&mut all, "suspend bytes", &table.suspend_bytes, |b| format!("\"{}KiB\"", b / 1024));
    one(&mut all, "suspend count", &table.suspend_count, ToString::to_string);
    one(&mut all, "firmware", &table.firmware, |name| quoted(name));
    one(&mut all, "allow-unprotected", &table.allow_unprotected, ToString::to_string);
    all
}

pub(crate) fn said_of_shares(policy: &Policy) -> Said {
    let mut all = Said::new();
    for (device, share) in &policy.content().share {
        for (usage, heaps) in share {
            let names: Vec<_> = heaps.value.iter().map(|heap| quoted(heap.as_str())).collect();
            let value = format!("[{}]", names.join(", "));
            all.insert(format!("{device} {usage}"), said(&heaps.origin, value));
        }
    }
    all
}

/// Evidence has no origin.
pub(crate) fn evidence(policy: &Policy) -> BTreeMap<String, String> {
    let evidence = policy.content().evidence.iter();
    let status = |status: EvidenceStatus| quoted(&format!("{status:?}").to_lowercase());
    evidence.map(|(heap, known)| (format!("{heap} status"), status(known.status))).collect()
}
