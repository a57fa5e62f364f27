// SPDX-License-Identifier: MIT OR Apache-2.0

//! Steps of the timeline and outcomes of the trace.

use super::*;
use crate::trace::Outcome;

fn steps(engine: &Binder) -> Vec<&str> {
    engine.binding(&gpu()).unwrap().timeline().iter().map(|step| &*step.step).collect()
}

fn changed(change: Change) -> Event {
    Event::Changed(vec![change])
}

/// Returns a binder that holds the GPU until one of two providers registers its heap.
fn waiting() -> Binder {
    let mut engine = Binder::new(two(), facts(&[], &["acme,svp", "linaro,optee-tz"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(steps(&engine), ["hold-started"]);
    let started = &engine.binding(&gpu()).unwrap().timeline()[0];
    assert_eq!(started.detail, "for at most 4999 ms");
    engine
}

#[test]
fn change_is_recorded_once() {
    let mut engine = waiting();
    let probed = Some(provider("linaro,optee-tz", Some("optee")));
    let probes = changed(Change::Provider(device("linaro,optee-tz"), probed));
    run(&mut engine, &[(30, probes.clone()), (40, probes)]);
    assert_eq!(steps(&engine), ["hold-started", "provider-probed"]);
    let appears = changed(Change::Heap(heap("low")));
    run(&mut engine, &[(50, appears.clone()), (60, appears)]);
    assert_eq!(steps(&engine), ["hold-started", "provider-probed", "heap-appeared"]);
}

/// Returns a binder that holds the GPU for a module.
fn waiting_for_module(state: HeapModule) -> Binder {
    let mut facts = facts(&[], &[]);
    facts.heap_modules.insert("acme_svp".into(), state);
    let mut engine = Binder::new(policy("{ name = 'high', module = 'acme-svp' }"), facts);
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(end(&engine).0, State::Waiting);
    engine
}

fn module(state: HeapModule) -> Event {
    changed(Change::Module("acme_svp".into(), state))
}

#[test]
fn heap_of_a_module_is_bound_when_it_is_loaded() {
    let mut engine = waiting_for_module(HeapModule::Installed);
    let coming = module(HeapModule::Coming);
    run(&mut engine, &[(30, coming.clone()), (40, coming)]);
    let both =
        vec![Change::Heap(heap("high")), Change::Module("acme_svp".into(), HeapModule::Live)];
    let actions = run(&mut engine, &[(50, Event::Changed(both))]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("high")));
    let expected = ["hold-started", "module-loading", "heap-appeared", "module-loaded"];
    assert_eq!(steps(&engine), expected);
}

#[test]
fn module_that_fails_or_registers_no_heap_ends_the_hold() {
    for (before, state, step) in [
        (HeapModule::Coming, HeapModule::Gone, "module-failed"),
        (HeapModule::Installed, HeapModule::Gone, "module-failed"),
        (HeapModule::Installed, HeapModule::Live, "module-loaded"),
    ] {
        let mut engine = waiting_for_module(before);
        let actions = run(&mut engine, &[(30, module(state))]);
        assert_eq!(run(&mut engine, &[(40, module(state))]), []);
        assert_eq!(actions, [Action::EndHold(gpu(), Reason::NoHeap)]);
        assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoHeap)));
        assert_eq!(steps(&engine), ["hold-started", step, "no-heap"]);
    }
}

#[test]
fn module_that_is_never_loaded_holds_the_gpu_until_the_hold_expires() {
    let mut engine = waiting_for_module(HeapModule::Installed);
    run(&mut engine, &[(HOLD - 250_000, Event::Woken)]);
    assert_eq!(end(&engine).0, State::Waiting);
    run(&mut engine, &[(HOLD, Event::Woken)]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::HeapLate)));
}

#[test]
fn loaded_module_revives_its_heap() {
    let mut engine = waiting_for_module(HeapModule::Coming);
    let dead = Event::Allocated(gpu(), heap("high"), Verdict::Dead);
    run(&mut engine, &[(30, changed(Change::Heap(heap("high")))), (40, dead)]);
    assert_eq!(end(&engine).0, State::Waiting);
    let actions = run(&mut engine, &[(50, module(HeapModule::Live))]);
    assert!(matches!(&actions[..], [Action::Allocate(..)]), "{actions:?}");
}

#[test]
fn heap_of_a_lost_event_is_recorded() {
    let mut engine = waiting();
    let all = Box::new(facts(&["other"], &["acme,svp"]));
    run(&mut engine, &[(30, changed(Change::All(all)))]);
    let step = engine.binding(&gpu()).unwrap().timeline().last().unwrap();
    assert_eq!((&*step.step, &*step.detail), ("heap-appeared", "other"));
}

#[test]
fn gpu_of_a_lost_event_leaves() {
    let mut engine = waiting();
    let mut all = facts(&[], &["acme,svp"]);
    all.gpus.clear();
    run(&mut engine, &[(30, changed(Change::All(Box::new(all))))]);
    assert_eq!(end(&engine).0, State::Absent);
    assert!(engine.is_done());
}

#[test]
fn trace_shows_how_the_bound_heap_was_allocated() {
    let mut engine = Binder::new(two(), facts(&["low"], &[]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    run(&mut engine, &[(30, Event::Allocated(gpu(), heap("low"), short(12)))]);
    run(&mut engine, &[(40, Event::Bound(gpu(), Ok(free())))]);
    let trace = engine.considered(&gpu(), engine.binding(&gpu()).unwrap());
    assert_eq!(trace[1].outcome, Outcome::Bound);
    assert_eq!(trace[1].detail, "exporter tee; 12 of 16 suspend buffers: no memory");
}

#[test]
fn last_call_leaves_time_to_allocate() {
    let mut engine = Binder::new(two(), facts(&["low"], &["acme,svp"]));
    let actions = run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(HOLD - 250_000))]);
}

#[test]
fn result_without_its_action_changes_nothing() {
    let mut engine = waiting();
    let before = engine.clone();
    for stray in [
        Event::Opened(gpu(), Opened::NoConsumer),
        Event::Allocated(gpu(), heap("low"), good()),
        Event::Bound(gpu(), Ok(free())),
        Event::Bound(gpu(), Err("no".into())),
    ] {
        run(&mut engine, &[(30, stray)]);
        assert_eq!(engine, before);
    }
}
