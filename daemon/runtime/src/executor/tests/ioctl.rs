// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests of the delivery by ioctl.

use protheap_core::engine::Change;
use protheap_core::facts::{Gpu, Tee};

use super::*;
use fake::FakeNode;

/// Returns a machine without protheap.ko.
fn without_module(heaps: &[&str]) -> Tree {
    let tree = machine(false, heaps);
    std::fs::remove_dir_all(tree.path("sys/kernel/config")).unwrap();
    tree
}

fn device() -> DeviceName {
    DeviceName::new(GPU).unwrap()
}

/// Reports the GPU's driver to the executor.
fn driver_comes<M: Machine>(executor: &mut Executor<M, FakeKernel>) {
    let gpu = Gpu {
        compatible: vec!["arm,mali-valhall-csf".into()],
        driver: Some("panthor".into()),
        section: Some(FakeNode::SECTION),
        ..Gpu::default()
    };
    happens(executor, Change::Gpu(device(), Some(gpu)));
}

fn happens<M: Machine>(executor: &mut Executor<M, FakeKernel>, change: Change) {
    executor.process((now(), Event::Changed(vec![change])));
    executor.finish();
}

/// Returns a daemon on a machine whose GPU has this driver.
fn daemon(tree: &Tree, node: FakeNode) -> Executor<Keeper, FakeKernel> {
    fake(|fake| *fake = Fake { node: Some(node), ..Fake::default() });
    let mut daemon = executor::<Keeper>(tree);
    driver_comes(&mut daemon);
    daemon
}

fn calls() -> Vec<String> {
    fake(|fake| std::mem::take(&mut fake.calls))
}

#[test]
fn running_driver_gets_the_firmware_buffer_only() {
    let tree = without_module(&["low"]);
    let daemon = daemon(&tree, FakeNode::FREE);
    assert_eq!(state_of(&daemon), (State::InUse, None));
    assert_eq!(calls(), ["allocate low 131072", "set 131072"]);
    assert_eq!(fake(|fake| fake.alive), 0, "the driver has its own reference");
    let state = std::fs::read_to_string(tree.path("run/protheap/state.json")).unwrap();
    assert!(state.contains(r#""delivery":"ioctl""#), "{state}");
}

#[test]
fn mappable_buffer_is_not_set() {
    let tree = without_module(&["low"]);
    let kernel = Fake { node: Some(FakeNode::FREE), is_mappable: true, ..Fake::default() };
    fake(|fake| *fake = kernel);
    let mut daemon = executor::<Keeper>(&tree);
    driver_comes(&mut daemon);
    assert_eq!(state_of(&daemon), (State::Failed, Some(Reason::HeapNotProtected)));
    assert_eq!(calls(), ["allocate low 131072"]);
}

#[test]
fn refused_buffer_is_an_error_and_freed() {
    let tree = without_module(&["low"]);
    let daemon = daemon(&tree, FakeNode { set: Err(Errno::IO), ..FakeNode::FREE });
    assert_eq!(state_of(&daemon), (State::Failed, Some(Reason::KernelRefused)));
    assert_eq!(fake(|fake| fake.alive), 0);
}

#[test]
fn next_daemon_adopts_the_buffer_of_the_previous_one() {
    let tree = without_module(&["low"]);
    drop(daemon(&tree, FakeNode::FREE));
    calls();
    let log = Log { program: "test", sink: silent };
    let mut next = Executor::<Keeper, FakeKernel>::new(tree.root(), log).unwrap();
    next.restore();
    next.start();
    driver_comes(&mut next);
    assert_eq!(state_of(&next), (State::InUse, Some(Reason::Adopted)));
    assert_eq!(next.engine.binding(&device()).unwrap().heap().unwrap().as_str(), "low");
    assert_eq!(calls(), [""; 0]);
}

#[test]
fn buffer_of_an_unknown_heap_is_replaced() {
    let tree = without_module(&["low"]);
    let has_buffer = FakeNode { has_buffer: true, ..FakeNode::FREE };
    let daemon_of = daemon(&tree, has_buffer);
    assert_eq!(state_of(&daemon_of), (State::InUse, None));
    assert_eq!(calls(), ["take back", "allocate low 131072", "set 131072"]);
    let busy = daemon(&tree, FakeNode { take_back: Err(Errno::BUSY), ..has_buffer });
    assert_eq!(state_of(&busy), (State::Unprotected, Some(Reason::Withdrawn)));
    assert_eq!(calls(), ["take back"]);
    assert!(busy.rest().is_some(), "the daemon tries again");
}

#[test]
fn binding_of_the_module_is_removed_before_a_buffer_is_set() {
    let tree = machine(false, &["low"]);
    let mut daemon = {
        fake(|fake| *fake = Fake { node: Some(FakeNode::FREE), ..Fake::default() });
        executor::<Keeper>(&tree)
    };
    assert_eq!(state_of(&daemon).0, State::Bound);
    calls();
    driver_comes(&mut daemon);
    assert_eq!(state_of(&daemon), (State::InUse, None));
    assert_eq!(calls(), ["remove", "allocate low 131072", "set 131072"]);
}

#[test]
fn buffer_is_taken_back_when_the_tee_goes() {
    let heap = "protected,a";
    let tree = without_module(&[heap]);
    let policy =
        format!("schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = [{{ name = '{heap}' }}]\n");
    tree.file("etc/protheap/policies/default.toml", policy);
    let refuses = FakeNode { take_back: Err(Errno::BUSY), ..FakeNode::FREE };
    let mut daemon = daemon(&tree, refuses);
    let optee = Tee { implementation: "optee".into(), revision: None };
    happens(&mut daemon, Change::Tees(vec![optee]));
    assert_eq!(state_of(&daemon).0, State::InUse);
    // An exporter other than `tee` is not that of a TEE.
    happens(&mut daemon, Change::Tees(Vec::new()));
    assert_eq!(state_of(&daemon).0, State::InUse);
    daemon.lent.get_mut(&device()).unwrap().of_tee();
    let optee = Tee { implementation: "optee".into(), revision: None };
    happens(&mut daemon, Change::Tees(vec![optee]));
    calls();
    happens(&mut daemon, Change::Tees(Vec::new()));
    assert_eq!(state_of(&daemon), (State::Failed, Some(Reason::HeapDead)));
    assert_eq!(calls(), ["take back"]);
    assert!(daemon.rest().is_some(), "the daemon tries again");
    // The heap outlives its TEE, and has no memory any more.
    fake(|fake| {
        fake.node.as_mut().unwrap().take_back = Ok(());
        fake.memory = [(heap, 0)].into();
    });
    daemon.process((Monotonic(now().0 + 2_000_000), Event::Woken));
    assert_eq!(calls(), ["take back", "allocate protected,a 131072"]);
    assert!(!state_of(&daemon).0.is_bound());
    assert!(!fake(|fake| fake.node).unwrap().has_buffer);
}

#[test]
fn binder_sets_the_buffer_if_the_driver_is_there() {
    let tree = without_module(&["low"]);
    fake(|fake| *fake = Fake { node: Some(FakeNode::FREE), ..Fake::default() });
    let log = Log { program: "test", sink: silent };
    let mut binder = Executor::<Binder, FakeKernel>::new(tree.root(), log).unwrap();
    driver_comes(&mut binder);
    binder.start();
    assert_eq!(state_of(&binder), (State::InUse, None));
    assert_eq!(calls(), ["allocate low 131072", "set 131072"]);
}
