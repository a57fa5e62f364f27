// SPDX-License-Identifier: MIT OR Apache-2.0

//! Results and agreements that a later event makes obsolete.

use super::*;
use crate::engine::tests::{good, kernel, run};
use crate::facts::Parameter;

fn tables(a: &[&'static str], b: &[&'static str]) -> Vec<Table> {
    [a, b].map(|heaps| Table { heaps: heaps.to_vec(), hold: 5, on_demand: false }).to_vec()
}

/// `a` has selected `low` and waits for `b`, which waits for the TEE.
fn agreeing_with(a: &[&'static str], pending: &[&str]) -> (Binder, Facts) {
    let mut facts = two(&["low"], pending);
    (facts.kernel.module, facts.kernel.parameter) = (None, Some(Parameter::Open));
    let mut engine = Binder::new(policy(&tables(a, &["protected,a"])), facts.clone());
    let held = |gpu| Event::Opened(name(gpu), Opened::Held(Monotonic(5_000_000)));
    run(&mut engine, &[(10, Event::Started), (20, held(0)), (30, held(1))]);
    run(&mut engine, &[(40, Event::Allocated(name(0), heap("low"), good()))]);
    assert!(engine.is_agreeing(&name(0)));
    (engine, facts)
}

fn optee_probes() -> Event {
    Event::Changed(vec![Change::Provider(device(OPTEE), Some(provider(OPTEE, Some("optee"))))])
}

#[test]
fn agreement_is_revoked_when_its_heap_vanishes() {
    let (mut engine, mut facts) = agreeing_with(&["low"], &[SVP, OPTEE]);
    facts.heaps.clear();
    run(&mut engine, &[(50, Event::Changed(vec![Change::All(Box::new(facts))]))]);
    assert_eq!(engine.binding(&name(0)).unwrap().state(), State::Waiting);
    let actions = run(&mut engine, &[(60, optee_probes())]);
    let bind = |action: &Action| matches!(action, Action::NameHeap(..));
    assert!(!actions.iter().any(bind), "{actions:?}");
}

#[test]
fn agreement_is_revoked_when_a_preferred_provider_appears() {
    let (mut engine, _) = agreeing_with(&["high", "low"], &[OPTEE]);
    let appears = Change::Provider(device(SVP), Some(provider(SVP, None)));
    run(&mut engine, &[(50, Event::Changed(vec![appears]))]);
    assert_eq!(engine.binding(&name(0)).unwrap().state(), State::Waiting);
    let actions = run(&mut engine, &[(60, optee_probes())]);
    let bind = |action: &Action| matches!(action, Action::NameHeap(..));
    assert!(!actions.iter().any(bind), "{actions:?}");
}

#[test]
fn upkeep_waits_for_the_result_of_a_pending_read() {
    let facts = two(&["protected,a", "low"], &[OPTEE]);
    let mut engine = Keeper::new(policy(&tables(&[], &["protected,a"])), facts);
    let nothing = || Event::Read(name(0), Ok(None));
    let looked = |heap| Event::Read(name(1), Ok(Some(kernel(heap))));
    run(&mut engine, &[(10, Event::Started), (20, nothing()), (20, looked("protected,a"))]);
    // The TEE does not register in time, and the event that arrives first is that of a heap. By
    // then another program has bound `b` to `low`.
    let actions = run(&mut engine, &[(1_000_020, Event::Changed(vec![Change::Heap(heap("new"))]))]);
    assert_eq!(actions, [Action::Read(name(0)), Action::Read(name(1))]);
    let actions = run(&mut engine, &[(1_000_020, nothing())]);
    assert!(!actions.contains(&Action::Withdraw(name(1))), "{actions:?}");
}
