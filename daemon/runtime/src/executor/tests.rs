// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests of the executor on a kernel that records calls and fails where a test says.

mod fake;
mod ioctl;

use protheap_board::module::BindingState;
use protheap_board::testing::Tree;
use protheap_core::engine::{Binder, Keeper, Machine};
use protheap_core::state::{Reason, State};
use rustix::io::Errno;

use super::*;
use crate::log::Message;
use fake::{Fake, FakeKernel, fake};

const GPU: &str = "fb000000.gpu";

fn silent(_: &str, _: &Message<'_>) {}

/// Returns a machine with a GPU, these heaps, and protheap.ko, which may be able to allocate. The
/// policy prefers `high` to `low`.
fn machine(can_allocate: bool, heaps: &[&str]) -> Tree {
    let tree = Tree::new();
    let node = format!("sys/bus/platform/devices/{GPU}/of_node/compatible");
    tree.file(&node, "arm,mali-valhall-csf\0");
    tree.file("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    tree.file("sys/kernel/config/protheap/abi", "1\n");
    let can_allocate = if can_allocate { "1\n" } else { "0\n" };
    tree.file("sys/kernel/config/protheap/can_allocate", can_allocate);
    for heap in heaps {
        tree.directory(&format!("sys/class/dma_heap/{heap}"));
    }
    tree.directory("run");
    let policy = "schema = 1\n[gpu.'arm,mali-valhall-csf']\n\
        heaps = [{ name = 'high' }, { name = 'low' }]\n\
        suspend = { bytes = '64KiB', count = 2 }\nhold = '2s'\n";
    tree.file("etc/protheap/policies/default.toml", policy);
    tree
}

fn executor<M: Machine>(tree: &Tree) -> Executor<M, FakeKernel> {
    let log = Log { program: "test", sink: silent };
    let mut executor = Executor::new(tree.root(), log).unwrap();
    executor.start();
    executor
}

/// Returns the calls of an executor that runs on `kernel`, and the state and reason of the GPU.
fn run<M: Machine>(tree: &Tree, kernel: Fake) -> (Vec<String>, State, Option<Reason>) {
    fake(|fake| *fake = kernel);
    let executor = executor::<M>(tree);
    let binding = executor.engine.bindings().next().unwrap().1;
    let end = (binding.state(), binding.reason());
    drop(executor);
    assert_eq!(fake(|fake| fake.alive), 0, "buffers are left");
    (fake(|fake| std::mem::take(&mut fake.calls)), end.0, end.1)
}

#[test]
fn allocated_buffers_are_handed_over_before_the_commit() {
    let tree = machine(false, &["low"]);
    let (calls, state, _) = run::<Binder>(&tree, Fake::default());
    let expected = [
        "create",
        "start_hold 2000",
        "allocate low 262144",
        "allocate low 65536",
        "allocate low 65536",
        "set_up low",
        "hand over Firmware",
        "hand over Suspend",
        "hand over Suspend",
        "commit Bind",
    ];
    assert_eq!((&calls[..], state), (&expected.map(str::to_owned)[..], State::Bound));
}

#[test]
fn refused_buffer_ends_the_hold_with_the_reason() {
    let tree = machine(false, &["low"]);
    let kernel = Fake { hand_over: Err(Errno::XDEV), ..Fake::default() };
    let (calls, state, reason) = run::<Binder>(&tree, kernel);
    assert_eq!((state, reason), (State::Failed, Some(Reason::KernelRefused)));
    assert!(calls.ends_with(&["set_origin kernel-refused".into(), "commit None".into()]));
    assert!(!calls.contains(&"commit Bind".to_owned()));
}

#[test]
fn heap_without_memory_is_followed_by_the_next() {
    let tree = machine(false, &["high", "low"]);
    // The first heap has memory for the firmware alone.
    let kernel = Fake { memory: [("high", 1)].into(), ..Fake::default() };
    let (calls, state, _) = run::<Binder>(&tree, kernel);
    assert_eq!(state, State::Bound);
    let tried: Vec<_> = calls.iter().filter(|call| call.starts_with("set_up")).collect();
    assert_eq!(tried, ["set_up low"]);
}

#[test]
fn heap_with_fewer_suspend_buffers_is_bound() {
    let tree = machine(false, &["low"]);
    let kernel = Fake { memory: [("low", 2)].into(), ..Fake::default() };
    let (calls, state, _) = run::<Binder>(&tree, kernel);
    assert_eq!(state, State::Bound);
    let suspend = calls.iter().filter(|call| *call == "hand over Suspend");
    assert_eq!(suspend.count(), 1);
}

#[test]
fn mappable_buffers_are_not_handed_over() {
    let tree = machine(false, &["low"]);
    let kernel = Fake { is_mappable: true, ..Fake::default() };
    let (calls, state, reason) = run::<Binder>(&tree, kernel);
    assert_eq!((state, reason), (State::Failed, Some(Reason::HeapNotProtected)));
    assert!(calls.ends_with(&["set_origin heap-not-protected".into(), "commit None".into()]));
}

#[test]
fn kernel_that_cannot_allocate_gets_the_next_heap() {
    let tree = machine(true, &["high", "low"]);
    let kernel = Fake { commit: [("high", Errno::NOMEM)].into(), ..Fake::default() };
    let (calls, state, _) = run::<Binder>(&tree, kernel);
    assert_eq!(state, State::Bound);
    let expected = ["create", "start_hold 2000", "set_up high", "commit Bind", "set_up low"];
    assert_eq!(&calls[..5], expected.map(str::to_owned));
    assert_eq!(calls.last().unwrap(), "commit Bind");
}

#[test]
fn kernel_that_refuses_the_commit_ends_the_attempt() {
    let tree = machine(true, &["high", "low"]);
    let kernel = Fake { commit: [("high", Errno::INVAL)].into(), ..Fake::default() };
    let (calls, state, reason) = run::<Binder>(&tree, kernel);
    assert_eq!((state, reason), (State::Failed, Some(Reason::KernelRefused)));
    assert!(calls.ends_with(&["set_origin kernel-refused".into(), "commit None".into()]));
}

#[test]
fn binding_of_an_earlier_run_is_not_changed() {
    let tree = machine(false, &["low", "high"]);
    for (bound, state) in [(BindingState::Bound, State::Bound), (BindingState::InUse, State::InUse)]
    {
        let kernel = Fake { state: Some(bound), heap: "low".into(), ..Fake::default() };
        let (calls, found, reason) = run::<Binder>(&tree, kernel);
        assert_eq!((found, reason), (state, Some(Reason::Adopted)));
        assert_eq!(calls, ["create"]);
    }
}

#[test]
fn run_that_ended_without_a_binding_is_repeated() {
    let tree = machine(false, &["low"]);
    let kernel = Fake { state: Some(BindingState::None), ..Fake::default() };
    let (calls, state, _) = run::<Binder>(&tree, kernel);
    assert_eq!(&calls[..4], ["create", "remove", "create", "start_hold 2000"].map(str::to_owned));
    assert_eq!(state, State::Bound);
}

#[test]
fn hold_of_a_killed_binder_continues() {
    let tree = machine(false, &["low"]);
    let kernel = Fake { state: Some(BindingState::Held), ..Fake::default() };
    let (calls, state, _) = run::<Binder>(&tree, kernel);
    assert_eq!(&calls[..2], ["create", "renew Handed"].map(str::to_owned));
    assert!(!calls.iter().any(|call| call.starts_with("start_hold")));
    assert_eq!(state, State::Bound);
}

#[test]
fn busy_binding_is_tried_again_by_the_daemon_only() {
    let tree = machine(false, &["low"]);
    let busy = || Fake { create: Err(Errno::BUSY), ..Fake::default() };
    let (_, state, reason) = run::<Binder>(&tree, busy());
    assert_eq!((state, reason), (State::Failed, Some(Reason::KernelRefused)));
    fake(|fake| *fake = busy());
    let mut daemon = executor::<Keeper>(&tree);
    let binding = daemon.engine.binding(&DeviceName::new(GPU).unwrap()).unwrap();
    assert_eq!(binding.reason(), Some(Reason::Withdrawn));
    assert!(daemon.rest().is_some_and(|rest| rest <= Duration::from_secs(1)));
    // The time of the retry is not tested: it is the engine's.
    daemon.wake = Some(Monotonic(0));
    daemon.wake();
    assert!(daemon.rest().is_some());
}

#[test]
fn daemon_keeps_neither_the_module_nor_the_lock_open() {
    let tree = machine(false, &["low"]);
    fake(|fake| *fake = Fake::default());
    let daemon = executor::<Keeper>(&tree);
    assert!(daemon.module.is_none() && daemon.lock.is_none() && daemon.run.is_none());
    assert_eq!(daemon.engine.bindings().next().unwrap().1.state(), State::Bound);
    assert!(tree.path("run/protheap/state.json").exists());
}

#[test]
fn kernel_gets_as_many_suspend_buffers_as_it_requests() {
    let tree = machine(false, &["low"]);
    let bound = |memory: &[(&'static str, u32)]| Fake {
        state: Some(BindingState::InUse),
        heap: "low".into(),
        wanted: 3,
        memory: memory.iter().copied().collect(),
        ..Fake::default()
    };
    for (memory, handed) in [(&[][..], 3), (&[("low", 2)], 2), (&[("low", 0)], 0)] {
        let (calls, state, _) = run::<Keeper>(&tree, bound(memory));
        assert_eq!(state, State::InUse);
        let suspend = calls.iter().filter(|call| *call == "hand over Suspend");
        assert_eq!(suspend.count(), handed, "{calls:?}");
    }
}

/// Returns a machine whose only candidate is the heap of an installed module.
fn with_module() -> Tree {
    let tree = machine(false, &[]);
    tree.file("lib/modules/7.3.4/modules.dep", "updates/acme-svp.ko:\n");
    let policy = "schema = 1\n[gpu.'arm,mali-valhall-csf']\n\
        heaps = [{ name = 'svp', module = 'acme_svp' }]\nhold = '2s'\n";
    tree.file("etc/protheap/policies/default.toml", policy);
    tree
}

fn state_of<M: Machine>(executor: &Executor<M, FakeKernel>) -> (State, Option<Reason>) {
    let binding = executor.engine.bindings().next().unwrap().1;
    (binding.state(), binding.reason())
}

#[test]
fn module_that_fails_during_the_hold_is_detected_by_polling() {
    let tree = with_module();
    fake(|fake| *fake = Fake::default());
    let mut executor = executor::<Binder>(&tree);
    assert_eq!(state_of(&executor).0, State::Waiting);
    assert!(executor.rest().unwrap() <= Duration::from_micros(POLL));
    let state = "sys/module/acme_svp/initstate";
    tree.file(state, "coming\n");
    executor.poll();
    assert_eq!(state_of(&executor).0, State::Waiting);
    std::fs::remove_dir_all(tree.path("sys/module")).unwrap();
    executor.poll();
    assert_eq!(state_of(&executor), (State::Unprotected, Some(Reason::NoHeap)));
}

#[test]
fn heap_of_a_module_is_bound_before_its_events_arrive() {
    let tree = with_module();
    fake(|fake| *fake = Fake::default());
    let mut executor = executor::<Binder>(&tree);
    tree.directory("sys/class/dma_heap/svp");
    tree.file("sys/module/acme_svp/initstate", "live\n");
    executor.poll();
    assert_eq!(state_of(&executor).0, State::Bound);
}

thread_local! {
    static LOGGED: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn record(_: &str, message: &Message<'_>) {
    if let Message::Other(text) = message {
        LOGGED.with_borrow_mut(|logged| logged.push(text.to_string()));
    }
}

#[test]
fn daemon_logs_notes_on_local_policies_once_per_load() {
    let tree = with_module();
    let noted = |directory: &str| {
        LOGGED.take();
        let policy = "schema = 1\n[gpu.'arm,mali-valhall-csf']\n\
            heaps = [{ name = 'svp', provider = 'acme,svp' }]\n";
        tree.file(&format!("{directory}/protheap/policies/default.toml"), policy);
        let log = Log { program: "test", sink: record };
        let mut executor = Executor::<Keeper, FakeKernel>::new(tree.root(), log).unwrap();
        executor.log_notes();
        executor.start();
        assert!(!executor.reload(), "nothing has changed");
        let mut logged = LOGGED.take();
        logged.retain(|line| line.contains("compatible string acme,svp"));
        logged.len()
    };
    assert_eq!(noted("etc"), 1);
    std::fs::remove_dir_all(tree.path("etc/protheap")).unwrap();
    assert_eq!(noted("usr/lib"), 0);
}
