// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of an engine with two GPUs that different tables of the policy apply to.

mod binder;
mod daemon;
mod obsolete;

use proptest::prelude::*;

use super::tests::{Inspect, bindings, device, facts, heap, provider};
use super::*;
use crate::facts::{Facts, Gpu, KernelBinding, Section, Source, Verdict};
use crate::state::{Reason, State};
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;

/// Number of GPUs.
const GPUS: usize = 2;

/// Policy table of one GPU.
#[derive(Debug, Clone)]
struct Table {
    /// Names of the candidates, the preferred one first.
    heaps: Vec<&'static str>,
    /// Hold in seconds.
    hold: u64,
    on_demand: bool,
}

/// Returns the device name of a GPU.
fn name(gpu: usize) -> DeviceName {
    device(["a.gpu", "b.gpu"][gpu])
}

/// Returns the index of a GPU.
fn index(device: &DeviceName) -> usize {
    usize::from(*device == name(1))
}

fn compatible(gpu: usize) -> &'static str {
    ["acme,a-mali", "acme,b-mali"][gpu]
}

/// Returns the policy with a table for each GPU. A candidate names the provider or the module of
/// its heap.
fn policy(tables: &[Table]) -> Policy {
    let mut text = "schema = 1\n".to_owned();
    for (gpu, Table { heaps, hold, on_demand }) in tables.iter().enumerate() {
        let candidate = |name: &&str| match provider_of(name) {
            Some(provider) => format!("{{ name = '{name}', provider = '{provider}' }}"),
            None if *name == OF_MODULE => format!("{{ name = '{name}', module = '{MODULE}' }}"),
            None => format!("{{ name = '{name}' }}"),
        };
        let heaps: Vec<_> = heaps.iter().map(candidate).collect();
        let bind = if *on_demand { "demand" } else { "boot" };
        text += &format!("[gpu.'{}']\nheaps = [{}]\n", compatible(gpu), heaps.join(", "));
        text += &format!("hold = '{hold}s'\nbind = '{bind}'\n");
    }
    let key = Key::new("acme,a9").unwrap();
    Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()]))
}

const SVP: &str = "acme,svp";
const OPTEE: &str = "linaro,optee-tz";
const MODULE: &str = "acme_svp";
/// Heap of the module.
const OF_MODULE: &str = "svp";

/// Returns the provider that the policy names for a heap.
fn provider_of(heap: &str) -> Option<&'static str> {
    match heap {
        "high" => Some(SVP),
        "protected,a" => Some(OPTEE),
        _ => None,
    }
}

/// Returns the protected section of a driver that takes its buffer by ioctl.
fn section() -> Section {
    Section { firmware_bytes: 262_144, suspend_bytes: 65_536 }
}

/// Returns facts with two GPUs.
fn two(heaps: &[&str], pending: &[&str]) -> Facts {
    let mut facts = facts(heaps, pending);
    facts.gpus.clear();
    for gpu in 0..GPUS {
        let compatible = vec![compatible(gpu).to_owned()];
        facts.gpus.insert(name(gpu), Gpu { compatible, ..Gpu::default() });
    }
    facts
}

/// Returns the part of a change that concerns `gpu`.
fn part_of_change(change: &Change, gpu: &DeviceName) -> Option<Change> {
    match change {
        Change::Gpu(device, _) | Change::Binding(device) | Change::Demand(device)
            if device != gpu =>
        {
            None
        }
        Change::All(facts) => Some(Change::All(Box::new(only(facts, gpu)))),
        change => Some(change.clone()),
    }
}

/// Returns the part of an event that concerns `gpu`.
fn part_of(event: &Event, gpu: &DeviceName) -> Option<Event> {
    match event {
        Event::Started | Event::Woken => Some(event.clone()),
        Event::Changed(changes) => {
            let parts = changes.iter().filter_map(|change| part_of_change(change, gpu));
            let parts: Vec<_> = parts.collect();
            (!parts.is_empty()).then_some(Event::Changed(parts))
        }
        Event::Opened(device, _)
        | Event::Allocated(device, ..)
        | Event::Bound(device, _)
        | Event::Read(device, _)
        | Event::Supplied(device, _)
        | Event::OnDemand(device, _)
        | Event::Withdrawn(device, _)
        | Event::Rebind(device) => (device == gpu).then(|| event.clone()),
    }
}

/// Returns the facts without the other GPU.
fn only(facts: &Facts, gpu: &DeviceName) -> Facts {
    let mut facts = facts.clone();
    facts.gpus.retain(|device, _| device == gpu);
    facts
}

/// Returns the GPU of an action.
fn target(action: &Action) -> Option<&DeviceName> {
    match action {
        Action::Open(device, _)
        | Action::Allocate(device, _)
        | Action::HandOver(device, _)
        | Action::Commit(device, _)
        | Action::Classify(device, _)
        | Action::NameHeap(device, _)
        | Action::BindOnDemand(device)
        | Action::EndHold(device, _)
        | Action::Withdraw(device)
        | Action::Read(device)
        | Action::Supply(device, _)
        | Action::Log(device, _) => Some(device),
        Action::WakeAt(_) => None,
    }
}

/// An engine with two GPUs, and an engine for each of them alone.
#[derive(Debug)]
struct Engines<M> {
    both: M,
    alone: Vec<M>,
    /// Actions since the last comparison: of `both`, and of `alone`.
    actions: (Vec<Action>, Vec<Action>),
}

impl<M: Inspect + Clone> Engines<M> {
    fn new(policy: &Policy, facts: &Facts) -> Self {
        let alone = |gpu| M::new(policy.clone(), only(facts, &name(gpu)));
        let alone = (0..GPUS).map(alone).collect();
        let both = M::new(policy.clone(), facts.clone());
        Self { both, alone, actions: Default::default() }
    }

    /// Processes an event, each of the engines that has one GPU only its part of it.
    fn on(&mut self, event: &Event, now: Monotonic) -> Vec<Action> {
        for (gpu, alone) in self.alone.iter_mut().enumerate() {
            if let Some(part) = part_of(event, &name(gpu)) {
                self.actions.1.extend(alone.on(part, now));
            }
        }
        let actions = self.both.on(event.clone(), now);
        self.actions.0.extend(actions.iter().cloned());
        actions
    }

    /// Requires that each GPU got the binding, the timeline, the verdicts and the actions that it
    /// gets without the other one and without the other one's events.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let (both, alone) = std::mem::take(&mut self.actions);
        for (gpu, engine) in self.alone.iter().enumerate() {
            let device = name(gpu);
            let own = |actions: &[Action]| -> Vec<_> {
                actions.iter().filter(|action| target(action) == Some(&device)).cloned().collect()
            };
            prop_assert_eq!(own(&both), own(&alone), "actions of {}", device);
            prop_assert_eq!(self.both.whole(&device), engine.whole(&device));
            let (found, expected) = (self.both.facts(), engine.facts());
            prop_assert_eq!(found.gpus.get(&device), expected.gpus.get(&device));
        }
        Ok(())
    }

    /// Processes an event where the driver's parameter names one heap for all GPUs. Requires that an
    /// event of one GPU changes another one only while that waits for an agreement.
    fn on_with_parameter(
        &mut self,
        event: &Event,
        now: Monotonic,
    ) -> Result<Vec<Action>, TestCaseError> {
        let before = self.both.clone();
        let actions = self.both.on(event.clone(), now);
        for (device, _) in before.bindings() {
            if part_of(event, device).is_none() && !before.is_agreeing(device) {
                prop_assert_eq!(self.both.whole(device), before.whole(device), "at {:?}", event);
                prop_assert!(!actions.iter().any(|action| target(action) == Some(device)));
            }
        }
        Ok(actions)
    }
}
