// SPDX-License-Identifier: MIT OR Apache-2.0

//! Collects the kernel's uevents, and applies them to the facts.

use protheap_board::Problem;
use protheap_board::uevents::{self, Received};
use protheap_board::{devices, kernel, tee};
use protheap_core::engine::{Change, Event, Machine};
use protheap_core::facts::Facts;
use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;

use super::{Executor, now};
use crate::kernel::Kernel;
use crate::survey::read_facts;

/// Contents of uevents that were received and not applied yet.
#[derive(Debug, Default)]
pub struct Collected {
    changes: Vec<Change>,
    tees: bool,
    drivers: bool,
    /// Whether a module that the policy names was loaded or unloaded.
    modules: bool,
    /// Whether all facts have to be read again.
    all: bool,
}

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Collects the relevant contents of a kernel event.
    pub fn collect(&self, received: Received<impl uevents::Event>, collected: &mut Collected) {
        let Received::Event(event) = received else {
            // Events were lost. Reading all facts covers those that are still queued.
            collected.all = true;
            return;
        };
        let change = match relevant(&event, self.engine.facts(), self.engine.policy()) {
            Some(Relevant::Heap(heap)) => Change::Heap(heap),
            Some(Relevant::Binding(device)) if M::KEEPS => Change::Binding(device),
            Some(Relevant::Demand(device)) if M::KEEPS => Change::Demand(device),
            Some(Relevant::Tee) => {
                // The TEE is the last device that OP-TEE's driver registers.
                (collected.tees, collected.drivers) = (true, true);
                return;
            }
            Some(Relevant::HeapModule) => {
                collected.modules = true;
                return;
            }
            Some(Relevant::Driver) => {
                collected.drivers = true;
                return;
            }
            // The registration has started probes, which may have failed.
            Some(Relevant::Registered) => {
                collected.drivers |= !M::KEEPS;
                return;
            }
            Some(Relevant::Released) => {
                let gpus = self.engine.facts().gpus.iter().filter(|(_, gpu)| gpu.section.is_some());
                let changes = gpus.map(|(device, _)| Change::Binding(device.clone()));
                collected.changes.extend(changes.filter(|_| M::KEEPS));
                return;
            }
            Some(Relevant::Module) if !M::KEEPS => return,
            Some(Relevant::Device | Relevant::Module) => {
                collected.all = true;
                return;
            }
            None | Some(Relevant::Binding(_) | Relevant::Demand(_)) => return,
        };
        if !M::KEEPS || !collected.changes.contains(&change) {
            collected.changes.push(change);
        }
    }

    /// Applies the collected events.
    pub fn apply(&mut self, collected: Collected) {
        let Collected { mut changes, tees, drivers, modules, all } = collected;
        let mut problems = Vec::new();
        if all {
            let policy = self.engine.policy();
            changes.retain(|change| matches!(change, Change::Binding(_) | Change::Demand(_)));
            changes.push(Change::All(Box::new(self.facts(policy, &mut problems))));
        } else {
            if tees {
                changes.push(Change::Tees(tee::read(&self.root, &mut problems)));
            }
            if drivers {
                self.drivers(&mut changes);
            }
            if modules {
                self.modules(&mut changes);
            }
        }
        for problem in problems {
            self.refuse(problem);
        }
        if !changes.is_empty() {
            self.process((now(), Event::Changed(changes)));
            self.finish();
        }
    }

    /// Reads all facts for a policy again, except those that cannot change.
    pub(super) fn facts(&self, policy: &Policy, problems: &mut Vec<Problem>) -> Facts {
        let known = self.engine.facts();
        let kernel = kernel::read(&self.root, problems);
        let mut facts = read_facts(&self.root, kernel, policy, M::KEEPS, problems);
        facts.platform = known.platform.clone();
        facts.firmware = known.firmware.clone();
        for (name, module) in &mut facts.heap_modules {
            if let Some(before) = known.heap_modules.get(name) {
                *module = module.after(*before);
            }
        }
        facts
    }
}

/// Subject of an event.
enum Relevant {
    Heap(HeapName),
    Tee,
    Driver,
    /// A driver was registered.
    Registered,
    Device,
    /// A binding of this GPU changed, or the kernel requests buffers. The event is a hint: the
    /// attributes have the current state.
    Binding(DeviceName),
    /// A protected group waits for the binding of this GPU.
    Demand(DeviceName),
    /// protheap.ko was loaded or unloaded.
    Module,
    /// A GPU driver has released the buffer that was set by ioctl.
    Released,
    /// A module that the policy names was initialized or unloaded. The kernel sends no event when
    /// the initialization begins, nor when it fails (`do_init_module()`, kernel/module/main.c).
    HeapModule,
}

fn relevant(event: &impl uevents::Event, facts: &Facts, policy: &Policy) -> Option<Relevant> {
    match (event.subsystem(), event.action()) {
        ("dma_heap", "add") => HeapName::new(event.device()).ok().map(Relevant::Heap),
        ("tee", "add" | "remove") => Some(Relevant::Tee),
        ("module", "add" | "remove") if facts.heap_modules.contains_key(event.device()) => {
            Some(Relevant::HeapModule)
        }
        // The node of the event is not needed: reading the bindings of all GPUs is cheap.
        ("drm", "change") if event.property("PROTECTED_MEMORY") == Some("released") => {
            Some(Relevant::Released)
        }
        ("drivers", "add") => Some(Relevant::Registered),
        ("misc", _) if event.device() == "protheap" => {
            Some(match event.property("PROTHEAP_DEVICE") {
                Some(device) => {
                    let device = DeviceName::new(device).ok()?;
                    match event.property("PROTHEAP_WANT") {
                        Some("binding") => Relevant::Demand(device),
                        _ => Relevant::Binding(device),
                    }
                }
                None => Relevant::Module,
            })
        }
        ("platform" | "arm_ffa", action) => {
            let device = DeviceName::new(event.device()).ok()?;
            let known = facts.gpus.contains_key(&device) || facts.providers.contains_key(&device);
            match (action, known) {
                // The driver's parameter can be read now.
                ("bind" | "unbind", true) if facts.kernel.parameter.is_some() => {
                    Some(Relevant::Device)
                }
                ("bind" | "unbind", true) => Some(Relevant::Driver),
                ("remove", true) => Some(Relevant::Device),
                ("add", false) if devices::may_matter(event, &policy.provider_compatibles()) => {
                    Some(Relevant::Device)
                }
                _ => None,
            }
        }
        _ => None,
    }
}
