// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine of the early binder: one attempt for each GPU.

use std::collections::BTreeMap;

use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;

use super::action::Action;
use super::agree::heaps_differ;
use super::attempt::{At, Attempt, View};
use super::binding::Binding;
use super::event::Event;
use super::known::{Consequence, Known};
use super::machine::Machine;
use crate::decision::Patience;
use crate::facts::Facts;
use crate::timeline::Monotonic;

/// Runs one attempt for each GPU to its end, and holds the GPU's probe meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binder {
    known: Known,
    pub(super) gpus: BTreeMap<DeviceName, Pair>,
}

/// A GPU's attempt and binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) attempt: Attempt,
    binding: Binding,
}

impl Pair {
    fn new(known: &Known, device: &DeviceName) -> Self {
        let binding = Binding::new(known.policy_of(device));
        Self { attempt: Attempt::new(Patience::Wait), binding }
    }
}

impl Machine for Binder {
    const KEEPS: bool = false;

    fn new(policy: Policy, facts: Facts) -> Self {
        let known = Known { policy, facts };
        let devices = known.facts.gpus.keys();
        let gpus = devices.map(|device| (device.clone(), Pair::new(&known, device))).collect();
        Self { known, gpus }
    }

    fn policy(&self) -> &Policy {
        &self.known.policy
    }

    fn facts(&self) -> &Facts {
        &self.known.facts
    }

    fn bindings(&self) -> impl Iterator<Item = (&DeviceName, &Binding)> + Clone {
        self.gpus.iter().map(|(device, gpu)| (device, &gpu.binding))
    }

    fn is_done(&self) -> bool {
        self.gpus.values().all(|gpu| gpu.attempt.has_ended())
    }

    fn on(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started => {
                let failures = self.known.failures();
                self.follow(failures, now);
            }
            Event::Changed(changes) => {
                for change in changes {
                    let consequences = self.known.apply(change);
                    self.follow(consequences, now);
                }
            }
            event => {
                if let Some(device) = event.of_action().cloned()
                    && let Some(Pair { attempt, binding }) = self.gpus.get_mut(&device)
                    && let Some(gpu) = self.known.facts.gpus.get_mut(&device)
                {
                    let mut at = At { device: &device, binding, now, actions: &mut actions };
                    attempt.on(event, gpu, &mut at);
                }
            }
        }
        let facts = &self.known.facts;
        for (device, Pair { attempt, binding }) in &mut self.gpus {
            if let Some(gpu) = facts.gpus.get(device) {
                let mut at = At { device, binding, now, actions: &mut actions };
                attempt.advance(View { gpu, facts, is_demanded: false }, &mut at);
            }
        }
        self.agree(now, &mut actions);
        actions
    }
}

impl Binder {
    /// Applies the consequences of changed facts to the attempts.
    fn follow(&mut self, consequences: Vec<Consequence>, now: Monotonic) {
        for consequence in consequences {
            match consequence {
                Consequence::Step(step, detail) => {
                    for gpu in self.gpus.values_mut().filter(|gpu| !gpu.attempt.has_ended()) {
                        gpu.binding.step(now, step, detail.clone());
                    }
                }
                Consequence::Came(device) => {
                    let gpu = Pair::new(&self.known, &device);
                    self.gpus.insert(device, gpu);
                }
                Consequence::Left(device) => {
                    let gpu = Pair { attempt: Attempt::ended(), binding: Binding::absent() };
                    self.gpus.insert(device, gpu);
                }
            }
        }
    }

    /// Names the heap that all GPUs of a driver agree on to the driver.
    fn agree(&mut self, now: Monotonic, actions: &mut Vec<Action>) {
        let gpus = self.gpus.values().map(|gpu| (Some(&gpu.attempt), &gpu.binding));
        if let Some(differ) = heaps_differ(gpus) {
            for (device, Pair { attempt, binding }) in &mut self.gpus {
                attempt.agree(differ, &mut At { device, binding, now, actions });
            }
        }
    }
}
