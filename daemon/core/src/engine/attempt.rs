// SPDX-License-Identifier: MIT OR Apache-2.0

//! One attempt to bind a heap to a GPU.

use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::schema::Bind;

use super::action::Action;
use super::binding::Binding;
use super::event::{Bound, Event, Opened};
use crate::decision::{GpuDecision, Patience, Plan, decide_gpu};
use crate::facts::{Delivery, Facts, Gpu, Source, Verdict};
use crate::request::Request;
use crate::state::{Reason, State};
use crate::timeline::Monotonic;

/// Time before the hold expires at which the best present heap is selected, in microseconds: enough
/// to allocate its buffers and hand them over.
pub(super) const LAST_CALL: u64 = 250_000;

/// An attempt to bind a heap to a GPU, from opening the binding to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// [`Patience::Wait`] holds the GPU while its heap can still appear. [`Patience::LastCall`]
    /// selects from the heaps that are present, unless an earlier program's hold still runs.
    patience: Patience,
    stage: Stage,
}

/// Stage of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    New,
    /// [`Action::Open`] has no result yet.
    Opening,
    /// A heap is being selected, or can still appear.
    Selecting(Open),
    /// Buffers are being allocated and classified.
    Allocating(Open, Request),
    /// The heap was accepted, and waits for the driver's other GPUs: one parameter names the heap
    /// of all.
    Agreeing(Open, Request),
    /// The binding is being committed.
    Committing(Open),
    /// The binding is being made one on demand.
    Parking(Open),
    Ended,
}

/// An open binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    hold: Option<Hold>,
    /// Whether the GPU driver had probed when the binding was opened.
    late: bool,
    /// Whether the kernel reports the next protected group.
    on_demand: bool,
}

/// A hold of a GPU's probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    since: Monotonic,
    until: Monotonic,
}

impl Open {
    /// Returns the end of the hold if it is after `now`.
    fn held_until(self, now: Monotonic) -> Option<Monotonic> {
        self.hold.map(|hold| hold.until).filter(|until| now < *until)
    }
}

/// Where an attempt records its steps and requests actions.
pub(super) struct At<'a> {
    pub(super) device: &'a DeviceName,
    pub(super) binding: &'a mut Binding,
    pub(super) now: Monotonic,
    pub(super) actions: &'a mut Vec<Action>,
}

impl At<'_> {
    pub(super) fn request(&mut self, action: impl FnOnce(DeviceName) -> Action) {
        self.actions.push(action(self.device.clone()));
    }

    /// Records the verdict on a heap.
    fn note_verdict(&mut self, heap: &HeapName, verdict: &Verdict) {
        self.binding.step(self.now, "tried", format!("{heap}: {verdict}"));
        self.binding.shortage = verdict.shortage().map(|shortage| shortage.why.clone());
    }
}

/// The facts that an attempt selects by.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) facts: &'a Facts,
    /// Whether a protected group or a client waits for the binding.
    pub(super) is_demanded: bool,
}

impl View<'_> {
    fn decide(self, binding: &Binding, patience: Patience) -> GpuDecision {
        decide_gpu(binding.policy.as_ref(), self.facts, self.gpu, patience)
    }

    /// Returns whether binding has to wait for a demand.
    fn is_not_demanded(self, binding: &Binding) -> bool {
        !self.is_demanded && is_on_demand(binding, self.facts, self.gpu)
    }
}

/// Returns whether the policy binds on demand and the kernel can report a demand for `gpu`.
pub(super) fn is_on_demand(binding: &Binding, facts: &Facts, gpu: &Gpu) -> bool {
    let policy = binding.policy.as_ref();
    policy.is_some_and(|policy| policy.bind() == Bind::Demand)
        && facts.kernel.delivery(gpu) == Delivery::Module
}

/// Result of a selection.
struct Selection {
    decision: GpuDecision,
    /// Whether a heap is selected, or a candidate is still pending.
    can_bind: bool,
    /// Whether a preferred heap can still appear.
    can_come: bool,
}

impl Attempt {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, stage: Stage::New }
    }

    /// Returns an attempt that has ended.
    pub(super) fn ended() -> Self {
        Self { patience: Patience::LastCall, stage: Stage::Ended }
    }

    /// Returns whether the attempt has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Returns whether the binding is being opened.
    pub(super) fn is_opening(&self) -> bool {
        self.stage == Stage::Opening
    }

    /// Returns whether the attempt waits for the driver's other GPUs.
    pub(super) fn is_agreeing(&self) -> bool {
        matches!(self.stage, Stage::Agreeing(..))
    }

    /// Processes the result of an action.
    pub(super) fn on(&mut self, event: Event, gpu: &mut Gpu, at: &mut At<'_>) {
        match (&self.stage, event) {
            (Stage::Opening, Event::Opened(_, opened)) => self.opened(opened, at),
            (Stage::Allocating(open, _), Event::Allocated(_, heap, verdict)) => {
                let open = *open;
                at.note_verdict(&heap, &verdict);
                gpu.verdicts.insert(heap, verdict);
                self.stage = Stage::Selecting(open);
            }
            (Stage::Allocating(_, request), Event::Bound(_, mut outcome)) => {
                let verdict = outcome.as_mut().ok().and_then(|bound| bound.judged.take());
                if let Some(verdict) = verdict {
                    at.note_verdict(&request.heap, &verdict);
                    gpu.verdicts.insert(request.heap.clone(), verdict);
                }
                self.bound(outcome, at);
            }
            (Stage::Committing(_), Event::Bound(_, outcome)) => self.bound(outcome, at),
            (Stage::Parking(_), Event::OnDemand(_, outcome)) => match outcome {
                Ok(()) => {
                    at.binding.forget_heap();
                    self.end(State::Unprotected, Some(Reason::OnDemand), at);
                }
                Err(why) => self.refused(why, at),
            },
            _ => {}
        }
    }

    fn opened(&mut self, opened: Opened, at: &mut At<'_>) {
        let mut open = Open { hold: None, late: false, on_demand: false };
        let now = at.now;
        match opened {
            Opened::Held(until) => {
                open.hold = Some(Hold { since: now, until });
                let left = until.0.saturating_sub(now.0) / 1_000;
                at.binding.step(now, "hold-started", format!("for at most {left} ms"));
            }
            Opened::NotHeld => at.binding.step(now, "no-hold", String::new()),
            Opened::OnDemand => open.on_demand = true,
            Opened::AlreadyProbed => {
                open.late = true;
                at.binding.step(now, "already-probed", String::new());
            }
            Opened::NoConsumer => {
                at.request(Action::Withdraw);
                return self.end(State::Unprotected, Some(Reason::NoConsumer), at);
            }
            Opened::Adopted(heap, in_use) => {
                at.binding.adopt(heap, in_use, now);
                self.stage = Stage::Ended;
                return;
            }
            Opened::Busy(why) | Opened::Refused(why) => return self.refused(why, at),
        }
        self.stage = Stage::Selecting(open);
    }

    fn bound(&mut self, outcome: Result<Bound, String>, at: &mut At<'_>) {
        match outcome {
            Ok(Bound { in_use, .. }) => {
                self.end(State::Bound, None, at);
                if in_use {
                    at.binding.enter(State::InUse);
                }
            }
            Err(why) => {
                self.end_hold(Reason::KernelRefused, at);
                self.refused(why, at);
            }
        }
    }

    /// Advances as far as possible without a further event.
    pub(super) fn advance(&mut self, view: View<'_>, at: &mut At<'_>) {
        let open = match self.stage {
            Stage::New => None,
            Stage::Selecting(open) | Stage::Agreeing(open, _) => Some(open),
            _ => return,
        };
        let Selection { decision, can_bind, can_come } = self.select(open, view, at);
        at.binding.trace = decision.trace;
        let Some(open) = open else { return self.begin(decision.plan, can_come, view, at) };
        let is_selecting = matches!(self.stage, Stage::Selecting(_));
        if can_bind && is_selecting && view.is_not_demanded(at.binding) {
            if open.on_demand {
                return self.end(State::Unprotected, Some(Reason::OnDemand), at);
            }
            self.stage = Stage::Parking(open);
            return at.request(Action::BindOnDemand);
        }
        let hold = open.held_until(at.now);
        match decision.plan {
            Plan::Wait => match hold {
                Some(until) => self.wait(open, last_call(until), at),
                // The heap may be present and refuse allocations: its TEE has gone away, or is
                // about to.
                None => self.end(State::Failed, Some(Reason::HeapDead), at),
            },
            Plan::Try(request) => {
                at.binding.prepare(&request);
                at.request(|device| Action::for_verdict(device, request.clone()));
                self.stage = Stage::Allocating(open, request);
            }
            Plan::Bind(request) => {
                at.binding.prepare(&request);
                if request.source == Source::Driver {
                    self.stage = Stage::Agreeing(open, request);
                } else {
                    self.stage = Stage::Committing(open);
                    at.request(|device| Action::HandOver(device, request));
                }
            }
            // All present heaps were rejected, but the hold is active and another can still appear.
            Plan::Without(_) | Plan::Fail(_) if can_come && hold.is_some() => {
                self.wait(open, hold.unwrap_or(at.now), at);
            }
            plan => {
                let late = can_come.then(|| self.late_reason(open.late, view));
                self.conclude(plan, late, at);
            }
        }
    }

    /// Selects a heap. `open` is `None` before the binding is opened.
    fn select(&self, open: Option<Open>, view: View<'_>, at: &At<'_>) -> Selection {
        let mut decision = view.decide(at.binding, Patience::Wait);
        let can_come = decision.plan == Plan::Wait;
        let mut can_bind = decision.plan.can_bind();
        let hold = open.and_then(|open| open.held_until(at.now));
        if self.patience == Patience::LastCall && hold.is_none() {
            decision = view.decide(at.binding, Patience::LastCall);
            if let Plan::Try(request) | Plan::Bind(request) = &decision.plan
                && view.facts.lacks_tee_of(&request.heap)
            {
                decision.plan = Plan::Wait;
            }
            can_bind = decision.plan.can_bind();
        } else if open.is_some() && can_come && hold.is_none_or(|u| last_call(u) <= at.now) {
            decision = view.decide(at.binding, Patience::LastCall);
        }
        Selection { decision, can_bind, can_come }
    }

    /// Requests to open a binding, unless selection has already ended the attempt.
    fn begin(&mut self, plan: Plan, can_come: bool, view: View<'_>, at: &mut At<'_>) {
        match plan {
            Plan::Wait
                if self.patience == Patience::LastCall && !view.is_not_demanded(at.binding) =>
            {
                self.end(State::Failed, Some(Reason::HeapDead), at);
            }
            Plan::Wait | Plan::Try(_) | Plan::Bind(_) => {
                self.stage = Stage::Opening;
                // The kernel cannot hold a driver that has probed.
                let hold = match (&view.gpu.driver, &at.binding.policy) {
                    _ if self.patience == Patience::LastCall
                        || view.is_not_demanded(at.binding) =>
                    {
                        0
                    }
                    (None, Some(policy)) => policy.hold() / 1_000,
                    _ => 0,
                };
                let hold = u32::try_from(hold).unwrap_or(u32::MAX);
                at.request(|device| Action::Open(device, hold));
            }
            plan => {
                let late = can_come.then(|| self.late_reason(false, view));
                self.conclude(plan, late, at);
            }
        }
    }

    /// Returns the reason for ending the attempt although a heap can still appear. `late` says
    /// whether the GPU driver had probed when the binding was opened.
    fn late_reason(&self, late: bool, view: View<'_>) -> Reason {
        let probed = self.patience == Patience::LastCall && view.gpu.driver.is_some();
        if late || probed { Reason::AlreadyProbed } else { Reason::HeapLate }
    }

    /// Ends the attempt without a new binding. `late` is set if a heap can still appear.
    fn conclude(&mut self, plan: Plan, late: Option<Reason>, at: &mut At<'_>) {
        match (plan, late) {
            (Plan::Keep(heap), _) => {
                self.record_hold(at);
                at.binding.adopt(heap, false, at.now);
                self.stage = Stage::Ended;
            }
            (Plan::Without(_), Some(reason)) => {
                at.binding.forget_heap();
                self.end(State::Unprotected, Some(reason), at);
            }
            (Plan::Without(reason), None) => {
                at.binding.forget_heap();
                self.end_hold(reason, at);
                self.end(State::Unprotected, Some(reason), at);
            }
            (Plan::Fail(reason), _) => {
                self.end_hold(reason, at);
                self.end(State::Failed, Some(reason), at);
            }
            (Plan::Wait | Plan::Try(_) | Plan::Bind(_), _) => {}
        }
    }

    /// Ends the waiting for the driver's other GPUs: binds the heap that they agree on, or fails if
    /// they `differ`.
    pub(super) fn agree(&mut self, differ: bool, at: &mut At<'_>) {
        let Stage::Agreeing(open, request) = &self.stage else { return };
        if differ {
            self.end_hold(Reason::HeapsDiffer, at);
            self.end(State::Failed, Some(Reason::HeapsDiffer), at);
        } else {
            let (open, request) = (*open, request.clone());
            self.stage = Stage::Committing(open);
            at.request(|device| Action::NameHeap(device, request));
        }
    }

    /// Waits for a heap that can still appear, and revokes an agreement on another one.
    fn wait(&mut self, open: Open, until: Monotonic, at: &mut At<'_>) {
        self.stage = Stage::Selecting(open);
        at.binding.enter(State::Waiting);
        at.actions.push(Action::WakeAt(until));
    }

    /// Returns the hold, even if it has expired.
    fn hold(&self) -> Option<Hold> {
        match &self.stage {
            Stage::New | Stage::Opening | Stage::Ended => None,
            Stage::Selecting(open)
            | Stage::Allocating(open, _)
            | Stage::Agreeing(open, _)
            | Stage::Committing(open)
            | Stage::Parking(open) => open.hold,
        }
    }

    fn record_hold(&self, at: &mut At<'_>) {
        if let Some(Hold { since, until }) = self.hold() {
            at.binding.end_hold(since, until, at.now);
        }
    }

    /// Ends the hold at once. The binding of a driver that has probed without a hold stays open, so
    /// that a heap that appears later can still be bound.
    fn end_hold(&self, reason: Reason, at: &mut At<'_>) {
        if self.hold().is_some() {
            at.request(|device| Action::EndHold(device, reason));
        }
    }

    fn refused(&mut self, why: String, at: &mut At<'_>) {
        self.record_hold(at);
        at.binding.end(State::Failed, Some(Reason::KernelRefused), at.now, why);
        self.stage = Stage::Ended;
    }

    fn end(&mut self, state: State, reason: Option<Reason>, at: &mut At<'_>) {
        self.record_hold(at);
        at.binding.end(state, reason, at.now, String::new());
        self.stage = Stage::Ended;
    }
}

/// Returns the time at which the best present heap is selected, before a hold ends at `until`.
fn last_call(until: Monotonic) -> Monotonic {
    Monotonic(until.0.saturating_sub(LAST_CALL))
}
