// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the comparison of a binding with what selection would bind now.

#![allow(clippy::unwrap_used, reason = "tests")]

use protheap_core::facts::{Facts, Gpu, Module, Provider, Tee};
use protheap_core::next::{Current, Next, next};
use protheap_core::state::Reason;
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;

const HEAPS: &str = "{ name = 'protected,a' }, { name = 'low' }";
const SUSPEND_COUNT: u32 = 8;

fn heap(name: &str) -> HeapName {
    HeapName::new(name).unwrap()
}

/// Returns facts with a TEE whose driver is present, and these heaps.
fn facts(heaps: &[&str]) -> Facts {
    let mut facts = Facts::default();
    facts.kernel.module = Some(Module { abi: 1, can_allocate: false });
    facts.heaps = heaps.iter().map(|name| heap(name)).collect();
    facts.tees = vec![Tee { implementation: "optee".into(), revision: None }];
    let compatible = vec!["linaro,optee-tz".into()];
    let provider = Provider { compatible, loadable: true, ..Provider::default() };
    facts.providers.insert(DeviceName::new("optee").unwrap(), provider);
    facts
}

/// Returns the next binding of a GPU that is bound to `bound`.
fn next_of(facts: &Facts, bound: Option<(&str, Option<u32>)>) -> Option<Next> {
    let text = format!(
        "schema = 1\n[gpu.'a.gpu']\nheaps = [{HEAPS}]\nsuspend = {{ count = {SUSPEND_COUNT} }}\n"
    );
    let key = Key::new("acme,a9").unwrap();
    let files = vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()];
    let policy = Policy::new(Merged::new(files)).gpu(&DeviceName::new("a.gpu").unwrap(), &[]);
    let bound = bound.map(|(name, count)| (heap(name), count));
    let current =
        bound.as_ref().map(|(heap, suspend_count)| Current { heap, suspend_count: *suspend_count });
    next(policy.as_ref(), facts, &Gpu::default(), current)
}

fn next_heap(facts: &Facts, bound: Option<(&str, Option<u32>)>) -> Option<String> {
    Some(next_of(facts, bound)?.heap?.to_string())
}

#[test]
fn binding_with_another_number_of_suspend_buffers_is_replaced() {
    let facts = facts(&["low"]);
    assert_eq!(next_of(&facts, Some(("low", Some(SUSPEND_COUNT)))), None);
    assert_eq!(next_of(&facts, Some(("low", None))), None);
    let fewer = Some(("low", Some(SUSPEND_COUNT - 1)));
    assert_eq!(next_heap(&facts, fewer).as_deref(), Some("low"));
    assert_eq!(next_heap(&facts, Some(("other", None))).as_deref(), Some("low"));
}

#[test]
fn heap_whose_tee_is_not_registered_is_not_next() {
    let mut facts = facts(&["protected,a", "low"]);
    assert_eq!(next_heap(&facts, Some(("low", None))).as_deref(), Some("protected,a"));
    facts.tees.clear();
    assert_eq!(next_of(&facts, Some(("low", None))), None);
    // Without a TEE driver, the heap belongs to another driver that is not waited for.
    facts.providers.clear();
    assert_eq!(next_heap(&facts, Some(("low", None))).as_deref(), Some("protected,a"));
}

#[test]
fn next_heap_is_present() {
    // `protected,a` can still appear.
    assert_eq!(next_heap(&facts(&["low"]), Some(("other", None))).as_deref(), Some("low"));
    assert_eq!(next_heap(&facts(&["low"]), None).as_deref(), Some("low"));
}

#[test]
fn unbound_gpu_without_a_heap_has_no_next_binding() {
    assert_eq!(next_of(&facts(&[]), None), None);
    let unprotected = Next { heap: None, policy: None, reason: Some(Reason::NoHeap) };
    assert_eq!(next_of(&facts(&[]), Some(("low", None))), Some(unprotected));
}
