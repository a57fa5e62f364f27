// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks what the state file reports about the buffers of a binding.

#![allow(clippy::unwrap_used, reason = "tests")]

use protheap_core::engine::{Binder, Bound, Event, Keeper, Machine, Monotonic, Opened};
use protheap_core::facts::{
    FIRMWARE_BYTES, Facts, Gpu, KernelBinding, Module, Parameter, Protection, Shortage, Source,
    Verdict,
};
use protheap_core::report::report;
use protheap_core::state::State;
use protheap_core::state_file::GpuState;
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;

fn device() -> DeviceName {
    DeviceName::new("a.gpu").unwrap()
}

fn heap() -> HeapName {
    HeapName::new("acme_svp").unwrap()
}

fn policy() -> Policy {
    let text = "schema = 1\n[gpu.'a.gpu']\nheaps = [{ name = 'acme_svp' }]\n";
    let key = Key::new("acme,a9").unwrap();
    Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", text).unwrap()]))
}

/// Returns facts with the heap and this module.
fn facts(module: Option<Module>) -> Facts {
    let mut facts = Facts::default();
    facts.kernel.module = module;
    facts.heaps.insert(heap());
    facts.gpus.insert(device(), Gpu::default());
    facts
}

fn module() -> Option<Module> {
    Some(Module { abi: 1, can_allocate: false })
}

/// Returns the report on the GPU after these events.
fn reported<M: Machine>(facts: Facts, events: Vec<Event>) -> GpuState {
    let mut engine = M::new(policy(), facts);
    for (at, event) in (0..).zip(std::iter::once(Event::Started).chain(events)) {
        engine.on(event, Monotonic(at));
    }
    report(&engine, &[], "test 1".into()).gpus.remove(0)
}

/// Returns the events by which a binder binds the heap with this verdict.
fn bound(verdict: Verdict) -> Vec<Event> {
    vec![
        Event::Opened(device(), Opened::NotHeld),
        Event::Allocated(device(), heap(), verdict),
        Event::Bound(device(), Ok(Bound { in_use: false, judged: None })),
    ]
}

fn allocated(shortage: Option<Shortage>) -> Verdict {
    Verdict::Allocated { protection: Protection::Unmappable, exporter: "acme".into(), shortage }
}

#[test]
fn binder_reports_the_verdict_on_the_bound_heap() {
    let gpu = reported::<Binder>(facts(module()), bound(allocated(None)));
    assert_eq!((gpu.state, gpu.heap), (State::Bound, Some(heap())));
    assert_eq!((gpu.protection, gpu.exporter), (Some(Protection::Unmappable), Some("acme".into())));
    assert_eq!((gpu.suspend_buffers, gpu.suspend_shortage), (Some(16), None));
}

#[test]
fn binder_reports_fewer_suspend_buffers_with_the_reason() {
    let shortage = Shortage { allocated: 3, wanted: 16, why: "no memory".into() };
    let gpu = reported::<Binder>(facts(module()), bound(allocated(Some(shortage))));
    assert_eq!((gpu.suspend_count, gpu.suspend_buffers), (Some(16), Some(3)));
    assert_eq!(gpu.suspend_shortage.as_deref(), Some("no memory"));
}

#[test]
fn number_of_buffers_is_unknown_where_the_driver_allocates_them() {
    let mut facts = facts(None);
    facts.kernel.parameter = Some(Parameter::Open);
    let gpu = reported::<Binder>(facts, bound(allocated(None)));
    assert_eq!((gpu.state, gpu.suspend_count), (State::Bound, Some(16)));
    assert_eq!(gpu.suspend_buffers, None);
}

#[test]
fn daemon_reports_the_binding_of_the_kernel() {
    let kernel = KernelBinding {
        heap: heap(),
        source: Source::Kernel,
        exporter: "other".into(),
        protection: Protection::None,
        in_use: true,
        firmware_bytes: 2 * FIRMWARE_BYTES,
        suspend_bytes: 4096,
        suspend_count: 8,
        suspend_buffers: 5,
        suspend_in_use: 2,
        suspend_wanted: 0,
    };
    let read = vec![Event::Read(device(), Ok(Some(kernel)))];
    let gpu = reported::<Keeper>(facts(module()), read);
    assert_eq!((gpu.state, gpu.heap), (State::InUse, Some(heap())));
    assert_eq!((gpu.protection, gpu.exporter), (Some(Protection::None), Some("other".into())));
    assert_eq!((gpu.firmware_bytes, gpu.suspend_bytes), (Some(2 * FIRMWARE_BYTES), Some(4096)));
    assert_eq!((gpu.suspend_count, gpu.suspend_buffers), (Some(8), Some(5)));
}

#[test]
fn gpu_without_a_heap_reports_the_suspend_buffers_of_its_policy() {
    let mut facts = facts(module());
    facts.heaps.clear();
    let gpu = reported::<Binder>(facts, Vec::new());
    assert_eq!((gpu.state, gpu.heap, gpu.firmware_bytes), (State::Unprotected, None, None));
    assert_eq!((gpu.suspend_bytes, gpu.suspend_count), (Some(65_536), Some(16)));
    assert_eq!((gpu.suspend_buffers, gpu.protection), (None, None));
}
