// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine of the daemon: it keeps what is bound, and starts attempts.
//!
//! The keeper adopts existing bindings, supplies the suspend buffers that the kernel requests,
//! withdraws a binding when its TEE goes away, and starts an attempt when a fact or a policy
//! changes or a client requests one.

mod holding;
mod kept;
mod upkeep;

use std::collections::BTreeMap;

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;

use super::action::Action;
use super::agree::heaps_differ;
use super::attempt::{At, is_on_demand};
use super::binding::Binding;
use super::event::{Change, Event};
use super::known::{Consequence, Known};
use super::machine::Machine;
use crate::facts::{Delivery, Facts, KernelBinding};
use crate::next::{Current, Next, next};
use crate::state::{Reason, State};
use crate::state_file::StateFile;
use crate::timeline::Monotonic;
use holding::DRIVER_RETURNS;
use kept::{Duty, Kept};

/// Keeps the bindings of all GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    known: Known,
    gpus: BTreeMap<DeviceName, Kept>,
}

/// Reason why selection cannot be repeated for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRebind {
    /// There is no such GPU.
    NoGpu,
    /// A driver uses the GPU and its binding.
    InUse,
    /// An attempt is pending.
    Busy,
    /// A driver's parameter cannot be changed while the system runs, or no driver takes a binding.
    Fixed,
}

/// Reason why a demand failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDemand {
    /// There is no such GPU.
    NoGpu,
    /// The policy does not bind on demand, or the delivery is not protheap.ko.
    AtBoot,
    /// State of the binding, and its reason.
    Unbound(State, Option<Reason>),
}

impl Machine for Keeper {
    const KEEPS: bool = true;

    fn new(policy: Policy, facts: Facts) -> Self {
        let known = Known { policy, facts };
        let devices = known.facts.gpus.keys();
        let kept = |device: &DeviceName| Kept::new(known.policy_of(device));
        let gpus = devices.map(|device| (device.clone(), kept(device))).collect();
        Self { known, gpus }
    }

    fn policy(&self) -> &Policy {
        &self.known.policy
    }

    fn facts(&self) -> &Facts {
        &self.known.facts
    }

    fn bindings(&self) -> impl Iterator<Item = (&DeviceName, &Binding)> + Clone {
        self.gpus.iter().map(|(device, kept)| (device, &kept.binding))
    }

    fn is_done(&self) -> bool {
        self.gpus.values().all(Kept::is_at_rest)
    }

    fn kernel(&self, device: &DeviceName) -> Option<&KernelBinding> {
        self.gpus.get(device)?.kernel()
    }

    fn next(&self, device: &DeviceName) -> Option<Next> {
        let (kept, gpu) = (self.gpus.get(device)?, self.known.facts.gpus.get(device)?);
        let kernel = kept.kernel()?;
        let current = Current { heap: &kernel.heap, suspend_count: Some(kernel.suspend_count) };
        next(kept.binding.policy(), &self.known.facts, gpu, Some(current))
    }

    fn on(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started | Event::Woken => {}
            Event::Changed(changes) => {
                for change in changes {
                    self.change(change, now);
                }
            }
            Event::Rebind(device) => self.rebind(&device, now, &mut actions),
            event => self.result(event, now, &mut actions),
        }
        let facts = &self.known.facts;
        for (device, kept) in &mut self.gpus {
            if let Some(gpu) = facts.gpus.get(device) {
                kept.advance(device, gpu, facts, now, &mut actions);
                kept.end_demand(device, now, &mut actions);
            }
        }
        self.agree(now, &mut actions);
        actions
    }
}

impl Keeper {
    /// Restores the timelines that an earlier program of this boot saved, up to `now`. The bindings
    /// themselves are read from the kernel.
    pub fn restore(&mut self, file: &StateFile, now: Monotonic) {
        for (device, kept) in &mut self.gpus {
            if let Some(saved) = file.gpu(device) {
                kept.binding.restore(saved, now);
            }
        }
    }

    /// Checks that `device` is bound after a [`Change::Demand`].
    ///
    /// # Errors
    ///
    /// Returns the reason if it is not bound.
    pub fn demanded(&self, device: &DeviceName) -> Result<(), NoDemand> {
        let facts = &self.known.facts;
        let (Some(binding), Some(gpu)) = (self.binding(device), facts.gpus.get(device)) else {
            return Err(NoDemand::NoGpu);
        };
        if binding.is_bound() {
            Ok(())
        } else if !is_on_demand(binding, facts, gpu) {
            Err(NoDemand::AtBoot)
        } else {
            Err(NoDemand::Unbound(binding.state(), binding.reason()))
        }
    }

    /// Checks that [`Event::Rebind`] would start a new selection.
    ///
    /// # Errors
    ///
    /// Returns the reason if it would not.
    pub fn may_rebind(&self, device: &DeviceName) -> Result<(), NoRebind> {
        let (Some(kept), Some(gpu)) = (self.gpus.get(device), self.known.facts.gpus.get(device))
        else {
            return Err(NoRebind::NoGpu);
        };
        let taken = gpu.driver.is_some() || kept.binding.state() == State::InUse;
        if !matches!(self.known.facts.kernel.delivery(gpu), Delivery::Ioctl | Delivery::Module) {
            Err(NoRebind::Fixed)
        } else if !kept.is_at_rest() {
            Err(NoRebind::Busy)
        } else if kept.binding.is_bound() && taken {
            Err(NoRebind::InUse)
        } else {
            Ok(())
        }
    }

    /// Returns the kernel's bindings as last read.
    pub fn kernels(&self) -> impl Iterator<Item = &KernelBinding> {
        self.gpus.values().filter_map(Kept::kernel)
    }

    /// Processes the result of an action.
    fn result(&mut self, event: Event, now: Monotonic, actions: &mut Vec<Action>) {
        let Some(device) = event.of_action().cloned() else { return };
        if let Some(kept) = self.gpus.get_mut(&device)
            && let Some(gpu) = self.known.facts.gpus.get_mut(&device)
        {
            let was_read = matches!(event, Event::Read(..));
            kept.result(event, &device, gpu, now, actions);
            if was_read {
                self.improve(&device, now, actions);
            }
        }
    }

    fn change(&mut self, change: Change, now: Monotonic) {
        match change {
            Change::Binding(device) => {
                if let Some(kept) = self.gpus.get_mut(&device) {
                    kept.look();
                }
            }
            Change::Demand(device) => self.demand(&device, now),
            Change::Policy(policy) => {
                self.change_policy(*policy);
                self.look_again(None, None);
            }
            change => {
                let (only, heap) = match &change {
                    Change::Gpu(device, _) => (Some(device.clone()), None),
                    Change::Heap(heap) => (None, Some(heap.clone())),
                    _ => (None, None),
                };
                for consequence in self.known.apply(change) {
                    self.follow(consequence, now);
                }
                self.look_again(only.as_ref(), heap.as_ref());
            }
        }
    }

    /// Applies a consequence of a changed fact.
    fn follow(&mut self, consequence: Consequence, now: Monotonic) {
        match consequence {
            Consequence::Step(step, detail) => {
                for kept in self.gpus.values_mut().filter(|kept| !kept.is_at_rest()) {
                    kept.binding.step(now, step, detail.clone());
                }
            }
            Consequence::Came(device) => {
                let kept = Kept::new(self.known.policy_of(&device));
                self.gpus.insert(device, kept);
            }
            Consequence::Left(device) => {
                self.gpus.insert(device, Kept::absent());
            }
        }
    }

    /// Replaces the policy without changing a binding. [`Self::look_again`] then acts on it.
    fn change_policy(&mut self, policy: Policy) {
        self.known.policy = policy;
        for (device, kept) in &mut self.gpus {
            if self.known.facts.gpus.contains_key(device) {
                kept.set_policy(self.known.policy_of(device));
            }
        }
    }

    /// Reads bindings again, and starts a new attempt for GPUs without one, because a fact changed:
    /// for `only`, or for all GPUs. If the change is that `heap` was registered, heaps that were
    /// too small are not tried again, because they have no more memory now.
    fn look_again(&mut self, only: Option<&DeviceName>, heap: Option<&HeapName>) {
        let Facts { kernel, gpus, .. } = &mut self.known.facts;
        for (device, gpu) in gpus {
            let has_parameter = kernel.delivery(gpu) == Delivery::PanthorParameter;
            if only.is_none_or(|only| only == device)
                && let Some(kept) = self.gpus.get_mut(device)
            {
                kept.look_again(gpu, has_parameter, heap);
            }
        }
    }

    /// Starts binding on demand.
    fn demand(&mut self, device: &DeviceName, now: Monotonic) {
        if let Some(kept) = self.gpus.get_mut(device)
            && let Some(gpu) = self.known.facts.gpus.get_mut(device)
        {
            kept.demand(gpu, now);
        }
    }

    /// Repeats selection, and allocates from every heap again.
    fn rebind(&mut self, device: &DeviceName, now: Monotonic, actions: &mut Vec<Action>) {
        if self.may_rebind(device).is_ok() {
            self.begin_anew(device, ("rebind", ""), now, actions);
        }
    }

    /// Switches to a preferred heap once the driver has stayed unbound for [`DRIVER_RETURNS`]. The
    /// caller has just read the kernel's binding.
    ///
    /// A binding that no driver has used yet is kept, because its first driver could otherwise find
    /// none. A binding is also kept if there is no heap to bind instead.
    fn improve(&mut self, device: &DeviceName, now: Monotonic, actions: &mut Vec<Action>) {
        let (Some(kept), Some(gpu)) = (self.gpus.get(device), self.known.facts.gpus.get(device))
        else {
            return;
        };
        let stays_away = kept.free_since().is_some_and(|since| now.0 >= since.0 + DRIVER_RETURNS);
        let is_free = gpu.driver.is_none() && kept.is_at_rest() && stays_away;
        if is_free && self.next(device).is_some_and(|next| next.heap.is_some()) {
            let step = ("withdrawn", "for what the policy prefers now");
            self.begin_anew(device, step, now, actions);
        }
    }

    /// Withdraws the binding, if there is one, and selects again.
    fn begin_anew(
        &mut self,
        device: &DeviceName,
        (step, detail): (&'static str, &str),
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        if let Some(kept) = self.gpus.get_mut(device)
            && let Some(gpu) = self.known.facts.gpus.get_mut(device)
        {
            kept.binding.step(now, step, detail.to_owned());
            kept.begin_anew(device, gpu, actions);
        }
    }

    /// Names the heap that all GPUs of a driver agree on to the driver.
    fn agree(&mut self, now: Monotonic, actions: &mut Vec<Action>) {
        let is_pending =
            |kept: &Kept| !kept.is_at_rest() && !matches!(kept.duty, Duty::Attempting(_));
        if self.gpus.values().any(is_pending) {
            return;
        }
        let gpus = self.gpus.values().map(|kept| (kept.attempt(), &kept.binding));
        let Some(differ) = heaps_differ(gpus) else { return };
        for (device, kept) in &mut self.gpus {
            if let Duty::Attempting(attempt) = &mut kept.duty {
                attempt.agree(differ, &mut At { device, binding: &mut kept.binding, now, actions });
                kept.conclude();
            }
        }
    }
}

#[cfg(test)]
mod tests;
