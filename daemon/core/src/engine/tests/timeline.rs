// SPDX-License-Identifier: MIT OR Apache-2.0

//! Steps of the timeline and outcomes of the trace.

use super::*;
use crate::trace::Outcome;

fn steps(engine: &Engine<false>) -> Vec<&str> {
    engine.bindings()[&gpu()].timeline().iter().map(|step| &*step.step).collect()
}

fn changed(change: Change) -> Event {
    Event::Changed(vec![change])
}

/// Returns a binder that holds the GPU until one of two providers registers its heap.
fn waiting() -> Engine<false> {
    let mut engine = Engine::<false>::new(two(), facts(&[], &["acme,svp", "linaro,optee-tz"]));
    run(&mut engine, &[(10, Event::Started), (20, window(HOLD))]);
    assert_eq!(steps(&engine), ["window-opened"]);
    engine
}

#[test]
fn change_is_recorded_once() {
    let mut engine = waiting();
    let settled = Some(provider("linaro,optee-tz", Some("optee")));
    let settles = changed(Change::Provider(device("linaro,optee-tz"), settled));
    run(&mut engine, &[(30, settles.clone()), (40, settles)]);
    assert_eq!(steps(&engine), ["window-opened", "provider-settled"]);
    let appears = changed(Change::Heap(heap("low")));
    run(&mut engine, &[(50, appears.clone()), (60, appears)]);
    assert_eq!(steps(&engine), ["window-opened", "provider-settled", "heap-appeared"]);
}

#[test]
fn heap_of_a_lost_event_is_recorded() {
    let mut engine = waiting();
    let all = Box::new(facts(&["other"], &["acme,svp"]));
    run(&mut engine, &[(30, changed(Change::All(all)))]);
    let step = engine.bindings()[&gpu()].timeline().last().unwrap();
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
    let mut engine = Engine::<false>::new(two(), facts(&["low"], &[]));
    run(&mut engine, &[(10, Event::Started), (20, window(HOLD))]);
    run(&mut engine, &[(30, Event::Tried(gpu(), heap("low"), short(12)))]);
    run(&mut engine, &[(40, Event::Bound(gpu(), Ok(free())))]);
    let trace = engine.considered(&gpu(), &engine.bindings()[&gpu()]);
    assert_eq!(trace[1].outcome, Outcome::Bound);
    assert_eq!(trace[1].detail, "exporter tee; 12 of 16 suspend buffers: no memory");
}

#[test]
fn last_call_leaves_time_to_allocate() {
    let mut engine = Engine::<false>::new(two(), facts(&["low"], &["acme,svp"]));
    let actions = run(&mut engine, &[(10, Event::Started), (20, window(HOLD))]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(HOLD - 250_000))]);
}

#[test]
fn result_without_its_action_changes_nothing() {
    let mut engine = waiting();
    let before = engine.clone();
    for stray in [
        Event::Opened(gpu(), Opened::NoConsumer),
        Event::Tried(gpu(), heap("low"), good()),
        Event::Bound(gpu(), Ok(free())),
        Event::Bound(gpu(), Err("no".into())),
    ] {
        run(&mut engine, &[(30, stray)]);
        assert_eq!(engine, before);
    }
}
