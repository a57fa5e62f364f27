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
