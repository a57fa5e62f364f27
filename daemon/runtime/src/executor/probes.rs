// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tracks the drivers of GPUs and heap providers, and detects failed probes.

use std::collections::BTreeMap;

use protheap_board::{devices, heap_modules, heaps, render_node, tee};
use protheap_core::engine::{Change, Event, Machine, Monotonic};
use protheap_core::facts::{Facts, Failure, Gpu, HeapModule, Provider};
use protheap_policy::name::DeviceName;

use super::{Executor, now};
use crate::kernel::Kernel;
use crate::log::{Log, Message};

/// Interval at which the state of a running probe is read, in microseconds.
pub(super) const POLL: u64 = 50_000;

/// Time for which an unbound device whose driver is registered counts as pending if neither debugfs
/// nor the kernel log says whether its probe failed or was deferred, in microseconds.
const GRACE: u64 = 1_000_000;

/// Logs that a heap provider failed to probe.
pub(super) fn log_failure(log: Log, device: &DeviceName, failure: &Failure) {
    let message = &failure.message;
    log.write(&Message::Other(format_args!("heap provider {device} failed to probe: {message}")));
}

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Treats a failure as a running probe until it has persisted for a while. A deferred probe
    /// that the kernel retries looks like a failure for a moment. One whose deferral is not visible
    /// looks like a failure all the time.
    pub(super) fn doubt(
        suspects: &mut BTreeMap<DeviceName, Monotonic>,
        name: &DeviceName,
        one: &mut Provider,
    ) {
        let Some(failure) = &one.failure else {
            suspects.remove(name);
            return;
        };
        let since = *suspects.entry(name.clone()).or_insert(now());
        let until = since.0 + if failure.certain { POLL } else { GRACE };
        if now().0 < until {
            one.failure = None;
            one.probing = true;
        }
    }

    /// Returns whether a GPU is held for a provider whose probe may fail, or for a module that is
    /// not initialized yet. No event reports that either fails.
    pub(super) fn polls(&self) -> bool {
        let facts = self.engine.facts();
        !M::KEEPS && (has_probing(facts) || has_pending_module(facts))
    }

    /// Detects probes and modules that have failed.
    pub(super) fn poll(&mut self) {
        if self.polls() {
            let mut changes = Vec::new();
            if has_probing(self.engine.facts()) {
                self.drivers(&mut changes);
            }
            self.modules(&mut changes);
            if !changes.is_empty() {
                self.process((now(), Event::Changed(changes)));
                self.finish();
            }
        }
    }

    /// Adds a change for each GPU or provider whose driver was bound or unbound, and for each
    /// provider that failed to probe.
    pub(super) fn drivers(&mut self, changes: &mut Vec<Change>) {
        self.gpu_drivers(changes);
        let known = self.engine.facts();
        let mut probed = false;
        for (device, known) in &known.providers {
            let mut provider = devices::provider(&self.root, device, known);
            if !M::KEEPS && !known.has_finished() {
                Self::doubt(&mut self.suspects, device, &mut provider);
            }
            let seen = |one: &Provider| (one.driver.clone(), one.probing, one.failure.clone());
            if seen(&provider) == seen(known) {
                continue;
            }
            if let Some(failure) = provider.failure.as_ref().filter(|_| !known.has_finished()) {
                log_failure(self.log, device, failure);
            }
            probed |= provider.driver.is_some() && !known.has_finished();
            changes.push(Change::Provider(device.clone(), Some(provider)));
        }
        if probed {
            self.registered(changes);
        }
    }

    /// Adds a change for each GPU whose driver was bound or unbound, or started or ceased to take a
    /// buffer by ioctl. The uevent `bind` follows the registration of the driver's render node.
    fn gpu_drivers(&mut self, changes: &mut Vec<Change>) {
        let mut problems = Vec::new();
        for (device, known) in &self.engine.facts().gpus {
            let driver = devices::gpu_driver(&self.root, device);
            let has_driver = driver.is_some();
            let read = || render_node::section(&self.root, device, &mut problems);
            let section = has_driver.then(read).and_then(Result::ok).flatten();
            if driver != known.driver || section != known.section {
                let compatible = known.compatible.clone();
                let gpu = Gpu { compatible, driver, section, ..Gpu::default() };
                changes.push(Change::Gpu(device.clone(), Some(gpu)));
            }
        }
        for problem in problems {
            self.refuse(problem);
        }
    }

    /// Adds a change for each module of the policy whose state changed.
    pub(super) fn modules(&self, changes: &mut Vec<Change>) {
        let mut loaded = false;
        for (name, known) in &self.engine.facts().heap_modules {
            let module = heap_modules::update(&self.root, name, *known);
            if module == *known {
                continue;
            }
            if module == HeapModule::Gone && !known.has_finished() {
                let text = format_args!("heap module {name} failed to initialize; see `dmesg`");
                self.log.write(&Message::Other(text));
            }
            loaded |= module == HeapModule::Live;
            changes.push(Change::Module(name.clone(), module));
        }
        if loaded {
            self.registered(changes);
        }
    }

    /// Adds changes for heaps and TEEs before all others. They are registered before a driver is
    /// bound or a module is live, but their events may still be queued.
    fn registered(&self, changes: &mut Vec<Change>) {
        let mut ignored = Vec::new();
        let heaps = heaps::read(&self.root, &mut ignored);
        let known = &self.engine.facts().heaps;
        let new = heaps.difference(known).cloned().map(Change::Heap);
        let tees = Change::Tees(tee::read(&self.root, &mut ignored));
        changes.splice(0..0, new.chain([tees]));
    }
}

fn has_probing(facts: &Facts) -> bool {
    facts.providers.values().any(|provider| provider.probing && !provider.has_finished())
}

fn has_pending_module(facts: &Facts) -> bool {
    facts.heap_modules.values().any(|module| !module.has_finished())
}
