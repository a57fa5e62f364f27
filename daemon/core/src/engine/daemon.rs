// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a daemon does with bindings that have come to an end: it takes over what others bound,
//! meets what the kernel asks for, takes a binding away when its TEE goes, and begins anew when a
//! fact or a policy has changed, or somebody asks.

use super::{Action, Binding, Engine, Monotonic, Phase, Supplied};
use crate::facts::{Facts, Gpu, KernelBinding, Source, Verdict};
use crate::next::{Current, Next, next};
use crate::state::{Reason, State};
use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;
use protheap_policy::schema::Bind;

/// Time from a first failure to the next attempt, in microseconds; doubled after each further one,
/// up to 64 times.
const RETRY: u64 = 1_000_000;

/// How often a heap without memory for further suspend buffers is allocated from in a row. After
/// that only a change makes it worth another attempt: a fact, the policy, or the size or number that
/// the GPU driver asks for.
const ATTEMPTS: u32 = 8;

/// How long a binding may be there before its TEE is, in microseconds: a TEE's heaps come first, and
/// are bound at once.
const TEE_COMES: u64 = 1_000_000;

/// How long a driver has to be gone before what it had is withdrawn for something better, in
/// microseconds: who unbinds a driver may bind it at once again, and that must not find nothing.
const DRIVER_RETURNS: u64 = 1_000_000;

/// Time after which a binding on demand without protected groups is released, in microseconds. A
/// player that restarts within it causes no further reset of the GPU.
const IDLE: u64 = 10_000_000;

/// How many steps of a timeline are kept: a daemon runs for as long as the machine does.
const STEPS: usize = 100;

/// The TEE of a binding, as far as it was seen since the binding was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TeeOfBinding {
    /// It was there: if it is not, it has gone.
    Seen,
    /// It was not there yet, since then.
    Unseen(Monotonic),
}

/// What a daemon has to do for a binding at its end, and what it did in vain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Upkeep {
    /// What the kernel has may have changed.
    look: bool,
    /// The kernel wants suspend buffers, and it is time to hand them over.
    supply: bool,
    /// It failed: not again before then, unless something changes.
    retry: Option<Monotonic>,
    failures: u32,
    /// No time helps, only a change: the kernel refused, or the heap has had its attempts.
    refused: bool,
    /// What people were told.
    told: Option<String>,
    /// Time since which a binding on demand has had no protected group.
    idle: Option<Monotonic>,
}

impl Upkeep {
    fn after(&mut self, now: Monotonic) {
        self.retry = Some(Monotonic(now.0 + (RETRY << self.failures.min(6))));
        self.failures += 1;
    }
}

/// Why nothing can be decided anew for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRebind {
    /// There is no such GPU.
    NoGpu,
    /// A driver has it and its binding.
    InUse,
    /// It is being decided already.
    Busy,
    /// What a driver's parameter says cannot be changed while the system runs, or nothing takes
    /// a binding at all.
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
    /// The reason why it is not bound.
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

    /// Whether [`super::Event::Rebind`] would be followed.
    ///
    /// # Errors
    ///
    /// Why not.
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

    /// Decides anew, and judges every heap anew.
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

    /// Takes away what is bound, if anything is, and judges every heap anew: buffers went with the
    /// binding.
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

    /// Starts binding on demand. Heaps are allocated from again, because the last binding's buffers were
    /// released.
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

    /// What is better than what is bound takes its place when a driver has let go of that, which was
    /// just looked at. Not before the first driver comes: it could find nothing in the meantime. Nor
    /// is anything taken away for nothing.
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
        let stays_away = binding.let_go.is_some_and(|since| now.0 >= since.0 + DRIVER_RETURNS);
        let is_free = gpu.driver.is_none() && binding.phase == Phase::Ended && stays_away;
        if !is_free || self.next(device).is_none_or(|next| next.heap.is_none()) {
            return;
        }
        if let Some(binding) = self.bindings.get_mut(device) {
            binding.step(now, "withdrawn", "for what the policy prefers now".to_owned());
        }
        self.begin_anew(device, actions);
    }

    /// What is bound stays bound; [`Self::look_again`] does the rest.
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

    /// What would be bound now, where it is not what is bound.
    pub fn next(&self, device: &DeviceName) -> Option<Next> {
        let (binding, gpu) = (self.bindings.get(device)?, self.facts.gpus.get(device)?);
        binding.next(gpu, &self.facts)
    }

    /// Looks at bindings and starts anew for GPUs without one, because a fact changed: of `only`, or
    /// of all GPUs. If the change is that `heap` was registered, the other heaps that had too little
    /// memory have no more of it now: they are not allocated from again.
    pub(super) fn look_again(&mut self, only: Option<&DeviceName>, heap: Option<&HeapName>) {
        for (device, gpu) in &mut self.facts.gpus {
            let Some(binding) = self.bindings.get_mut(device) else { continue };
            if only.is_some_and(|only| only != device) || binding.phase != Phase::Ended {
                continue;
            }
            binding.shorten();
            let Upkeep { told, idle, .. } = std::mem::take(&mut binding.upkeep);
            binding.upkeep = Upkeep { told, idle, ..Upkeep::default() };
            // What a driver's parameter says is a fact itself.
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
    /// Returns what would be bound now, where it is not what is bound.
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

    /// Returns whether a demand starts an attempt: the GPU is not bound, and no demand failed within the
    /// last `RETRY`.
    fn can_be_demanded(&self, now: Monotonic) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| policy.bind() == Bind::Demand)
            && self.phase == Phase::Ended
            && !self.is_bound()
            && self.refused_demand.is_none_or(|at| now.0 >= at.0 + RETRY)
    }

    /// Ends a demand. If it failed, tells the kernel, where the group's creator waits.
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

    /// Releases a binding on demand that has had no protected group for `IDLE`. Returns whether it does.
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

    /// The kernel may have something else than it had.
    pub(super) fn look(&mut self) {
        self.upkeep.look = true;
    }

    /// The driver still has what was withdrawn.
    pub(super) fn busy(&mut self, why: String, now: Monotonic) {
        // Told when it began: it is tried again, and again.
        let why = if self.reason == Some(Reason::Withdrawn) { String::new() } else { why };
        self.end(State::Unprotected, Some(Reason::Withdrawn), now, why);
        self.upkeep.after(now);
    }

    /// What the kernel has.
    pub(super) fn looked(&mut self, found: Result<Option<KernelBinding>, String>, now: Monotonic) {
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
            // The driver may have let go of what was withdrawn.
            (Phase::Ended, Ok(None)) if self.upkeep.retry.is_some() => self.phase = Phase::Unbound,
            _ => {}
        }
    }

    /// What the kernel had is withdrawn.
    pub(super) fn forget_kernel(&mut self) {
        (self.kernel, self.tee, self.let_go) = (None, None, None);
    }

    /// It is bound. What another run bound is taken over.
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
        let since = self.let_go.or(known.as_ref().filter(|known| known.in_use).map(|_| now));
        self.let_go = since.filter(|_| !kernel.in_use);
        if kernel.source != Source::Handed || kernel.suspend_wanted == 0 {
            let returns = self.let_go.map(|since| Monotonic(since.0 + DRIVER_RETURNS));
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

    /// What is to be done for a binding at its end.
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
                Some(TeeOfBinding::Unseen(_)) if self.upkeep.look => {}
                Some(_) => {
                    // Its driver waits for the last buffer: those that nobody uses go now.
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
                && !self.upkeep.look
                && self.release_idle(device, has_groups, now, actions)
            {
                return;
            }
            if self.upkeep.supply && !self.upkeep.look && tee.is_none() {
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
            actions.push(Action::Look(device.clone()));
        }
    }

    /// What came of supplying it.
    pub(super) fn supplied(
        &mut self,
        device: &DeviceName,
        supplied: Supplied,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Ended;
        // Also after a success: what is still wanted then, as much and as large as before, is
        // wanted in vain.
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
            && self.upkeep.told.as_ref() != Some(&why)
        {
            self.step(now, "supply-failed", why.clone());
            actions.push(Action::Tell(device.clone(), why.clone()));
            self.upkeep.told = Some(why);
        }
        self.look();
    }
}

#[cfg(test)]
mod tests;
