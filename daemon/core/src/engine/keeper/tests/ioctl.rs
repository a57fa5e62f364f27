// SPDX-License-Identifier: MIT OR Apache-2.0

//! GPU drivers that take the firmware buffer by ioctl.

use super::*;
use crate::facts::Section;

const SECTION: Section = Section { firmware_bytes: 131_072, suspend_bytes: 40_960 };

/// Returns the GPU with this driver.
fn csf(section: Option<Section>) -> Gpu {
    let driver = Some("panthor".to_owned());
    Gpu { driver, section, ..with_tee().gpus[&gpu()].clone() }
}

/// Returns facts without protheap.ko, with a TEE, its heap, and a driver that takes the buffer.
fn with_driver() -> Facts {
    let mut facts = with_tee();
    facts.kernel.module = None;
    facts.gpus.insert(gpu(), csf(Some(SECTION)));
    facts
}

/// Returns the kernel's view of a buffer that was set.
fn set() -> KernelBinding {
    let (source, in_use, suspend_count) = (Source::Ioctl, true, 0);
    KernelBinding { source, in_use, suspend_count, ..kernel(TEE) }
}

fn opened() -> Event {
    Event::Opened(gpu(), Opened::AlreadyProbed)
}

/// Returns a daemon that has set the buffer.
fn bound() -> Keeper {
    let mut engine = daemon(with_driver(), None);
    run(&mut engine, &[(30, opened()), (40, Event::Allocated(gpu(), heap(TEE), good()))]);
    let bound = Event::Bound(gpu(), Ok(Bound { in_use: true, judged: None }));
    run(&mut engine, &[(50, bound), (60, looked(Some(set())))]);
    assert_eq!(end(&engine), (State::InUse, None));
    engine
}

#[test]
fn running_driver_gets_a_buffer_of_the_size_that_it_reports() {
    let mut engine = Keeper::new(two(), with_driver());
    run(&mut engine, &[(10, Event::Started)]);
    let actions = run(&mut engine, &[(20, looked(None))]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
    let actions = run(&mut engine, &[(30, opened())]);
    let [Action::Allocate(_, request)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((request.source, &request.heap), (Source::Ioctl, &heap(TEE)));
    assert_eq!((request.firmware_bytes, request.suspend_bytes), (131_072, 40_960));
    assert_eq!(request.suspend_count, 0, "clients allocate suspend buffers");
    let actions = run(&mut engine, &[(40, Event::Allocated(gpu(), heap(TEE), good()))]);
    assert!(matches!(&actions[..], [Action::HandOver(_, handed)] if handed == request));
}

#[test]
fn state_has_the_sizes_of_the_driver_and_no_number_of_suspend_buffers() {
    let engine = bound();
    let state = gpu_state(&engine, &gpu(), engine.binding(&gpu()).unwrap());
    assert_eq!(state.delivery, Some(crate::facts::Delivery::Ioctl));
    assert_eq!((state.firmware_bytes, state.suspend_bytes), (Some(262_144), Some(65_536)));
    assert_eq!((state.suspend_count, state.suspend_buffers, state.next), (None, None, None));
    // Also while nothing is bound.
    let mut engine = Keeper::new(policy(""), with_driver());
    run(&mut engine, &[(10, Event::Started), (20, looked(None))]);
    let state = gpu_state(&engine, &gpu(), engine.binding(&gpu()).unwrap());
    assert_eq!((state.firmware_bytes, state.suspend_bytes), (Some(131_072), Some(40_960)));
    assert_eq!(state.suspend_count, None);
}

#[test]
fn memory_that_the_cpu_can_map_is_rejected_even_if_the_policy_permits_it() {
    let text = "schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = [{ name = 'low' }]\n\
                allow-unprotected = true\n";
    let fragment = Fragment::parse(&Key::new("acme,a9").unwrap(), "acme,a9.toml", text).unwrap();
    let facts = Facts { heaps: [heap("low")].into(), ..with_driver() };
    let mut engine = Keeper::new(Policy::new(Merged::new(vec![fragment])), facts);
    run(&mut engine, &[(10, Event::Started), (20, looked(None)), (30, opened())]);
    let exporter = "system".to_owned();
    let protection = crate::facts::Protection::None;
    let verdict = Verdict::Allocated { protection, exporter, shortage: None };
    run(&mut engine, &[(40, Event::Allocated(gpu(), heap("low"), verdict))]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapNotProtected)));
    let detail = &engine.binding(&gpu()).unwrap().trace[0].detail;
    assert!(detail.contains("delivery `ioctl`"), "{detail}");
}

#[test]
fn driver_that_is_bound_later_gets_a_buffer() {
    let mut facts = with_driver();
    facts.gpus.insert(gpu(), Gpu { driver: None, section: None, ..csf(None) });
    let mut engine = daemon(facts, None);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoConsumer)));
    let comes = changed(Change::Gpu(gpu(), Some(csf(Some(SECTION)))));
    assert_eq!(run(&mut engine, &[(30, comes)]), [look()]);
    let actions = run(&mut engine, &[(40, looked(None))]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
}

#[test]
fn binding_of_the_module_is_replaced_if_the_driver_does_not_request_it() {
    let mut facts = with_tee();
    facts.gpus.insert(gpu(), Gpu { driver: None, ..csf(None) });
    let mut engine = daemon(facts, Some(kernel(TEE)));
    assert_eq!(end(&engine).0, State::Bound);
    let comes = changed(Change::Gpu(gpu(), Some(csf(Some(SECTION)))));
    assert_eq!(run(&mut engine, &[(30, comes)]), [look()]);
    // protheap.ko has the binding, and the driver no buffer.
    let actions = run(&mut engine, &[(40, looked(None))]);
    assert_eq!(actions, [look()]);
    let actions = run(&mut engine, &[(50, looked(None))]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
}

#[test]
fn buffer_that_the_driver_released_is_set_again() {
    let mut engine = bound();
    let actions = signalled(&mut engine, 70, None);
    assert_eq!(actions, [look()]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::Withdrawn)));
    let actions = run(&mut engine, &[(80, looked(None))]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
    let actions = run(&mut engine, &[(90, opened())]);
    assert!(matches!(actions[..], [Action::Allocate(..)]), "{actions:?}");
}

#[test]
fn refused_withdrawal_is_repeated_until_no_protected_group_exists() {
    let mut engine = bound();
    let actions = run(&mut engine, &[(1_000, tee_changes(false))]);
    assert!(actions.contains(&Action::Withdraw(gpu())), "{actions:?}");
    let refused = || Event::Withdrawn(gpu(), Err("EBUSY".into()));
    let due = 1_010 + RETRY;
    let log = Action::Log(gpu(), "EBUSY".into());
    let wake = Action::WakeAt(Monotonic(due));
    assert_eq!(run(&mut engine, &[(1_010, refused())]), [log, wake]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    // A fact that changes meanwhile does not adopt the buffer again.
    let other = changed(Change::Heap(heap("other")));
    run(&mut engine, &[(2_000, other), (2_010, looked(None))]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    let actions = run(&mut engine, &[(due, Event::Woken)]);
    assert!(actions.contains(&Action::Withdraw(gpu())), "{actions:?}");
    // The error is logged once.
    let actions = run(&mut engine, &[(due + 10, refused())]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(due + 10 + RETRY))]);
    let actions = run(&mut engine, &[(due + 10 + RETRY, Event::Woken)]);
    assert_eq!(actions[0], Action::Withdraw(gpu()));
    let actions = run(&mut engine, &[(due + 20 + RETRY, Event::Withdrawn(gpu(), Ok(())))]);
    assert_eq!(actions, [look()]);
    // The buffer is gone, and the TEE as well.
    let actions = run(&mut engine, &[(due + 30 + RETRY, looked(None))]);
    assert_eq!(actions, []);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
}

#[test]
fn refused_withdrawal_ends_with_the_driver() {
    let mut engine = bound();
    run(&mut engine, &[(1_000, tee_changes(false))]);
    run(&mut engine, &[(1_010, Event::Withdrawn(gpu(), Err("EBUSY".into())))]);
    let goes = changed(Change::Gpu(gpu(), Some(Gpu { driver: None, ..csf(None) })));
    run(&mut engine, &[(2_000, goes), (2_010, looked(None))]);
    let actions = run(&mut engine, &[(10 * RETRY, Event::Woken)]);
    assert!(!actions.contains(&Action::Withdraw(gpu())), "{actions:?}");
}

#[test]
fn policy_on_demand_binds_at_once() {
    let mut engine = Keeper::new(policy_on_demand(TEE_FIRST), with_driver());
    run(&mut engine, &[(10, Event::Started), (20, looked(None))]);
    let actions = run(&mut engine, &[(30, opened())]);
    assert!(matches!(actions[..], [Action::Allocate(..)]), "{actions:?}");
}

#[test]
fn buffer_that_protected_groups_use_is_not_replaced_yet() {
    let mut engine = daemon(with_driver(), None);
    let busy = Event::Opened(gpu(), Opened::Busy("EBUSY".into()));
    let actions = run(&mut engine, &[(30, busy)]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(30 + RETRY))]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::Withdrawn)));
    let actions = run(&mut engine, &[(30 + RETRY, Event::Woken)]);
    assert_eq!(actions, [Action::Open(gpu(), 0)]);
}

#[test]
fn selection_can_be_repeated_while_nothing_is_bound() {
    assert_eq!(bound().may_rebind(&gpu()), Err(NoRebind::InUse));
    let mut engine = Keeper::new(policy(""), with_driver());
    run(&mut engine, &[(10, Event::Started), (20, looked(None))]);
    assert_eq!(engine.may_rebind(&gpu()), Ok(()));
}
