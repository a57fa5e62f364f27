// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bindings under changed policies, and preferred heaps.

use super::*;

#[test]
fn preferred_heap_is_bound_once_the_driver_stays_unbound() {
    let mut engine = with_better(true);
    assert_eq!(engine.may_rebind(&gpu()), Err(NoRebind::InUse));
    assert_eq!(run(&mut engine, &[(50, Event::Rebind(gpu()))]), []);
    // The kernel signals the change before the driver is unbound.
    let returns = |at| at + DRIVER_RETURNS;
    let wake = |at| Action::WakeAt(Monotonic(returns(at)));
    assert_eq!(signalled(&mut engine, 60, low(false)), [wake(60)]);
    let driver = |engine: &Keeper, driver: Option<&str>| {
        let csf = &engine.facts().gpus[&gpu()];
        let csf = Gpu { driver: driver.map(str::to_owned), ..csf.clone() };
        changed(Change::Gpu(gpu(), Some(csf)))
    };
    let gone = driver(&engine, None);
    assert_eq!(run(&mut engine, &[(70, gone)]), [look()]);
    assert_eq!(run(&mut engine, &[(80, looked(low(false)))]), [wake(60)]);
    // The driver is bound again.
    let back = driver(&engine, Some("csf"));
    assert_eq!(run(&mut engine, &[(85, back)]), [look()]);
    assert_eq!(run(&mut engine, &[(86, looked(low(true)))]), []);
    assert_eq!(run(&mut engine, &[(returns(60), Event::Woken)]), []);
    let gone = driver(&engine, None);
    assert_eq!(run(&mut engine, &[(returns(70), gone)]), [look()]);
    let at = returns(80);
    assert_eq!(run(&mut engine, &[(at, looked(low(false)))]), [wake(at)]);
    assert_eq!(run(&mut engine, &[(returns(at), Event::Woken)]), [look()]);
    let actions = run(&mut engine, &[(returns(at) + 1, looked(low(false)))]);
    assert_eq!(actions, [remove(), Action::Open(gpu(), 0)]);
    let opened = (returns(at) + 2, Event::Opened(gpu(), Opened::NotHeld));
    let actions = run(&mut engine, &[opened]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap(TEE)));
}

#[test]
fn preferred_heap_is_bound_on_rebind_of_an_unused_binding() {
    let mut engine = with_better(false);
    assert_eq!(run(&mut engine, &[(50, Event::Woken)]), []);
    assert_eq!(engine.may_rebind(&gpu()), Ok(()));
    let actions = run(&mut engine, &[(60, Event::Rebind(gpu()))]);
    assert_eq!(actions, [remove(), Action::Open(gpu(), 0)]);
    assert_eq!(engine.may_rebind(&gpu()), Err(NoRebind::Busy));
    assert_eq!(engine.may_rebind(&device("other")), Err(NoRebind::NoGpu));
}

#[test]
fn empty_policy_withdraws_nothing_until_rebind() {
    let mut engine = with_better(false);
    let without = changed(Change::Policy(Box::default()));
    assert_eq!(run(&mut engine, &[(50, without)]), [look()]);
    assert_eq!(run(&mut engine, &[(60, looked(low(true)))]), []);
    let wake = Action::WakeAt(Monotonic(80 + DRIVER_RETURNS));
    assert_eq!(run(&mut engine, &[(70, hint()), (80, looked(low(false)))]), [wake]);
    let later = 80 + DRIVER_RETURNS;
    assert_eq!(run(&mut engine, &[(later, Event::Woken)]), [look()]);
    assert_eq!(run(&mut engine, &[(later + 1, looked(low(false)))]), []);
    let next = Next { heap: None, policy: None, reason: Some(Reason::NoPolicy) };
    assert_eq!(engine.next(&gpu()), Some(next));
    // Only a rebind request withdraws the binding.
    let actions = run(&mut engine, &[(later + 2, Event::Rebind(gpu()))]);
    assert_eq!(actions, [remove()]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoPolicy)));
}

#[test]
fn late_policy_binds_late() {
    let mut engine = Keeper::new(Policy::default(), with_tee());
    run(&mut engine, &[(10, Event::Started), (20, looked(None))]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoPolicy)));
    let with = changed(Change::Policy(Box::new(two())));
    run(&mut engine, &[(50, with)]);
    let actions = run(&mut engine, &[(60, looked(None))]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
}

#[test]
fn closed_image_keeps_the_bound_heap() {
    let after_its_tee_was_away = |policy: Policy| {
        let facts = Facts { heaps: [heap(TEE), heap("low")].into(), ..with_tee() };
        let mut engine = Keeper::new(policy, facts);
        run(&mut engine, &[(10, Event::Started), (20, looked(Some(kernel(TEE))))]);
        run(&mut engine, &[(30, tee_changes(false)), (40, looked(None))]);
        run(&mut engine, &[(50, tee_changes(true)), (60, looked(None))]);
        let opened = (70, Event::Opened(gpu(), Opened::AlreadyProbed));
        match &run(&mut engine, &[opened])[..] {
            [Action::Allocate(_, request)] => Some(request.heap.clone()),
            _ => None,
        }
    };
    let other_first = || policy("{ name = 'low' }, { name = 'protected,a' }");
    assert_eq!(after_its_tee_was_away(other_first()), Some(heap("low")));
    assert_eq!(after_its_tee_was_away(other_first().closed(true)), Some(heap(TEE)));
    let without = policy("{ name = 'low' }").closed(true);
    assert_eq!(after_its_tee_was_away(without), None);
}

#[test]
fn closed_image_keeps_the_bound_heap_when_policies_change() {
    let mut facts = with_tee();
    facts.heaps.insert(heap("low"));
    let mut engine = Keeper::new(policy(TEE_FIRST).closed(true), facts);
    run(&mut engine, &[(10, Event::Started), (20, looked(Some(kernel(TEE))))]);
    let other = changed(Change::Policy(Box::new(policy(LOW_FIRST).closed(true))));
    run(&mut engine, &[(30, other), (40, looked(Some(kernel(TEE))))]);
    assert_eq!(engine.next(&gpu()), None);
}
