// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tracks the drivers of GPUs and heap providers, and detects failed probes.

use std::collections::BTreeMap;

use protheap_board::{devices, heaps, tee};
use protheap_core::engine::{Change, Event, Machine, Monotonic};
use protheap_core::facts::{Failure, Gpu, Provider};
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

    /// Returns whether a GPU is held for a provider whose probe may fail. No event reports that.
    pub(super) fn polls(&self) -> bool {
        let mut providers = self.engine.facts().providers.values();
        !M::KEEPS && providers.any(|provider| provider.probing && !provider.has_finished())
    }

    /// Detects probes that have failed.
    pub(super) fn poll(&mut self) {
        if self.polls() {
            let mut changes = Vec::new();
            self.drivers(&mut changes);
            if !changes.is_empty() {
                self.process((now(), Event::Changed(changes)));
                self.finish();
            }
        }
    }

    /// Adds a change for each GPU or provider whose driver was bound or unbound, and for each
    /// provider that failed to probe.
    pub(super) fn drivers(&mut self, changes: &mut Vec<Change>) {
        let known = self.engine.facts();
        for (device, gpu) in &known.gpus {
            let driver = devices::gpu_driver(&self.root, device);
            if driver != gpu.driver {
                let compatible = gpu.compatible.clone();
                let gpu = Gpu { compatible, driver, ..Gpu::default() };
                changes.push(Change::Gpu(device.clone(), Some(gpu)));
            }
        }
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
            // Heaps and TEEs are registered before the driver is bound, but their events may still
            // be queued.
            let mut ignored = Vec::new();
            let heaps = heaps::read(&self.root, &mut ignored);
            let new = heaps.difference(&known.heaps).cloned().map(Change::Heap);
            let tees = Change::Tees(tee::read(&self.root, &mut ignored));
            changes.splice(0..0, new.chain([tees]));
        }
    }
}
