// SPDX-License-Identifier: MIT OR Apache-2.0

//! One GPU of the keeper.

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::GpuPolicy;
use protheap_policy::schema::Bind;

use super::holding::{DRIVER_RETURNS, Holding, Need};
use super::upkeep::{RETRY, Upkeep};
use crate::decision::Patience;
use crate::engine::action::Action;
use crate::engine::attempt::{At, Attempt, View, is_on_demand};
use crate::engine::binding::Binding;
use crate::engine::event::{Event, Opened};
use crate::facts::{Facts, Gpu, KernelBinding, Verdict};
use crate::state::{Reason, State};
use crate::timeline::Monotonic;

/// Number of timeline steps to keep, because the daemon runs as long as the machine does.
pub(super) const STEPS: usize = 100;

/// A GPU, its binding, and what the keeper does for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) binding: Binding,
    pub(super) duty: Duty,
    upkeep: Upkeep,
    demand: Demand,
    /// Time of the next withdrawal, after the GPU driver has refused one.
    withdrawal: Option<Monotonic>,
    /// Heap that was bound when the daemon first read the binding. A closed image may not switch to
    /// another.
    closed_to: Option<HeapName>,
}

/// Current task of the keeper for a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Duty {
    /// The kernel's binding has to be read first.
    New,
    /// The kernel's binding is being read.
    Reading,
    /// An attempt is pending.
    Attempting(Attempt),
    /// A heap is bound.
    Holding(Holding),
    /// No heap is bound.
    Resting,
}

/// The demand for a binding on demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Demand {
    /// Whether a protected group or a client waits for the binding.
    is_pending: bool,
    /// Time of the last demand that failed.
    failed: Option<Monotonic>,
}

impl Kept {
    pub(super) fn new(policy: Option<GpuPolicy>) -> Self {
        Self {
            binding: Binding::new(policy),
            duty: Duty::New,
            upkeep: Upkeep::default(),
            demand: Demand::default(),
            withdrawal: None,
            closed_to: None,
        }
    }

    /// Returns a GPU that has left the bus.
    pub(super) fn absent() -> Self {
        Self { binding: Binding::absent(), duty: Duty::Resting, ..Self::new(None) }
    }

    /// Returns whether no action is pending.
    pub(super) fn is_at_rest(&self) -> bool {
        match &self.duty {
            Duty::Holding(holding) => holding.is_at_rest(),
            Duty::Resting => true,
            Duty::New | Duty::Reading | Duty::Attempting(_) => false,
        }
    }

    /// Returns the pending attempt.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.duty {
            Duty::Attempting(attempt) => Some(attempt),
            _ => None,
        }
    }

    fn holding(&mut self) -> Option<&mut Holding> {
        match &mut self.duty {
            Duty::Holding(holding) => Some(holding),
            _ => None,
        }
    }

    /// Returns the kernel's binding as last read.
    pub(super) fn kernel(&self) -> Option<&KernelBinding> {
        match &self.duty {
            Duty::Holding(holding) => holding.kernel(),
            _ => None,
        }
    }

    /// Returns the time at which the keeper saw that the driver had freed the binding's buffers.
    pub(super) fn free_since(&self) -> Option<Monotonic> {
        match &self.duty {
            Duty::Holding(holding) => holding.free_since(),
            _ => None,
        }
    }

    /// Replaces the policy without changing the binding.
    pub(super) fn set_policy(&mut self, policy: Option<GpuPolicy>) {
        self.binding.policy = policy;
        if let (Some(policy), Some(heap)) = (&mut self.binding.policy, &self.closed_to) {
            policy.keep_to(heap);
        }
    }

    /// Requests that the kernel's binding be read, because it may have changed.
    pub(super) fn look(&mut self) {
        self.upkeep.look = true;
    }

    /// Reads the binding again, or starts a new attempt if there is none, because a fact changed.
    pub(super) fn look_again(
        &mut self,
        gpu: &mut Gpu,
        has_parameter: bool,
        heap: Option<&HeapName>,
    ) {
        if !self.is_at_rest() {
            return;
        }
        self.binding.shorten(STEPS);
        self.upkeep = Upkeep::default();
        if let Some(holding) = self.holding() {
            holding.reset_supply();
        }
        // The driver's parameter is a fact, and needs no reading.
        if self.binding.is_bound() && !has_parameter {
            self.look();
        } else {
            gpu.verdicts.retain(|of, verdict| {
                heap.is_some_and(|heap| heap != of) && matches!(verdict, Verdict::TooSmall(_))
            });
            self.duty = Duty::New;
        }
    }

    /// Withdraws the binding, if there is one, and discards all verdicts: they depend on buffers
    /// that were released with the binding.
    pub(super) fn begin_anew(
        &mut self,
        device: &DeviceName,
        gpu: &mut Gpu,
        actions: &mut Vec<Action>,
    ) {
        gpu.verdicts.clear();
        self.upkeep = Upkeep::default();
        if self.binding.is_bound() {
            actions.push(Action::Withdraw(device.clone()));
            self.start_attempt();
        } else {
            self.duty = Duty::New;
        }
    }

    /// Starts an attempt.
    fn start_attempt(&mut self) {
        self.duty = Duty::Attempting(Attempt::new(Patience::LastCall));
    }

    /// Leaves the attempt if it has ended.
    pub(super) fn conclude(&mut self) {
        if self.attempt().is_some_and(Attempt::has_ended) {
            let is_bound = self.binding.is_bound();
            self.duty = if is_bound { Duty::Holding(Holding::default()) } else { Duty::Resting };
        }
    }

    /// Starts binding on demand. Heaps are allocated from again, because the last binding's buffers
    /// were released.
    pub(super) fn demand(&mut self, gpu: &mut Gpu, now: Monotonic) {
        if self.can_be_demanded(now) {
            gpu.verdicts.clear();
            self.binding.shorten(STEPS);
            self.binding.step(now, "demanded", String::new());
            self.demand.is_pending = true;
            self.start_attempt();
        } else if let Some(holding) = self.holding() {
            // The caller has the full idle time to create a group.
            holding.set_busy();
        }
    }

    /// Returns whether a demand starts an attempt: the GPU is not bound, and no demand failed
    /// within the last [`RETRY`].
    fn can_be_demanded(&self, now: Monotonic) -> bool {
        let policy = self.binding.policy();
        policy.is_some_and(|policy| policy.bind() == Bind::Demand)
            && self.is_at_rest()
            && !self.binding.is_bound()
            && self.demand.failed.is_none_or(|at| now.0 >= at.0 + RETRY)
    }

    /// Ends a demand. If it failed, reports that to the kernel, where the group's creator waits.
    pub(super) fn end_demand(
        &mut self,
        device: &DeviceName,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        if self.is_at_rest() && std::mem::take(&mut self.demand.is_pending) {
            let is_bound = self.binding.is_bound();
            self.demand.failed = (!is_bound).then_some(now);
            if !is_bound {
                actions.push(Action::BindOnDemand(device.clone()));
            }
        }
    }

    /// Processes the result of an action.
    pub(super) fn result(
        &mut self,
        event: Event,
        device: &DeviceName,
        gpu: &mut Gpu,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        match (&mut self.duty, event) {
            (_, Event::Read(_, found)) => self.read(found, gpu, now),
            (_, Event::Withdrawn(_, outcome)) => {
                let mut at = At { device, binding: &mut self.binding, now, actions };
                if withdrawn(&mut self.withdrawal, outcome, &mut at) && self.is_at_rest() {
                    gpu.verdicts.clear();
                    self.duty = Duty::New;
                }
            }
            (Duty::Attempting(attempt), Event::Opened(_, Opened::Busy(why)))
                if attempt.is_opening() =>
            {
                self.busy(why, now);
            }
            (Duty::Attempting(attempt), event) => {
                let binding = &mut self.binding;
                attempt.on(event, gpu, &mut At { device, binding, now, actions });
                self.conclude();
                if matches!(self.duty, Duty::Holding(_)) {
                    self.look();
                }
            }
            (Duty::Holding(holding), Event::Supplied(_, supplied)) if holding.is_supplying() => {
                let mut at = At { device, binding: &mut self.binding, now, actions };
                holding.supplied(supplied, &mut self.upkeep, &mut at);
                self.look();
            }
            (Duty::Holding(holding), Event::OnDemand(_, outcome)) if holding.is_parking() => {
                holding.end_task();
                if outcome.is_ok() {
                    self.binding.forget_heap();
                    self.rest(State::Unprotected, Reason::OnDemand, now, String::new());
                } else {
                    // A protected group took a buffer in the meantime.
                    self.look();
                }
            }
            _ => {}
        }
    }

    /// Processes [`Opened::Busy`]: the driver still uses the withdrawn binding.
    fn busy(&mut self, why: String, now: Monotonic) {
        // The reason was recorded with the first attempt, and each retry has the same.
        let is_known = self.binding.reason() == Some(Reason::Withdrawn);
        let why = if is_known { String::new() } else { why };
        self.binding.end(State::Unprotected, Some(Reason::Withdrawn), now, why);
        self.duty = Duty::Resting;
        self.upkeep.delay(now);
    }

    /// Rests without a binding, and forgets the upkeep of an earlier one.
    fn rest(&mut self, state: State, reason: Reason, now: Monotonic, detail: String) {
        self.upkeep = Upkeep::default();
        self.binding.end(state, Some(reason), now, detail);
        self.duty = Duty::Resting;
    }

    /// Processes the kernel's binding as just read.
    fn read(
        &mut self,
        found: Result<Option<KernelBinding>, String>,
        gpu: &mut Gpu,
        now: Monotonic,
    ) {
        self.upkeep.reading = false;
        let is_first = self.duty == Duty::Reading;
        if !is_first && !self.is_at_rest() {
            return;
        }
        match found {
            Ok(Some(kernel)) => self.committed(&kernel, now),
            Ok(None) if is_first => self.start_attempt(),
            Err(why) if is_first => {
                self.binding.end(State::Failed, Some(Reason::KernelRefused), now, why);
                self.duty = Duty::Resting;
            }
            Ok(None) if self.binding.is_bound() => {
                self.rest(State::Unprotected, Reason::Withdrawn, now, String::new());
                if gpu.section.is_some() {
                    // The driver has released its buffer, as before hibernation, or is another one
                    // than that of the binding. It takes a new buffer at any time.
                    gpu.verdicts.clear();
                    self.duty = Duty::New;
                }
            }
            // The driver may have freed the withdrawn buffers.
            Ok(None) if self.upkeep.retry.is_some() => self.start_attempt(),
            _ => {}
        }
    }

    /// Processes a committed binding, and adopts one that an earlier run made.
    fn committed(&mut self, kernel: &KernelBinding, now: Monotonic) {
        if self.binding.is_bound() && self.binding.heap() == Some(&kernel.heap) {
            self.binding.enter(if kernel.in_use { State::InUse } else { State::Bound });
        } else {
            self.binding.adopt(kernel.heap.clone(), kernel.in_use, now);
            if let Some(policy) = &mut self.binding.policy {
                policy.keep_to(&kernel.heap);
            }
            self.closed_to = Some(kernel.heap.clone());
        }
        self.binding.keep_name();
        let mut holding = self.holding().map(std::mem::take).unwrap_or_default();
        let may_supply = self.upkeep.retry.is_none();
        if !holding.update(kernel, may_supply, now) {
            let returns = holding.free_since().map(|since| Monotonic(since.0 + DRIVER_RETURNS));
            let retry = returns.filter(|returns| now < *returns);
            self.upkeep = Upkeep { retry, ..Upkeep::default() };
        }
        self.duty = Duty::Holding(holding);
    }

    /// Advances as far as possible without a further event.
    pub(super) fn advance(
        &mut self,
        device: &DeviceName,
        gpu: &Gpu,
        facts: &Facts,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        if self.duty == Duty::New {
            self.duty = Duty::Reading;
            return actions.push(Action::Read(device.clone()));
        }
        if self.is_at_rest() {
            self.withdraw(device, gpu, now, actions);
            self.attend(device, gpu, facts, now, actions);
        }
        if let Duty::Attempting(attempt) = &mut self.duty {
            let view = View { gpu, facts, is_demanded: self.demand.is_pending };
            attempt.advance(view, &mut At { device, binding: &mut self.binding, now, actions });
            self.conclude();
        }
    }

    /// Repeats a withdrawal that the GPU driver has refused. No event reports when the driver would
    /// accept it.
    fn withdraw(
        &mut self,
        device: &DeviceName,
        gpu: &Gpu,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        // A driver that is unbound releases the buffer.
        if self.binding.is_bound() || gpu.section.is_none() {
            self.withdrawal = None;
        }
        if self.withdrawal.is_some_and(|at| at <= now) {
            self.withdrawal = Some(Monotonic(now.0 + RETRY));
            actions.push(Action::Withdraw(device.clone()));
        } else if let Some(at) = self.withdrawal {
            actions.push(Action::WakeAt(at));
        }
    }

    /// Carries out pending upkeep.
    fn attend(
        &mut self,
        device: &DeviceName,
        gpu: &Gpu,
        facts: &Facts,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        let is_on_demand = is_on_demand(&self.binding, facts, gpu);
        let is_stale = self.upkeep.is_stale();
        if let Duty::Holding(holding) = &mut self.duty {
            let has_tee = facts.has_tee_for_heaps();
            let mut at = At { device, binding: &mut self.binding, now, actions };
            match holding.attend(has_tee, is_on_demand, is_stale, &mut at) {
                Need::Nothing => {}
                Need::Result => return,
                Need::Withdrawal => {
                    // The TEE driver's unbind waits until the last buffer is freed. This frees the
                    // unused ones.
                    at.request(Action::Withdraw);
                    at.binding.step(now, "withdrawn", "its TEE has gone".to_owned());
                    return self.rest(State::Failed, Reason::HeapDead, now, String::new());
                }
            }
        }
        match self.upkeep.retry {
            Some(at) if now < at => actions.push(Action::WakeAt(at)),
            Some(_) => {
                self.upkeep.retry = None;
                if !self.binding.is_bound() {
                    return self.start_attempt();
                }
                self.upkeep.look = true;
            }
            None => {}
        }
        if std::mem::take(&mut self.upkeep.look) {
            self.upkeep.reading = true;
            actions.push(Action::Read(device.clone()));
        }
    }
}

/// Processes the result of a withdrawal. Returns whether it succeeded after it had been refused.
fn withdrawn(
    withdrawal: &mut Option<Monotonic>,
    outcome: Result<(), String>,
    at: &mut At<'_>,
) -> bool {
    let Err(why) = outcome else { return withdrawal.take().is_some() };
    if withdrawal.replace(Monotonic(at.now.0 + RETRY)).is_none() {
        at.request(|device| Action::Log(device, why));
    }
    false
}
