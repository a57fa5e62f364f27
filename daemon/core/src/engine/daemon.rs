// SPDX-License-Identifier: MIT OR Apache-2.0

//! Upkeep of bindings by the daemon: it adopts existing bindings, supplies the suspend buffers that
//! the kernel requests, withdraws a binding when its TEE goes away, and starts a new attempt when a
//! fact or a policy changes or a client requests one.

use super::{Action, Binding, Engine, Monotonic, Phase, Supplied};
use crate::facts::{Facts, Gpu, KernelBinding, Source, Verdict};
use crate::next::{Current, Next, next};
use crate::state::{Reason, State};
use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;
use protheap_policy::schema::Bind;

/// Delay from a first failure to the next attempt, in microseconds. Doubles with each further
/// failure, up to 64 times the initial value.
const RETRY: u64 = 1_000_000;

/// Maximum number of consecutive allocations of further suspend buffers from a heap without memory.
/// After that, only a change starts another attempt: of a fact, of the policy, or of the size or
/// number that the GPU driver requests.
const ATTEMPTS: u32 = 8;

/// Maximum time for which a binding can precede its TEE, in microseconds. A TEE's heaps appear
/// before the TEE does, and are bound at once.
const TEE_COMES: u64 = 1_000_000;

/// Minimum time without a driver before a binding is withdrawn in favour of a preferred heap, in
/// microseconds. A driver that is rebound within this time finds its binding unchanged.
const DRIVER_RETURNS: u64 = 1_000_000;

/// Time after which a binding on demand without protected groups is released, in microseconds. A
/// player that restarts within it causes no further reset of the GPU.
const IDLE: u64 = 10_000_000;

/// Number of timeline steps to keep, because the daemon runs as long as the machine does.
const STEPS: usize = 100;

/// Whether the TEE of a binding has been registered since the heap was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TeeOfBinding {
    /// The TEE was registered. If it is not now, it has gone away.
    Seen,
    /// The TEE has not been registered yet. Counts from this time.
    Unseen(Monotonic),
}

/// Pending upkeep of a binding, and the state of retries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Upkeep {
    /// Whether the kernel's binding has to be read, because it may have changed.
    look: bool,
    /// Whether a read that upkeep started has no result yet.
    reading: bool,
    /// Whether the kernel requests suspend buffers and no retry delay is running.
    supply: bool,
    /// Earliest time of the next attempt after a failure, unless something changes.
    retry: Option<Monotonic>,
    failures: u32,
    /// Whether only a change starts another attempt, because the kernel refused a buffer or all
    /// attempts failed.
    refused: bool,
    /// Error that was logged last.
    logged: Option<String>,
    /// Time since which a binding on demand has had no protected group.
    idle: Option<Monotonic>,
}

impl Upkeep {
    /// Returns whether the kernel's binding may differ from the one that was read last.
    fn is_stale(&self) -> bool {
        self.look || self.reading
    }

    fn after(&mut self, now: Monotonic) {
        self.retry = Some(Monotonic(now.0 + (RETRY << self.failures.min(6))));
        self.failures += 1;
    }
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
    /// The policy does not bind on demand, or protheap.ko is not loaded.
    AtBoot,
    /// State of the binding, and its reason as a word, or an empty string.
    Unbound(State, &'static str),
}

impl<const DAEMON: bool> Engine<DAEMON> {
    /// Checks that `device` is bound after a [`super::Change::Demand`].
    ///
    /// # Errors
    ///
    /// Returns the reason if it is not bound.
    pub fn demanded(&self, device: &DeviceName) -> Result<(), NoDemand> {
        let Some(binding) = self.bindings.get(device) else { return Err(NoDemand::NoGpu) };
        if binding.is_bound() {
            Ok(())
        } else if !binding.is_on_demand(&self.facts) {
            Err(NoDemand::AtBoot)
        } else {
            let reason = binding.reason.map_or("", Reason::as_str);
            Err(NoDemand::Unbound(binding.state, reason))
        }
    }

    /// Checks that [`super::Event::Rebind`] would start a new selection.
    ///
    /// # Errors
    ///
    /// Returns the reason if it would not.
    pub fn may_rebind(&self, device: &DeviceName) -> Result<(), NoRebind> {
        let (Some(binding), Some(gpu)) = (self.bindings.get(device), self.facts.gpus.get(device))
        else {
            return Err(NoRebind::NoGpu);
        };
        if self.facts.kernel.module.is_none() {
            return Err(NoRebind::Fixed);
        }
        let taken = gpu.driver.is_some() || binding.state == State::InUse;
        match binding.phase {
            Phase::Ended if binding.is_bound() && taken => Err(NoRebind::InUse),
            Phase::Ended => Ok(()),
            _ => Err(NoRebind::Busy),
        }
    }

    /// Repeats selection, and allocates from every heap again.
    pub(super) fn rebind(
        &mut self,
        device: &DeviceName,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        if self.may_rebind(device).is_err() {
            return;
        }
        if let Some(binding) = self.bindings.get_mut(device) {
            binding.step(now, "rebind", String::new());
        }
        self.begin_anew(device, actions);
    }

    /// Withdraws the binding, if there is one, and discards all verdicts: they depend on buffers
    /// that were released with the binding.
    fn begin_anew(&mut self, device: &DeviceName, actions: &mut Vec<Action>) {
        let (binding, gpu) = (self.bindings.get_mut(device), self.facts.gpus.get_mut(device));
        if let (Some(binding), Some(gpu)) = (binding, gpu) {
            gpu.verdicts.clear();
            binding.upkeep = Upkeep::default();
            binding.phase = Phase::New;
            if binding.is_bound() {
                actions.push(Action::Remove(device.clone()));
                binding.forget_kernel();
                binding.phase = Phase::Unbound;
            }
        }
    }

    /// Starts binding on demand. Heaps are allocated from again, because the last binding's buffers
    /// were released.
    pub(super) fn demand(&mut self, device: &DeviceName, now: Monotonic) {
        let (binding, gpu) = (self.bindings.get_mut(device), self.facts.gpus.get_mut(device));
        if let (Some(binding), Some(gpu)) = (binding, gpu)
            && binding.can_be_demanded(now)
        {
            gpu.verdicts.clear();
            binding.shorten();
            binding.step(now, "demanded", String::new());
            binding.demanded = true;
            binding.phase = Phase::Unbound;
        } else if let Some(binding) = self.bindings.get_mut(device) {
            // The caller has the full idle time to create a group.
            binding.upkeep.idle = None;
        }
    }

    /// Switches to a preferred heap once the driver has stayed unbound for `DRIVER_RETURNS`. The
    /// caller has just read the kernel's binding.
    ///
    /// A binding that no driver has used yet is kept, because its first driver could otherwise find
    /// none. A binding is also kept if there is no heap to bind instead.
    pub(super) fn improve(
        &mut self,
        device: &DeviceName,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        let (Some(binding), Some(gpu)) = (self.bindings.get(device), self.facts.gpus.get(device))
        else {
            return;
        };
        let stays_away = binding.free_since.is_some_and(|since| now.0 >= since.0 + DRIVER_RETURNS);
        let is_free = gpu.driver.is_none() && binding.phase == Phase::Ended && stays_away;
        if !is_free || self.next(device).is_none_or(|next| next.heap.is_none()) {
            return;
        }
        if let Some(binding) = self.bindings.get_mut(device) {
            binding.step(now, "withdrawn", "for what the policy prefers now".to_owned());
        }
        self.begin_anew(device, actions);
    }

    /// Replaces the policy without changing a binding. [`Self::look_again`] then acts on it.
    pub(super) fn change_policy(&mut self, policy: Policy) {
        self.policy = policy;
        for (device, gpu) in &self.facts.gpus {
            if let Some(binding) = self.bindings.get_mut(device) {
                binding.policy = self.policy.gpu(device, &gpu.compatible);
                if let (Some(policy), Some(heap)) = (&mut binding.policy, &binding.kept) {
                    policy.keep_to(heap);
                }
            }
        }
    }

    /// Returns what selection would bind now, if that differs from the binding.
    pub fn next(&self, device: &DeviceName) -> Option<Next> {
        let (binding, gpu) = (self.bindings.get(device)?, self.facts.gpus.get(device)?);
        binding.next(gpu, &self.facts)
    }

    /// Reads bindings again, and starts a new attempt for GPUs without one, because a fact changed:
    /// for `only`, or for all GPUs. If the change is that `heap` was registered, heaps that were
    /// too small are not tried again, because they have no more memory now.
    pub(super) fn look_again(&mut self, only: Option<&DeviceName>, heap: Option<&HeapName>) {
        for (device, gpu) in &mut self.facts.gpus {
            let Some(binding) = self.bindings.get_mut(device) else { continue };
            if only.is_some_and(|only| only != device) || binding.phase != Phase::Ended {
                continue;
            }
            binding.shorten();
            let Upkeep { logged, idle, .. } = std::mem::take(&mut binding.upkeep);
            binding.upkeep = Upkeep { logged, idle, ..Upkeep::default() };
            // The driver's parameter is a fact, and needs no reading.
            if binding.is_bound() && self.facts.kernel.parameter.is_none() {
                binding.look();
            } else {
                gpu.verdicts.retain(|of, verdict| {
                    heap.is_some_and(|heap| heap != of) && matches!(verdict, Verdict::TooSmall(_))
                });
                binding.phase = Phase::New;
            }
        }
    }
}

impl Binding {
    /// Returns what selection would bind now, if that differs from the binding.
    fn next(&self, gpu: &Gpu, facts: &Facts) -> Option<Next> {
        let kernel = self.kernel.as_ref().filter(|_| self.is_bound())?;
        let current = Current { heap: &kernel.heap, suspend_count: Some(kernel.suspend_count) };
        next(self.policy.as_ref(), facts, gpu, Some(current))
    }

    /// Removes the oldest steps from the timeline.
    fn shorten(&mut self) {
        let old = self.timeline.len().saturating_sub(STEPS);
        self.timeline.drain(..old);
    }

    /// Returns whether a demand starts an attempt: the GPU is not bound, and no demand failed
    /// within the last `RETRY`.
    fn can_be_demanded(&self, now: Monotonic) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| policy.bind() == Bind::Demand)
            && self.phase == Phase::Ended
            && !self.is_bound()
            && self.refused_demand.is_none_or(|at| now.0 >= at.0 + RETRY)
    }

    /// Ends a demand. If it failed, reports that to the kernel, where the group's creator waits.
    pub(super) fn end_demand(
        &mut self,
        device: &DeviceName,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        if self.phase == Phase::Ended && std::mem::take(&mut self.demanded) {
            self.upkeep.idle = None;
            self.refused_demand = (!self.is_bound()).then_some(now);
            if !self.is_bound() {
                actions.push(Action::BindOnDemand(device.clone()));
            }
        }
    }

    /// Releases a binding on demand that has had no protected group for `IDLE`. Returns whether it
    /// did.
    fn release_idle(
        &mut self,
        device: &DeviceName,
        has_groups: bool,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) -> bool {
        if has_groups {
            self.upkeep.idle = None;
            return false;
        }
        let until = Monotonic(self.upkeep.idle.get_or_insert(now).0 + IDLE);
        if now < until {
            actions.push(Action::WakeAt(until));
            return false;
        }
        self.upkeep.idle = None;
        self.step(now, "released", "no protected group".to_owned());
        self.phase = Phase::Releasing;
        actions.push(Action::BindOnDemand(device.clone()));
        true
    }

    /// Requests that the kernel's binding be read, because it may have changed.
    pub(super) fn look(&mut self) {
        self.upkeep.look = true;
    }

    /// Processes [`super::Opened::Busy`]: the driver still uses the withdrawn binding.
    pub(super) fn busy(&mut self, why: String, now: Monotonic) {
        // The reason was recorded with the first attempt, and each retry has the same.
        let why = if self.reason == Some(Reason::Withdrawn) { String::new() } else { why };
        self.end(State::Unprotected, Some(Reason::Withdrawn), now, why);
        self.upkeep.after(now);
    }

    /// Processes the kernel's binding as just read.
    pub(super) fn looked(&mut self, found: Result<Option<KernelBinding>, String>, now: Monotonic) {
        self.upkeep.reading = false;
        match (self.phase, found) {
            (Phase::Looking | Phase::Ended, Ok(Some(kernel))) => self.stands(&kernel, now),
            (Phase::Looking, Ok(None)) => self.phase = Phase::Unbound,
            (Phase::Looking, Err(why)) => {
                self.end(State::Failed, Some(Reason::KernelRefused), now, why);
            }
            (Phase::Ended, Ok(None)) if self.is_bound() => {
                self.forget_kernel();
                self.upkeep = Upkeep::default();
                self.end(State::Unprotected, Some(Reason::Withdrawn), now, String::new());
            }
            // The driver may have freed the withdrawn buffers.
            (Phase::Ended, Ok(None)) if self.upkeep.retry.is_some() => self.phase = Phase::Unbound,
            _ => {}
        }
    }

    /// Discards the state of a withdrawn binding.
    pub(super) fn forget_kernel(&mut self) {
        (self.kernel, self.tee, self.free_since) = (None, None, None);
    }

    /// Processes a committed binding, and adopts one that an earlier run made.
    fn stands(&mut self, kernel: &KernelBinding, now: Monotonic) {
        if self.is_bound() && self.heap() == Some(&kernel.heap) {
            self.enter(if kernel.in_use { State::InUse } else { State::Bound });
        } else {
            self.adopt(kernel.heap.clone(), kernel.in_use, now);
            if let Some(policy) = &mut self.policy {
                policy.keep_to(&kernel.heap);
            }
            self.kept = Some(kernel.heap.clone());
        }
        let known = self.kernel.replace(kernel.clone());
        if known.as_ref().is_none_or(|known| known.heap != kernel.heap) {
            self.tee = None;
        }
        if let Some(request) = &self.request {
            self.named = Some((request.heap.clone(), request.policy.clone()));
        }
        let since = self.free_since.or(known.as_ref().filter(|known| known.in_use).map(|_| now));
        self.free_since = since.filter(|_| !kernel.in_use);
        if kernel.source != Source::Handed || kernel.suspend_wanted == 0 {
            let returns = self.free_since.map(|since| Monotonic(since.0 + DRIVER_RETURNS));
            let retry = returns.filter(|returns| now < *returns);
            self.upkeep = Upkeep { retry, idle: self.upkeep.idle, ..Upkeep::default() };
            return;
        }
        let grown = known.is_none_or(|known| {
            kernel.suspend_wanted > known.suspend_wanted
                || kernel.suspend_bytes > known.suspend_bytes
        });
        self.upkeep.supply = grown || self.upkeep.retry.is_none() && !self.upkeep.refused;
    }

    /// Carries out pending upkeep of a binding whose attempt has ended.
    pub(super) fn attend(
        &mut self,
        device: &DeviceName,
        facts: &Facts,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        let kernel = self.kernel.as_ref().filter(|_| self.is_bound());
        if let Some(kernel) = kernel {
            let tee = (kernel.is_of_tee() && !facts.has_tee_for_heaps())
                .then(|| *self.tee.get_or_insert(TeeOfBinding::Unseen(now)));
            match tee {
                None => self.tee = kernel.is_of_tee().then_some(TeeOfBinding::Seen),
                Some(TeeOfBinding::Unseen(since)) if now.0 < since.0 + TEE_COMES => {
                    actions.push(Action::WakeAt(Monotonic(since.0 + TEE_COMES)));
                }
                Some(TeeOfBinding::Unseen(_)) if self.upkeep.is_stale() => {}
                Some(_) => {
                    // The TEE driver's unbind waits until the last buffer is freed. This frees the
                    // unused ones.
                    actions.push(Action::Remove(device.clone()));
                    self.forget_kernel();
                    self.upkeep = Upkeep::default();
                    self.step(now, "withdrawn", "its TEE has gone".to_owned());
                    return self.end(State::Failed, Some(Reason::HeapDead), now, String::new());
                }
            }
            let has_groups = kernel.suspend_in_use > 0;
            let heap = kernel.heap.clone();
            if self.is_on_demand(facts)
                && !self.upkeep.is_stale()
                && self.release_idle(device, has_groups, now, actions)
            {
                return;
            }
            if self.upkeep.supply && !self.upkeep.is_stale() && tee.is_none() {
                actions.push(Action::Supply(device.clone(), heap));
                self.upkeep.supply = false;
                self.phase = Phase::Supplying;
                return;
            }
        }
        match self.upkeep.retry {
            Some(at) if now < at => actions.push(Action::WakeAt(at)),
            Some(_) => {
                self.upkeep.retry = None;
                if self.is_bound() {
                    self.upkeep.look = true;
                } else {
                    self.phase = Phase::Unbound;
                    return;
                }
            }
            None => {}
        }
        if std::mem::take(&mut self.upkeep.look) {
            self.upkeep.reading = true;
            actions.push(Action::Look(device.clone()));
        }
    }

    /// Processes the result of [`Action::Supply`].
    pub(super) fn supplied(
        &mut self,
        device: &DeviceName,
        supplied: Supplied,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Ended;
        // Delay the next attempt also after a success: if the kernel still requests as many buffers
        // as before and of the same size, it cannot use them.
        self.upkeep.after(now);
        let why = match supplied {
            Supplied::All => {
                self.step(now, "supplied", String::new());
                None
            }
            Supplied::NoMemory(why) => {
                if self.upkeep.failures >= ATTEMPTS {
                    self.upkeep.retry = None;
                    self.upkeep.refused = true;
                }
                Some(why)
            }
            Supplied::Refused(why) => {
                self.upkeep.retry = None;
                self.upkeep.refused = true;
                Some(why)
            }
        };
        self.shortage.clone_from(&why);
        if let Some(why) = why
            && self.upkeep.logged.as_ref() != Some(&why)
        {
            self.step(now, "supply-failed", why.clone());
            actions.push(Action::Tell(device.clone(), why.clone()));
            self.upkeep.logged = Some(why);
        }
        self.look();
    }
}

#[cfg(test)]
mod tests;
