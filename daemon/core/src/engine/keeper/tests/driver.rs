// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bindings that are kept or replaced while no driver uses them.

use super::*;

/// Returns the event of a driver that is bound to the GPU or unbound.
fn driver(engine: &Keeper, driver: Option<&str>) -> Event {
    let csf = engine.facts().gpus[&gpu()].clone();
    let csf = Gpu { driver: driver.map(str::to_owned), ..csf };
    changed(Change::Gpu(gpu(), Some(csf)))
}

#[test]
fn driver_that_returns_keeps_its_binding_before_it_takes_buffers() {
    let mut engine = with_better(true);
    let gone = driver(&engine, None);
    assert_eq!(run(&mut engine, &[(60, gone)]), [look()]);
    let due = 70 + DRIVER_RETURNS;
    assert_eq!(run(&mut engine, &[(70, looked(low(false)))]), [Action::WakeAt(Monotonic(due))]);
    let back = driver(&engine, Some("csf"));
    assert_eq!(run(&mut engine, &[(80, back)]), [look()]);
    run(&mut engine, &[(90, looked(low(false)))]);
    assert_eq!(run(&mut engine, &[(due, Event::Woken)]), [look()]);
    assert_eq!(run(&mut engine, &[(due + 1, looked(low(false)))]), []);
    assert_eq!(end(&engine).0, State::Bound);
}

#[test]
fn rebind_replaces_the_adopted_heap() {
    let mut engine = with_better(false);
    run(&mut engine, &[(50, Event::Rebind(gpu())), (60, Event::Opened(gpu(), Opened::NotHeld))]);
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap(TEE)));
    run(&mut engine, &[(70, Event::Allocated(gpu(), heap(TEE), good()))]);
    run(&mut engine, &[(80, Event::Bound(gpu(), Ok(free()))), (90, looked(Some(kernel(TEE))))]);
    assert_eq!(end(&engine), (State::Bound, None));
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap(TEE)));
}
