// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks that tests observe every transition of [`TRANSITIONS`]. `Binding::enter` asserts in all
//! tests that no other transition occurs.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::tests::{
    device, facts, failed, free, good, gpu, heap, kernel, policy, policy_on_demand, run,
};
use super::*;
use crate::facts::{Facts, KernelBinding, Parameter, Tee, Verdict};
use crate::state::{State, TRANSITIONS};
use protheap_policy::policy::Policy;

type Seen = BTreeSet<(State, State)>;

thread_local! {
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen::new()) };
}

/// Records a transition in the tests of this thread.
pub(super) fn record(from: State, to: State) {
    SEEN.with_borrow_mut(|seen| seen.insert((from, to)));
}

const HEAPS: &str = "{ name = 'high', provider = 'acme,svp' }, { name = 'low' }";
const HOLD: u64 = 5_000_000;

fn changed(change: Change) -> Event {
    Event::Changed(vec![change])
}

fn appears(name: &str) -> Event {
    changed(Change::Heap(heap(name)))
}

fn opened(opened: Opened) -> Event {
    Event::Opened(gpu(), opened)
}

fn held() -> Event {
    opened(Opened::Held(Monotonic(HOLD)))
}

fn tried(name: &str, verdict: Verdict) -> Event {
    Event::Allocated(gpu(), heap(name), verdict)
}

/// Returns the event of reading a committed binding of the heap `low`.
fn looked(in_use: bool) -> Event {
    Event::Read(gpu(), Ok(Some(KernelBinding { in_use, ..kernel("low") })))
}

fn nothing() -> Event {
    Event::Read(gpu(), Ok(None))
}

fn no_policy() -> Event {
    changed(Change::Policy(Box::default()))
}

/// Feeds events at intervals of 10 µs, and returns the state after each.
fn states<M: Machine>(policy: Policy, facts: Facts, events: Vec<Event>) -> Vec<State> {
    let mut engine = M::new(policy, facts);
    let mut now = 0;
    let mut after = |event| {
        now += 10;
        run(&mut engine, &[(now, event)]);
        engine.binding(&gpu()).unwrap().state()
    };
    std::iter::once(Event::Started).chain(events).map(&mut after).collect()
}

/// States of a binder whose board has these heaps and a provider that is pending.
fn binder(heaps: &[&str], events: Vec<Event>) -> Vec<State> {
    states::<Binder>(policy(HEAPS), facts(heaps, &["acme,svp"]), events)
}

/// States of a daemon whose board has these heaps and a provider that is pending.
fn daemon(heaps: &[&str], events: Vec<Event>) -> Vec<State> {
    states::<Keeper>(policy(HEAPS), facts(heaps, &["acme,svp"]), events)
}

fn attempts() {
    use State::{Bound, Failed, Held, InUse, Preparing, Unprotected, Waiting};

    let committed = Event::Bound(gpu(), Ok(free()));
    let bound = vec![held(), tried("high", good()), committed];
    assert_eq!(binder(&["high"], bound), [Held, Preparing, Preparing, Bound]);
    let adopted = vec![opened(Opened::Adopted(heap("high"), true))];
    assert_eq!(binder(&["high"], adopted), [Held, InUse]);
    let refused = vec![opened(Opened::Refused("EPERM".into()))];
    assert_eq!(binder(&["high"], refused), [Held, Failed]);

    let rejected = vec![held(), tried("high", Verdict::Dead)];
    assert_eq!(binder(&["high"], rejected), [Held, Preparing, Waiting]);
    let gone = changed(Change::All(Box::new(facts(&[], &[]))));
    let gone = vec![held(), gone, tried("high", Verdict::Dead)];
    assert_eq!(binder(&["high"], gone), [Held, Preparing, Preparing, Unprotected]);
    let refused = vec![held(), tried("high", good()), Event::Bound(gpu(), Err("EXDEV".into()))];
    assert_eq!(binder(&["high"], refused), [Held, Preparing, Preparing, Failed]);

    let appears = vec![held(), appears("high")];
    assert_eq!(binder(&[], appears), [Held, Waiting, Preparing]);
    let fails = changed(Change::Provider(device("acme,svp"), Some(failed("acme,svp"))));
    assert_eq!(binder(&[], vec![held(), fails.clone()]), [Held, Waiting, Unprotected]);
    let dead = vec![held(), tried("high", Verdict::Dead), fails];
    assert_eq!(binder(&["high"], dead), [Held, Preparing, Waiting, Failed]);

    let with = |heaps, parameter| {
        let mut facts = facts(heaps, &["acme,svp"]);
        (facts.kernel.module, facts.kernel.parameter) = (None, Some(parameter));
        facts
    };
    let loaded = with(&["low"], Parameter::Set("low".into()));
    let loaded = vec![held(), changed(Change::All(Box::new(loaded)))];
    let open = with(&[], Parameter::Open);
    assert_eq!(states::<Binder>(policy(HEAPS), open, loaded), [Held, Waiting, Bound]);

    let on_demand = policy_on_demand("{ name = 'low' }");
    let events = vec![opened(Opened::NotHeld), Event::OnDemand(gpu(), Ok(()))];
    assert_eq!(
        states::<Binder>(on_demand, facts(&["low"], &[]), events),
        [Held, Held, Unprotected]
    );
}

fn upkeep() {
    use State::{Bound, Failed, Held, InUse, Preparing, Unprotected, Waiting};

    let in_use = vec![looked(false), looked(true), looked(false), nothing()];
    assert_eq!(daemon(&["low"], in_use), [Held, Bound, InUse, Bound, Unprotected]);
    let withdrawn = vec![looked(true), nothing(), looked(false), nothing(), looked(true)];
    let states_of = [Held, InUse, Unprotected, Bound, Unprotected, InUse];
    assert_eq!(daemon(&["low"], withdrawn), states_of);

    let refused = || Event::Read(gpu(), Err("EIO".into()));
    assert_eq!(daemon(&["low"], vec![refused(), looked(false)]), [Held, Failed, Bound]);
    assert_eq!(daemon(&["low"], vec![refused(), looked(true)]), [Held, Failed, InUse]);
    let events = vec![refused(), no_policy(), nothing()];
    assert_eq!(daemon(&["low"], events), [Held, Failed, Failed, Unprotected]);
    let events = vec![nothing(), appears("high"), refused()];
    assert_eq!(daemon(&[], events), [Held, Unprotected, Unprotected, Failed]);

    for (first, state) in [(nothing(), Unprotected), (refused(), Failed)] {
        for (result, next) in [(Opened::AlreadyProbed, Preparing), (hold_of_a_binder(), Waiting)] {
            let events = vec![first.clone(), appears("low"), nothing(), opened(result)];
            assert_eq!(daemon(&[], events), [Held, state, state, state, next]);
        }
    }

    let rebind = vec![looked(false), Event::Rebind(gpu()), opened(Opened::NotHeld)];
    assert_eq!(daemon(&["low"], rebind), [Held, Bound, Bound, Preparing]);

    let tee = Tee { implementation: "optee".into(), revision: None };
    let with_tee = Facts { tees: vec![tee], ..facts(&["low"], &[]) };
    for (in_use, state) in [(false, Bound), (true, InUse)] {
        let events = vec![looked(in_use), changed(Change::Tees(Vec::new()))];
        let states = states::<Keeper>(policy(HEAPS), with_tee.clone(), events);
        assert_eq!(states, [Held, state, Failed]);
    }
}

/// Returns the result of opening a binding whose hold a killed binder had started.
fn hold_of_a_binder() -> Opened {
    Opened::Held(Monotonic(HOLD))
}

#[test]
fn every_transition_is_observed() {
    SEEN.take();
    attempts();
    upkeep();
    let mut seen = SEEN.take();
    // `change_gpu()` replaces the binding: no state precedes that of the new one.
    seen.insert((State::Absent, State::Held));
    let table: Seen = TRANSITIONS.iter().map(|&(from, to, _)| (from, to)).collect();
    let unseen: Vec<_> = table.difference(&seen).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
    assert_eq!(table.len(), TRANSITIONS.len(), "a transition is listed twice");
}

#[test]
fn returning_gpu_starts_a_new_attempt() {
    let csf = facts(&[], &[]).gpus[&gpu()].clone();
    let events = vec![changed(Change::Gpu(gpu(), None)), changed(Change::Gpu(gpu(), Some(csf)))];
    assert_eq!(daemon(&["low"], events), [State::Held, State::Absent, State::Held]);
}
