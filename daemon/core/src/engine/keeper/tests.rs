// SPDX-License-Identifier: MIT OR Apache-2.0

mod demand;
mod driver;
mod ioctl;
mod policies;
mod random;
mod supply;

use super::holding::{ATTEMPTS, IDLE, TEE_COMES};
use super::kept::STEPS;
use super::upkeep::RETRY;
use super::*;
use crate::engine::attempt::Attempt;
use crate::engine::tests::{
    Inspect, device, end, facts, failed, free, good, gpu, heap, kernel, passes, policy,
    policy_on_demand, provider, run, verdict,
};
use crate::engine::{Binder, Bound, Change, Event, Opened, Supplied};
use crate::facts::{Gpu, Module, Source, Tee, Verdict};
use crate::next::Next;
use crate::report::gpu_state;
use crate::state_file::StateFile;
use crate::trace::{Considered, Outcome};
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::Key;
use protheap_policy::policy::Policy;
use protheap_policy::schema::{Bind, EvidenceStatus};

impl Inspect for Keeper {
    fn has_ended(&self, device: &DeviceName) -> bool {
        self.gpus.get(device).is_none_or(Kept::is_at_rest)
    }

    fn is_agreeing(&self, device: &DeviceName) -> bool {
        self.gpus.get(device).and_then(|gpu| gpu.attempt()).is_some_and(Attempt::is_agreeing)
    }

    fn whole(&self, device: &DeviceName) -> String {
        format!("{:?}", self.gpus.get(device))
    }
}

const TEE: &str = "protected,a";
const TEE_FIRST: &str = "{ name = 'protected,a' }, { name = 'low' }";
const LOW_FIRST: &str = "{ name = 'low' }, { name = 'protected,a' }";
const OPTEE: &str = "linaro,optee-tz";

fn two() -> Policy {
    policy("{ name = 'protected,a' }, { name = 'low' }")
}

fn optee() -> Tee {
    Tee { implementation: "optee".into(), revision: None }
}

/// Returns facts with a TEE and its heap.
fn with_tee() -> Facts {
    let mut facts = facts(&[TEE], &[]);
    facts.tees = vec![optee()];
    facts.providers.insert(device(OPTEE), provider(OPTEE, Some("optee")));
    facts
}

fn changed(change: Change) -> Event {
    Event::Changed(vec![change])
}

/// Returns the event of a TEE that registers or goes away.
fn tee_changes(there: bool) -> Event {
    let driver = there.then_some("optee");
    Event::Changed(vec![
        Change::Tees(there.then(optee).into_iter().collect()),
        Change::Provider(device(OPTEE), Some(provider(OPTEE, driver))),
    ])
}

fn looked(kernel: Option<KernelBinding>) -> Event {
    Event::Read(gpu(), Ok(kernel))
}

/// Signals a change of the binding, and answers the read that follows.
fn signalled(engine: &mut Keeper, at: u64, kernel: Option<KernelBinding>) -> Vec<Action> {
    let hint = changed(Change::Binding(gpu()));
    assert!(run(engine, &[(at, hint)]).contains(&look()));
    run(engine, &[(at, looked(kernel))])
}

fn look() -> Action {
    Action::Read(gpu())
}

fn hint() -> Event {
    changed(Change::Binding(gpu()))
}

fn wanting(suspend_wanted: u32, suspend_bytes: u64) -> Option<KernelBinding> {
    Some(KernelBinding { suspend_wanted, suspend_bytes, in_use: true, ..kernel(TEE) })
}

fn supply() -> Action {
    Action::Supply(gpu(), heap(TEE))
}

/// Returns a daemon that has read the kernel's binding.
fn daemon(facts: Facts, kernel: Option<KernelBinding>) -> Keeper {
    let mut engine = Keeper::new(two(), facts);
    assert_eq!(run(&mut engine, &[(10, Event::Started)]), [look()]);
    run(&mut engine, &[(20, looked(kernel))]);
    engine
}

#[test]
fn daemon_adopts_the_kernels_binding_unchanged() {
    let mut engine = daemon(with_tee(), wanting(0, 65_536));
    assert_eq!(end(&engine), (State::InUse, Some(Reason::Adopted)));
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap(TEE)));
    let wake = Action::WakeAt(Monotonic(30 + DRIVER_RETURNS));
    assert_eq!(signalled(&mut engine, 30, Some(kernel(TEE))), [wake]);
    assert_eq!(end(&engine), (State::Bound, Some(Reason::Adopted)));
    // Neither a change of the policy nor another heap changes the binding.
    let other = changed(Change::Heap(heap("low")));
    assert_eq!(run(&mut engine, &[(40, other)]), [look()]);
}

#[test]
fn daemon_holds_nothing_and_binds_a_late_heap() {
    let mut engine = daemon(facts(&[], &[OPTEE]), None);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::HeapLate)));
    // The heap is registered before its TEE.
    let actions = run(&mut engine, &[(30, changed(Change::Heap(heap(TEE))))]);
    assert_eq!(actions, [look()]);
    assert_eq!(run(&mut engine, &[(40, looked(None))]), []);
    assert_eq!(run(&mut engine, &[(50, tee_changes(true))]), [look()]);
    assert_eq!(run(&mut engine, &[(60, looked(None))]), [Action::Open(gpu(), 0)]);
    let actions = run(&mut engine, &[(70, Event::Opened(gpu(), Opened::AlreadyProbed))]);
    assert!(matches!(&actions[..], [Action::Allocate(..)]), "{actions:?}");
    let actions = run(&mut engine, &[(80, Event::Allocated(gpu(), heap(TEE), good()))]);
    assert!(matches!(&actions[..], [Action::HandOver(..)]));
    assert_eq!(run(&mut engine, &[(90, Event::Bound(gpu(), Ok(free())))]), [look()]);
    run(&mut engine, &[(95, looked(Some(kernel(TEE))))]);
    assert_eq!(end(&engine), (State::Bound, None));
}

#[test]
fn only_a_tee_with_a_driver_is_required() {
    let opens = |facts: Facts| {
        let mut engine = Keeper::new(two(), facts);
        run(&mut engine, &[(10, Event::Started)]);
        run(&mut engine, &[(20, looked(None))]) == [Action::Open(gpu(), 0)]
    };
    assert!(opens(with_tee()));
    assert!(!opens(facts(&[TEE, "low"], &[OPTEE])), "may be going");
    assert!(opens(facts(&["low"], &[OPTEE])), "what is not there is not waited for");
    assert!(opens(facts(&[TEE], &[])), "a vendor's, of that name");
}

#[test]
fn reported_firewall_is_the_evidence_for_the_bound_heap() {
    let firewall = |evidence: &str, kernel: Option<KernelBinding>| {
        let text = format!(
            "schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = [{{ name = '{TEE}' }}]\n[evidence.'{TEE}']\nstatus = 'tested'\n{evidence}\n"
        );
        let key = Key::new("acme,a9").unwrap();
        let policy = Fragment::parse(&key, "acme,a9.toml", &text).unwrap();
        let mut engine = Keeper::new(Policy::new(Merged::new(vec![policy])), with_tee());
        run(&mut engine, &[(10, Event::Started), (20, looked(kernel))]);
        let gpu = gpu();
        gpu_state(&engine, &gpu, engine.binding(&gpu).unwrap()).firewall
    };
    let tested = "firewall = 'tested'";
    assert_eq!(firewall(tested, Some(kernel(TEE))), Some(EvidenceStatus::Tested));
    assert_eq!(firewall(tested, Some(kernel("low"))), None);
    assert_eq!(firewall(tested, None), None);
    assert_eq!(firewall("", Some(kernel(TEE))), None, "a name that was tested proves none");
}

#[test]
fn new_heap_does_not_retry_a_heap_that_was_too_small() {
    let mut engine = daemon(with_tee(), None);
    run(&mut engine, &[(30, Event::Opened(gpu(), Opened::NotHeld))]);
    let small = Verdict::TooSmall("no memory".into());
    run(&mut engine, &[(40, Event::Allocated(gpu(), heap(TEE), small))]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapTooSmall)));
    let mut tries = |at, change| {
        run(&mut engine, &[(at, changed(change))]);
        let opened = run(&mut engine, &[(at + 1, looked(None))]);
        if opened.is_empty() {
            return false;
        }
        let actions = run(&mut engine, &[(at + 2, Event::Opened(gpu(), Opened::NotHeld))]);
        let small = Verdict::TooSmall("no memory".into());
        run(&mut engine, &[(at + 3, Event::Allocated(gpu(), heap(TEE), small))]);
        matches!(&actions[..], [Action::Allocate(..)])
    };
    assert!(!tries(50, Change::Heap(heap("other"))));
    assert!(tries(60, Change::Heap(heap(TEE))), "registered anew");
    assert!(tries(70, Change::Tees(vec![optee()])));
    assert!(tries(80, Change::Policy(Box::new(two()))));
}

#[test]
fn binding_is_withdrawn_and_restored_with_its_tee() {
    let mut engine = daemon(with_tee(), wanting(0, 65_536));
    assert_eq!(run(&mut engine, &[(30, tee_changes(false))]), [Action::Withdraw(gpu())]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    assert_eq!(signalled(&mut engine, 40, None), []);
    assert_eq!(run(&mut engine, &[(45, changed(Change::Heap(heap(TEE))))]), [look()]);
    assert_eq!(run(&mut engine, &[(50, looked(None))]), [], "the heap is going");
    run(&mut engine, &[(60, tee_changes(true))]);
    assert_eq!(run(&mut engine, &[(70, looked(None))]), [Action::Open(gpu(), 0)]);
    // The driver still uses the withdrawn binding.
    let busy = Event::Opened(gpu(), Opened::Busy("EBUSY".into()));
    let wake = Action::WakeAt(Monotonic(80 + RETRY));
    assert_eq!(run(&mut engine, &[(80, busy)]), [wake]);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::Withdrawn)));
    let unbound = Change::Gpu(gpu(), Some(engine.facts().gpus[&gpu()].clone()));
    assert_eq!(run(&mut engine, &[(90, changed(unbound))]), [look()]);
    assert_eq!(run(&mut engine, &[(95, looked(None))]), [Action::Open(gpu(), 0)]);
}

#[test]
fn late_daemon_withdraws_the_binding_of_a_missing_tee() {
    let mut facts = with_tee();
    facts.tees.clear();
    facts.providers.insert(device(OPTEE), provider(OPTEE, None));
    let mut engine = daemon(facts.clone(), Some(kernel(TEE)));
    assert_eq!(end(&engine), (State::Bound, Some(Reason::Adopted)), "it may be coming");
    let actions = run(&mut engine, &[(20 + TEE_COMES, Event::Woken)]);
    assert_eq!(actions, [remove()]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    // A vendor's heap does not depend on a TEE.
    let vendor = KernelBinding { exporter: "acme".into(), ..kernel("low") };
    let engine = daemon(facts, Some(vendor));
    assert_eq!(end(&engine), (State::Bound, Some(Reason::Adopted)));
}

#[test]
fn binding_without_buffers_is_withdrawn_with_its_tee() {
    // The module has released the buffers before OP-TEE's driver is unbound: there is no exporter.
    let empty = KernelBinding { exporter: String::new(), suspend_buffers: 0, ..kernel(TEE) };
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    assert_eq!(signalled(&mut engine, 30, Some(empty)), []);
    assert_eq!(run(&mut engine, &[(40, tee_changes(false))]), [remove()]);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
}

#[test]
fn heap_bound_before_its_tee_registers_stays_bound() {
    let mut facts = with_tee();
    facts.tees.clear();
    facts.providers.insert(device(OPTEE), provider(OPTEE, None));
    let mut engine = daemon(facts, wanting(3, 65_536));
    assert_eq!(run(&mut engine, &[(500_000, tee_changes(true))]), [look()]);
    assert_eq!(run(&mut engine, &[(500_010, looked(wanting(3, 65_536)))]), [supply()]);
    run(&mut engine, &[(500_020, Event::Supplied(gpu(), Supplied::All))]);
    assert_eq!(end(&engine), (State::InUse, Some(Reason::Adopted)));
    // From now on the binding is withdrawn when the TEE goes away.
    assert_eq!(run(&mut engine, &[(600_000, tee_changes(false))]), [remove()]);
}

#[test]
fn withdrawn_binding_is_restored_only_after_a_change() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    assert_eq!(signalled(&mut engine, 30, None), []);
    assert_eq!(end(&engine), (State::Unprotected, Some(Reason::Withdrawn)));
    assert_eq!(signalled(&mut engine, 40, None), []);
    assert_eq!(run(&mut engine, &[(50, Event::Woken)]), []);
    run(&mut engine, &[(60, changed(Change::Heap(heap("other"))))]);
    assert_eq!(run(&mut engine, &[(70, looked(None))]), [Action::Open(gpu(), 0)]);
}

/// Returns the kernel's binding of `low`, a heap of no TEE.
fn low(in_use: bool) -> Option<KernelBinding> {
    Some(KernelBinding { exporter: "acme".into(), in_use, ..kernel("low") })
}

fn next_heap(engine: &Keeper) -> Option<Option<HeapName>> {
    engine.next(&gpu()).map(|next| next.heap)
}

/// Returns a daemon with a binding to which selection would prefer another.
fn with_better(driver: bool) -> Keeper {
    let mut facts = with_tee();
    facts.heaps.insert(heap("low"));
    if driver {
        facts.gpus.get_mut(&gpu()).unwrap().driver = Some("csf".into());
    }
    let mut engine = Keeper::new(policy(LOW_FIRST), facts);
    run(&mut engine, &[(10, Event::Started), (20, looked(low(driver)))]);
    assert_eq!(next_heap(&engine), None);
    let other = changed(Change::Policy(Box::new(policy(TEE_FIRST))));
    assert_eq!(run(&mut engine, &[(30, other)]), [look()]);
    assert_eq!(run(&mut engine, &[(40, looked(low(driver)))]), []);
    assert_eq!(next_heap(&engine), Some(Some(heap(TEE))));
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap("low")));
    engine
}

fn remove() -> Action {
    Action::Withdraw(gpu())
}

#[test]
fn rebind_tries_a_dead_heap_again() {
    let mut facts = facts(&["low"], &[]);
    facts.gpus.get_mut(&gpu()).unwrap().verdicts.insert(heap("low"), crate::facts::Verdict::Dead);
    let mut engine = daemon(facts, None);
    assert_eq!(end(&engine), (State::Failed, Some(Reason::HeapDead)));
    assert_eq!(run(&mut engine, &[(50, Event::Rebind(gpu()))]), [look()]);
    assert_eq!(run(&mut engine, &[(60, looked(None))]), [Action::Open(gpu(), 0)]);
}

/// Returns the state file of a binder that bound a heap 300 µs after boot.
fn written(heap: &str) -> StateFile {
    let steps = r#"[{"at_us":100,"step":"hold-started"},{"at_us":300,"step":"bound"}]"#;
    let json = format!(
        r#"{{"schema":1,"gpus":[{{"device":"a.gpu","state":"bound","heap":"{heap}","policy":"acme,a9","held_us":200,"timeline":{steps}}}]}}"#
    );
    serde_json::from_str(&json).unwrap()
}

#[test]
fn timeline_of_an_earlier_run_is_continued() {
    let restored = |file: &StateFile| {
        let mut engine = Keeper::new(two(), with_tee());
        engine.restore(file, Monotonic(1_000));
        run(&mut engine, &[(2_000, Event::Started), (2_010, looked(Some(kernel(TEE))))]);
        let binding = engine.binding(&gpu()).unwrap();
        let steps = binding.timeline().iter().map(|step| (step.at.0, step.step.to_string()));
        let key = binding.named_by().map(ToString::to_string);
        (binding.held(), key, steps.collect::<Vec<_>>())
    };
    let step = |at, step: &str| (at, step.to_owned());
    let (opened, bound, adopted) =
        (step(100, "hold-started"), step(300, "bound"), step(2_010, "bound"));
    let key = || Some("acme,a9".to_owned());
    assert_eq!(restored(&written(TEE)), (200, key(), vec![opened.clone(), bound.clone()]));
    let mut engine = Keeper::new(two(), with_tee());
    engine.restore(&written(TEE), Monotonic(1_000));
    run(&mut engine, &[(2_000, Event::Started), (2_010, looked(wanting(0, 65_536)))]);
    let binding = engine.binding(&gpu()).unwrap();
    let words: Vec<_> = binding.timeline().iter().map(|step| &*step.step).collect();
    assert_eq!(words, ["hold-started", "bound", "in-use"]);
    assert_eq!(gpu_state(&engine, &gpu(), binding).bound_at(), Some(300));
    // The kernel has bound another heap, by an unknown program.
    assert_eq!(restored(&written("low")), (200, None, vec![opened, bound, adopted]));
}

#[test]
fn timeline_has_a_maximum_length() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    for round in 1..1_000 {
        run(&mut engine, &[(100 * round, tee_changes(false))]);
        run(&mut engine, &[(100 * round + 50, tee_changes(true))]);
        run(&mut engine, &[(100 * round + 60, looked(None))]);
        let adopted = Event::Opened(gpu(), Opened::Adopted(heap(TEE), false));
        run(&mut engine, &[(100 * round + 70, adopted)]);
        run(&mut engine, &[(100 * round + 80, looked(Some(kernel(TEE))))]);
    }
    assert!(engine.binding(&gpu()).unwrap().timeline().len() < 2 * STEPS);
}

/// Returns a daemon that waits for the driver to free a withdrawn binding.
fn busy() -> Keeper {
    let mut engine = Keeper::new(two(), with_tee());
    run(&mut engine, &[(10, Event::Started), (20, looked(None))]);
    let busy = Event::Opened(gpu(), Opened::Busy("EBUSY".into()));
    let wake = Action::WakeAt(Monotonic(30 + RETRY));
    assert_eq!(run(&mut engine, &[(30, busy)]), [wake]);
    engine
}

#[test]
fn busy_binding_is_tried_again_when_it_changes() {
    let mut engine = busy();
    let opens = signalled(&mut engine, 40, None);
    assert_eq!(opens, [Action::Open(gpu(), 0)]);
    // The kernel's reason is recorded once.
    let again = Event::Opened(gpu(), Opened::Busy("EBUSY".into()));
    run(&mut engine, &[(50, again)]);
    let timeline = engine.binding(&gpu()).unwrap().timeline();
    let details: Vec<_> = timeline.iter().filter(|step| step.step == "withdrawn").collect();
    assert!(details.len() == 1 && details[0].detail == "EBUSY", "{details:?}");
    // A binding of another program is adopted.
    signalled(&mut engine, 60, low(true));
    assert_eq!(end(&engine), (State::InUse, Some(Reason::Adopted)));
}

#[test]
fn binding_of_another_heap_by_another_program_is_adopted() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    signalled(&mut engine, 30, low(false));
    assert_eq!(end(&engine), (State::Bound, Some(Reason::Adopted)));
    assert_eq!(engine.binding(&gpu()).unwrap().heap(), Some(&heap("low")));
    assert_eq!(engine.kernel(&gpu()), low(false).as_ref());
}

#[test]
fn adopted_binding_shows_the_candidates_of_a_selection_now() {
    let mut engine = Keeper::new(two(), facts(&[TEE, "low"], &[]));
    run(&mut engine, &[(10, Event::Started), (20, looked(low(false)))]);
    let binding = engine.binding(&gpu()).unwrap();
    let outcomes = |considered: &[Considered]| {
        considered.iter().map(|one| (one.candidate.clone(), one.outcome)).collect::<Vec<_>>()
    };
    let expected = [(TEE.to_owned(), Outcome::Untried), ("low".to_owned(), Outcome::Bound)];
    assert_eq!(outcomes(&engine.considered(&gpu(), binding)), expected);
    // The binder knows no more than its own selection.
    let mut binder = Binder::new(two(), facts(&["low"], &[]));
    run(&mut binder, &[(10, Event::Started)]);
    let adopted = Event::Opened(gpu(), Opened::Adopted(heap("low"), false));
    run(&mut binder, &[(20, adopted)]);
    let binding = binder.binding(&gpu()).unwrap();
    assert_eq!(binder.considered(&gpu(), binding).len(), 2);
}
