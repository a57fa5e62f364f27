// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bindings on demand.

use super::*;

fn bind_on_demand() -> Action {
    Action::BindOnDemand(gpu())
}

fn demand() -> Event {
    changed(Change::Demand(gpu()))
}

fn on_demand() -> (State, Option<Reason>) {
    (State::Unprotected, Some(Reason::OnDemand))
}

/// Returns a binding of which protected groups use `count` suspend buffers.
fn groups(count: u32) -> Option<KernelBinding> {
    Some(KernelBinding { in_use: true, suspend_in_use: count, ..kernel(TEE) })
}

/// Returns a daemon whose kernel waits for a demand, as its binder left it.
fn waiting() -> Keeper {
    let mut engine = Keeper::new(policy_on_demand(TEE_FIRST), with_tee());
    run(&mut engine, &[(10, Event::Started)]);
    assert_eq!(run(&mut engine, &[(20, looked(None))]), [Action::Open(gpu(), 0)]);
    assert_eq!(run(&mut engine, &[(30, Event::Opened(gpu(), Opened::OnDemand))]), []);
    assert_eq!(end(&engine), on_demand());
    engine
}

/// Returns whether a demand at this time makes the daemon allocate from the heap.
fn tries(engine: &mut Keeper, at: u64) -> bool {
    let opens = run(engine, &[(at, demand())]) == [Action::Open(gpu(), 0)];
    let opened = (at + 1, Event::Opened(gpu(), Opened::OnDemand));
    opens && matches!(&run(engine, &[opened])[..], [Action::Allocate(..)])
}

/// Binds the heap by a demand at this time.
fn binds(engine: &mut Keeper, at: u64) {
    assert!(tries(engine, at));
    let tried = (at + 2, Event::Allocated(gpu(), heap(TEE), good()));
    assert!(matches!(&run(engine, &[tried])[..], [Action::HandOver(..)]));
    assert_eq!(run(engine, &[(at + 3, Event::Bound(gpu(), Ok(free())))]), [look()]);
}

#[test]
fn demand_binds_and_idle_binding_is_released() {
    let mut engine = waiting();
    for at in [1_000, 100_000_000] {
        binds(&mut engine, at);
        assert_eq!(run(&mut engine, &[(at + 4, looked(groups(1)))]), []);
        assert_eq!(end(&engine), (State::InUse, None));
        let due = at + 10 + IDLE;
        assert_eq!(signalled(&mut engine, at + 10, groups(0)), [Action::WakeAt(Monotonic(due))]);
        // An unrelated signal does not restart the idle time.
        let again = signalled(&mut engine, at + 20, groups(0));
        assert_eq!(again, [Action::WakeAt(Monotonic(due))]);
        assert_eq!(run(&mut engine, &[(due, Event::Woken)]), [bind_on_demand()]);
        assert_eq!(run(&mut engine, &[(due + 1, Event::OnDemand(gpu(), Ok(())))]), []);
        assert_eq!(end(&engine), on_demand());
        assert_eq!(engine.binding(&gpu()).unwrap().heap(), None);
    }
    let steps = engine.binding(&gpu()).unwrap().timeline();
    let steps: Vec<_> = steps.iter().rev().take(5).rev().map(|step| &*step.step).collect();
    assert_eq!(steps, ["demanded", "tried", "bound", "released", "on-demand"]);
}

#[test]
fn group_created_within_the_idle_time_keeps_the_binding() {
    let mut engine = waiting();
    binds(&mut engine, 1_000);
    run(&mut engine, &[(1_010, looked(groups(0)))]);
    assert_eq!(signalled(&mut engine, 2_000, groups(1)), []);
    assert_eq!(run(&mut engine, &[(1_010 + IDLE, Event::Woken)]), []);
    // The kernel creates a group before the daemon sees it.
    signalled(&mut engine, 20_000_000, groups(0));
    let woken = (20_000_000 + IDLE, Event::Woken);
    assert_eq!(run(&mut engine, &[woken]), [bind_on_demand()]);
    let busy = Event::OnDemand(gpu(), Err("EBUSY".into()));
    assert_eq!(run(&mut engine, &[(20_000_001 + IDLE, busy)]), [look()]);
    assert_eq!(run(&mut engine, &[(20_000_002 + IDLE, looked(groups(1)))]), []);
    assert_eq!(end(&engine), (State::InUse, None));
}

#[test]
fn failed_demand_is_reported_and_retried_only_after_a_delay() {
    let mut engine = waiting();
    assert!(tries(&mut engine, 1_000));
    let small = Verdict::TooSmall("no memory".into());
    let actions = run(&mut engine, &[(1_010, Event::Allocated(gpu(), heap(TEE), small.clone()))]);
    assert_eq!(actions, [bind_on_demand()]);
    run(&mut engine, &[(1_020, Event::OnDemand(gpu(), Ok(())))]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapTooSmall)));
    assert_eq!(run(&mut engine, &[(2_000, demand())]), []);
    assert!(tries(&mut engine, 1_010 + RETRY));
}

#[test]
fn changed_fact_does_not_bind_on_demand_gpu() {
    let mut engine = waiting();
    run(&mut engine, &[(40, changed(Change::Heap(heap("low")))), (50, looked(None))]);
    assert_eq!(run(&mut engine, &[(60, Event::Opened(gpu(), Opened::OnDemand))]), []);
    assert_eq!(end(&engine), on_demand());
    // The TEE goes away and registers again.
    run(&mut engine, &[(70, tee_changes(false)), (80, looked(None))]);
    run(&mut engine, &[(90, tee_changes(true)), (100, looked(None))]);
    run(&mut engine, &[(110, Event::Opened(gpu(), Opened::OnDemand))]);
    assert_eq!(end(&engine), on_demand());
}

#[test]
fn changed_bind_mode_applies_at_once() {
    let mut engine = waiting();
    let boot = changed(Change::Policy(Box::new(policy(TEE_FIRST))));
    run(&mut engine, &[(40, boot), (50, looked(None))]);
    let actions = run(&mut engine, &[(60, Event::Opened(gpu(), Opened::OnDemand))]);
    assert!(matches!(&actions[..], [Action::Allocate(..)]));

    let mut engine = daemon(with_tee(), groups(0));
    let demand = changed(Change::Policy(Box::new(policy_on_demand(TEE_FIRST))));
    run(&mut engine, &[(40, demand)]);
    let actions = run(&mut engine, &[(50, looked(groups(0)))]);
    assert!(actions.contains(&Action::WakeAt(Monotonic(50 + IDLE))), "{actions:?}");
}

#[test]
fn demand_without_a_binding_fails_with_the_reason() {
    let waiting = waiting();
    let unbound = NoDemand::Unbound(State::Unprotected, Some(Reason::OnDemand));
    assert_eq!(waiting.demanded(&gpu()), Err(unbound));
    assert_eq!(waiting.demanded(&device("other")), Err(NoDemand::NoGpu));
    let mut at_boot = Keeper::new(policy(TEE_FIRST), with_tee());
    assert_eq!(at_boot.demanded(&gpu()), Err(NoDemand::AtBoot));
    run(&mut at_boot, &[(10, Event::Started), (20, looked(Some(kernel(TEE))))]);
    assert_eq!(at_boot.demanded(&gpu()), Ok(()));
}
