// SPDX-License-Identifier: MIT OR Apache-2.0

mod random;
mod timeline;

use proptest::prelude::*;

use super::attempt::LAST_CALL;
use super::*;
use crate::facts::{
    Facts, Failure, Gpu, HeapModule, KernelBinding, Module, Parameter, Protection, Provider,
    Shortage, Source, Verdict,
};
use crate::state::{Reason, State};
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;

const HOLD: u64 = 5_000_000;

pub(super) fn policy(heaps: &str) -> Policy {
    policy_with(heaps, "")
}

/// Returns a policy that binds these heaps on demand.
pub(super) fn policy_on_demand(heaps: &str) -> Policy {
    policy_with(heaps, "bind = 'demand'")
}

fn policy_with(heaps: &str, more: &str) -> Policy {
    let text = format!(
        "schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = [{heaps}]\nhold = '5s'\n{more}\n"
    );
    let key = Key::new("acme,a9").unwrap();
    Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()]))
}

fn two() -> Policy {
    policy("{ name = 'high', provider = 'acme,svp' }, { name = 'low' }")
}

pub(super) fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

pub(super) fn gpu() -> DeviceName {
    device("a.gpu")
}

pub(super) fn heap(name: &str) -> HeapName {
    HeapName::new(name).unwrap()
}

pub(super) fn provider(compatible: &str, driver: Option<&str>) -> Provider {
    Provider {
        compatible: vec![compatible.into()],
        driver: driver.map(str::to_owned),
        loadable: true,
        ..Provider::default()
    }
}

/// Returns a provider whose probe failed.
pub(super) fn failed(compatible: &str) -> Provider {
    let message = "probe with driver d failed with error -22".to_owned();
    let failure = Some(Failure { message, certain: true });
    Provider { failure, ..provider(compatible, None) }
}

pub(super) fn facts(heaps: &[&str], pending: &[&str]) -> Facts {
    let mut facts = Facts::default();
    let csf = Gpu { compatible: vec!["arm,mali-valhall-csf".into()], ..Gpu::default() };
    facts.gpus.insert(gpu(), csf);
    facts.kernel.module = Some(Module { abi: 1, can_allocate: false });
    facts.heaps = heaps.iter().map(|name| heap(name)).collect();
    for name in pending {
        facts.providers.insert(device(name), provider(name, None));
    }
    facts
}

pub(super) fn good() -> Verdict {
    Verdict::Allocated { protection: Protection::Tee, exporter: "tee".into(), shortage: None }
}

/// Returns a verdict with the firmware buffer and `allocated` of 16 suspend buffers.
pub(super) fn short(allocated: u32) -> Verdict {
    let shortage = Some(Shortage { allocated, wanted: 16, why: "no memory".into() });
    Verdict::Allocated { protection: Protection::Tee, exporter: "tee".into(), shortage }
}

/// Returns a verdict on buffers that the CPU can map.
fn mappable(exporter: &str) -> Verdict {
    let exporter = exporter.to_owned();
    Verdict::Allocated { protection: Protection::None, exporter, shortage: None }
}

/// Returns whether the verdict permits binding.
pub(super) fn passes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allocated { protection: Protection::Tee, .. })
}

/// Returns a binding that the driver does not use yet.
pub(super) fn free() -> Bound {
    Bound { in_use: false, judged: None }
}

/// Returns the kernel's view of a binding of this heap.
pub(super) fn kernel(name: &str) -> KernelBinding {
    KernelBinding {
        heap: heap(name),
        source: Source::Handed,
        exporter: "tee".into(),
        protection: Protection::Tee,
        in_use: false,
        firmware_bytes: 262_144,
        suspend_bytes: 65_536,
        suspend_count: protheap_policy::policy::SUSPEND_COUNT,
        suspend_buffers: protheap_policy::policy::SUSPEND_COUNT,
        suspend_in_use: 0,
        suspend_wanted: 0,
    }
}

/// Access to what a machine hides.
pub(super) trait Inspect: Machine {
    /// Returns whether no attempt and no action is pending for a GPU.
    fn has_ended(&self, device: &DeviceName) -> bool;

    /// Returns whether a GPU waits for the driver's other GPUs.
    fn is_agreeing(&self, device: &DeviceName) -> bool;

    /// Returns everything that is known of a GPU's binding.
    fn whole(&self, device: &DeviceName) -> String;
}

impl Inspect for Binder {
    fn has_ended(&self, device: &DeviceName) -> bool {
        self.gpus.get(device).is_none_or(|gpu| gpu.attempt.has_ended())
    }

    fn is_agreeing(&self, device: &DeviceName) -> bool {
        self.gpus.get(device).is_some_and(|gpu| gpu.attempt.is_agreeing())
    }

    fn whole(&self, device: &DeviceName) -> String {
        format!("{:?}", self.gpus.get(device))
    }
}

/// Returns the bindings of all GPUs.
pub(super) fn bindings(engine: &impl Machine) -> impl Iterator<Item = &Binding> {
    engine.bindings().map(|(_, binding)| binding)
}

/// Returns a result of handing suspend buffers over, by its number, and changes what the kernel
/// requests accordingly.
pub(super) fn supply_result(bound: &mut KernelBinding, number: u8) -> Supplied {
    match number {
        0 => Supplied::Refused("no".into()),
        1 => {
            bound.suspend_wanted -= 1;
            Supplied::NoMemory("no".into())
        }
        // The kernel cannot use the buffers.
        2 => Supplied::All,
        _ => {
            bound.suspend_wanted = 0;
            Supplied::All
        }
    }
}

/// Feeds events at times, and returns the actions of the last one.
pub(super) fn run(engine: &mut impl Machine, events: &[(u64, Event)]) -> Vec<Action> {
    let mut actions = Vec::new();
    for (at, event) in events {
        actions = engine.on(event.clone(), Monotonic(*at));
    }
    actions
}

fn held(end: u64) -> Event {
    Event::Opened(gpu(), Opened::Held(Monotonic(end)))
}

pub(super) fn end(engine: &impl Machine) -> (State, Option<Reason>) {
    let binding = engine.binding(&gpu()).unwrap();
    (binding.state(), binding.reason())
}

#[test]
fn present_heap_is_bound_during_the_hold() {
    let mut engine = Binder::new(two(), facts(&["low"], &[]));
    let actions = run(&mut engine, &[(10, Event::Started)]);
    assert_eq!(actions, [Action::Open(gpu(), 5_000)]);
    let actions = run(&mut engine, &[(20, held(HOLD))]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("low")));
    let actions = run(&mut engine, &[(30, Event::Allocated(gpu(), heap("low"), good()))]);
    assert!(matches!(&actions[..], [Action::HandOver(..)]));
    let actions = run(&mut engine, &[(50, Event::Bound(gpu(), Ok(free())))]);
    assert_eq!(actions, []);
    assert_eq!(end(&engine), (State::Bound, None));
    assert_eq!(engine.binding(&gpu()).unwrap().held(), 30);
    let steps: Vec<_> =
        engine.binding(&gpu()).unwrap().timeline().iter().map(|s| &*s.step).collect();
    assert_eq!(steps, ["hold-started", "tried", "bound"]);
}

#[test]
fn gpu_bound_on_demand_is_not_held() {
    for there in [&["low"][..], &[]] {
        let policy = policy_on_demand("{ name = 'high', provider = 'acme,svp' }, { name = 'low' }");
        let mut engine = Binder::new(policy, facts(there, &["acme,svp"]));
        assert_eq!(run(&mut engine, &[(10, Event::Started)]), [Action::Open(gpu(), 0)]);
        let actions = run(&mut engine, &[(20, Event::Opened(gpu(), Opened::NotHeld))]);
        assert_eq!(actions, [Action::BindOnDemand(gpu())]);
        assert!(!engine.is_done());
        assert_eq!(run(&mut engine, &[(30, Event::OnDemand(gpu(), Ok(())))]), []);
        assert_eq!(end(&engine), (State::Unprotected, Some(Reason::OnDemand)));
        assert!(engine.is_done());
    }
}

#[test]
fn on_demand_policy_binds_at_boot_without_the_module() {
    let mut facts = facts(&["low"], &[]);
    facts.kernel.module = None;
    facts.kernel.parameter = Some(Parameter::Open);
    let mut engine = Binder::new(policy_on_demand("{ name = 'low' }"), facts);
    assert_eq!(run(&mut engine, &[(10, Event::Started)]), [Action::Open(gpu(), 5_000)]);
}

#[test]
fn board_without_provider_and_heap_is_not_held() {
    let mut engine = Binder::new(two(), facts(&[], &[]));
    assert_eq!(run(&mut engine, &[(10, Event::Started)]), []);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoProvider)));
}

#[test]
fn hold_ends_when_the_provider_probes_without_a_heap() {
    let mut engine = Binder::new(two(), facts(&[], &["acme,svp"]));
    let actions = run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(HOLD - LAST_CALL))]);
    let probed = Change::Provider(device("acme,svp"), Some(provider("acme,svp", Some("svp"))));
    let actions = run(&mut engine, &[(100, Event::Changed(vec![probed]))]);
    assert_eq!(actions, [Action::EndHold(gpu(), Reason::NoHeap)]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoHeap)));
}

#[test]
fn gpu_is_not_held_for_a_failed_provider() {
    let mut start = facts(&[], &[]);
    start.providers.insert(device("acme,svp"), failed("acme,svp"));
    let mut engine = Binder::new(two(), start);
    assert_eq!(run(&mut engine, &[(10, Event::Started)]), []);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoHeap)));
    let binding = engine.binding(&gpu()).unwrap();
    assert_eq!(binding.held(), 0);
    assert_eq!(binding.timeline()[0].step, "provider-failed");
    let said = "acme,svp: probe with driver d failed with error -22";
    assert_eq!(binding.timeline()[0].detail, said);
    assert_eq!(engine.considered(&gpu(), binding)[0].detail, said);
}

#[test]
fn hold_ends_when_the_last_provider_fails_to_probe() {
    let mut engine = Binder::new(two(), facts(&["low"], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(engine.binding(&gpu()).unwrap().state(), State::Waiting);
    let fails = Change::Provider(device("acme,svp"), Some(failed("acme,svp")));
    let actions = run(&mut engine, &[(100, Event::Changed(vec![fails]))]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("low")));
    let steps: Vec<_> =
        engine.binding(&gpu()).unwrap().timeline().iter().map(|s| &*s.step).collect();
    assert_eq!(steps, ["hold-started", "provider-failed"]);
}

#[test]
fn pending_provider_holds_the_gpu_until_the_timeout() {
    let mut engine = Binder::new(two(), facts(&[], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    let actions = run(&mut engine, &[(HOLD - LAST_CALL, Event::Woken)]);
    assert_eq!(actions, [Action::WakeAt(Monotonic(HOLD))]);
    assert_eq!(run(&mut engine, &[(HOLD, Event::Woken)]), []);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::HeapLate)));
    assert_eq!(engine.binding(&gpu()).unwrap().held(), HOLD - 20);
}

#[test]
fn less_preferred_heap_is_selected_at_the_last_call() {
    let mut engine = Binder::new(two(), facts(&["low"], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(engine.binding(&gpu()).unwrap().state(), State::Waiting);
    let actions = run(&mut engine, &[(HOLD - LAST_CALL, Event::Woken)]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("low")));
}

#[test]
fn dead_heap_is_tried_again_when_its_tee_registers() {
    let mut engine = Binder::new(two(), facts(&["high"], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    let actions = run(&mut engine, &[(30, Event::Allocated(gpu(), heap("high"), Verdict::Dead))]);
    assert!(matches!(&actions[..], [Action::WakeAt(_)]), "{actions:?}");
    let probed = Change::Provider(device("acme,svp"), Some(provider("acme,svp", Some("svp"))));
    let actions = run(&mut engine, &[(100, Event::Changed(vec![probed]))]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("high")));
    // The heap is dead again and no provider is pending, so that the attempt ends.
    run(&mut engine, &[(110, Event::Allocated(gpu(), heap("high"), Verdict::Dead))]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
}

#[test]
fn binder_does_not_wait_without_a_hold() {
    let mut engine = Binder::new(two(), facts(&[], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, Event::Opened(gpu(), Opened::NotHeld))]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::HeapLate)));
}

#[test]
fn probed_driver_gets_a_late_binding_of_a_present_heap() {
    let mut late = facts(&["low"], &[]);
    late.gpus.get_mut(&gpu()).unwrap().driver = Some("panthor".into());
    let mut engine = Binder::new(two(), late.clone());
    // A driver that has probed cannot be held.
    assert_eq!(run(&mut engine, &[(10, Event::Started)]), [Action::Open(gpu(), 0)]);
    let actions = run(&mut engine, &[(20, Event::Opened(gpu(), Opened::AlreadyProbed))]);
    assert!(matches!(&actions[..], [Action::Allocate(..)]));
    late.heaps.clear();
    late.providers.insert(device("acme,svp"), provider("acme,svp", None));
    let mut engine = Binder::new(two(), late);
    run(&mut engine, &[(10, Event::Started), (20, Event::Opened(gpu(), Opened::AlreadyProbed))]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::AlreadyProbed)));
}

#[test]
fn binding_is_withdrawn_if_the_driver_does_not_use_it() {
    let mut engine = Binder::new(two(), facts(&["low"], &[]));
    let events = [(10, Event::Started), (20, Event::Opened(gpu(), Opened::NoConsumer))];
    assert_eq!(run(&mut engine, &events), [Action::Withdraw(gpu())]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::NoConsumer)));
}

#[test]
fn binding_of_an_earlier_run_is_adopted_unchanged() {
    let mut engine = Binder::new(two(), facts(&["low", "high"], &[]));
    let adopted = Opened::Adopted(heap("low"), true);
    let events = [(10, Event::Started), (20, Event::Opened(gpu(), adopted))];
    assert_eq!(run(&mut engine, &events), []);
    assert_eq!(end(&engine), (State::InUse, Some(Reason::Adopted)));
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap("low")));
}

fn in_kernel(heaps: &[&str]) -> Facts {
    let mut facts = facts(heaps, &[]);
    facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
    facts
}

#[test]
fn kernel_allocation_binds_at_once() {
    let mut engine = Binder::new(two(), in_kernel(&["low"]));
    let actions = run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert!(matches!(&actions[..], [Action::Commit(_, r)] if r.source == Source::Kernel));
    let bound = Bound { in_use: true, judged: Some(good()) };
    assert_eq!(run(&mut engine, &[(50, Event::Bound(gpu(), Ok(bound)))]), []);
    assert_eq!(end(&engine), (State::InUse, None));
    let binding = engine.binding(&gpu()).unwrap();
    assert_eq!(binding.request().unwrap().heap, heap("low"));
    assert_eq!(binding.held(), 30);
    assert_eq!(engine.facts().gpus[&gpu()].verdicts[&heap("low")], good());
    let steps: Vec<_> = binding.timeline().iter().map(|s| &*s.step).collect();
    assert_eq!(steps, ["hold-started", "tried", "bound"]);
}

#[test]
fn failed_kernel_allocation_selects_the_next_heap() {
    let mut engine = Binder::new(two(), in_kernel(&["high", "low"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    let dead = Event::Allocated(gpu(), heap("high"), Verdict::Dead);
    let actions = run(&mut engine, &[(30, dead)]);
    assert!(matches!(&actions[..], [Action::Commit(_, request)] if request.heap == heap("low")));
    let mappable = mappable("");
    let actions = run(&mut engine, &[(40, Event::Allocated(gpu(), heap("low"), mappable))]);
    assert_eq!(actions, [Action::EndHold(gpu(), Reason::HeapDead)]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    let mut engine = Binder::new(two(), in_kernel(&["low"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    let refused = Event::Bound(gpu(), Err("EINVAL".into()));
    assert_eq!(run(&mut engine, &[(30, refused)]), [Action::EndHold(gpu(), Reason::KernelRefused)]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::KernelRefused)));
}

/// Makes the kernel one without protheap.ko whose panthor has the parameter.
fn with_parameter(mut facts: Facts, parameter: Parameter) -> Facts {
    facts.kernel.module = None;
    facts.kernel.parameter = Some(parameter);
    facts
}

#[test]
fn parameter_names_an_accepted_heap() {
    let start = with_parameter(facts(&["low"], &[]), Parameter::Open);
    let mut engine = Binder::new(two(), start);
    let actions = run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert!(matches!(&actions[..], [Action::Classify(_, r)] if r.source == Source::Driver));
    let actions = run(&mut engine, &[(30, Event::Allocated(gpu(), heap("low"), good()))]);
    assert!(matches!(&actions[..], [Action::NameHeap(_, r)] if r.heap == heap("low")));
    assert_eq!(run(&mut engine, &[(50, Event::Bound(gpu(), Ok(free())))]), []);
    assert_eq!(end(&engine), (State::Bound, None));
}

#[test]
fn parameter_that_is_set_is_not_changed() {
    let set = |name: &str, driver: Option<&str>| {
        let set = Parameter::Set(name.into());
        let mut facts = with_parameter(facts(&["high", "low"], &["acme,svp"]), set);
        facts.gpus.get_mut(&gpu()).unwrap().driver = driver.map(str::to_owned);
        facts
    };
    for (name, driver, expected) in [
        ("low", Some("panthor"), (State::Bound, Some(Reason::Adopted))),
        ("low", None, (State::Bound, Some(Reason::Adopted))),
        // Only panthor has the parameter.
        ("low", Some("tyr"), (State::Unprotected, Some(Reason::NoConsumer))),
        // No policy names the heap, or it is not present.
        ("other", Some("panthor"), (State::Unprotected, Some(Reason::AlreadyProbed))),
        ("(null)", Some("panthor"), (State::Unprotected, Some(Reason::AlreadyProbed))),
    ] {
        let mut binder = Binder::new(two(), set(name, driver));
        assert_eq!(run(&mut binder, &[(10, Event::Started)]), []);
        assert_eq!(end(&binder), expected, "{name}");
        let mut daemon = Keeper::new(two(), set(name, driver));
        run(&mut daemon, &[(10, Event::Started), (20, Event::Read(gpu(), Ok(None)))]);
        assert_eq!(end(&daemon), expected, "{name}");
        // A change only causes another read.
        let changed = Event::Changed(vec![Change::Tees(Vec::new())]);
        let actions = run(&mut daemon, &[(30, changed)]);
        assert_eq!(actions, [Action::Read(gpu())]);
        run(&mut daemon, &[(40, Event::Read(gpu(), Ok(None)))]);
        assert_eq!(end(&daemon), expected, "{name}");
    }
}

#[test]
fn parameter_cannot_be_set_after_the_driver_is_loaded() {
    let start = with_parameter(facts(&[], &["acme,svp"]), Parameter::Open);
    let mut engine = Binder::new(two(), start);
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    assert_eq!(engine.binding(&gpu()).unwrap().state(), State::Waiting);
    let set = Parameter::Set("(null)".into());
    let loaded = Box::new(with_parameter(facts(&["low"], &["acme,svp"]), set));
    run(&mut engine, &[(30, Event::Changed(vec![Change::All(loaded)]))]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::AlreadyProbed)));
}

#[test]
fn kernel_error_ends_the_hold_and_the_attempt() {
    let mut engine = Binder::new(two(), facts(&["low"], &[]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    run(&mut engine, &[(30, Event::Allocated(gpu(), heap("low"), good()))]);
    let refused = Event::Bound(gpu(), Err("EXDEV".into()));
    assert_eq!(run(&mut engine, &[(40, refused)]), [Action::EndHold(gpu(), Reason::KernelRefused)]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::KernelRefused)));
}

#[test]
fn all_facts_replace_lost_events() {
    let mut engine = Binder::new(two(), facts(&[], &["acme,svp"]));
    run(&mut engine, &[(10, Event::Started), (20, held(HOLD))]);
    let all = Change::All(Box::new(facts(&["high"], &["acme,svp"])));
    let actions = run(&mut engine, &[(30, Event::Changed(vec![all]))]);
    assert!(matches!(&actions[..], [Action::Allocate(_, request)] if request.heap == heap("high")));
    let gone = Change::Gpu(gpu(), None);
    run(&mut engine, &[(40, Event::Changed(vec![gone]))]);
    assert_eq!(end(&engine).0, State::Absent);
    assert!(engine.is_done());
}

pub(super) fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(good()),
        Just(short(1)),
        Just(short(12)),
        Just(mappable("system")),
        Just(Verdict::Dead),
        Just(Verdict::TooSmall("no memory".into())),
    ]
}
