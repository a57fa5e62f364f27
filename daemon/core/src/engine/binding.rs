// SPDX-License-Identifier: MIT OR Apache-2.0

//! The binding of one GPU as the state file and clients see it.

use protheap_policy::name::{HeapName, Key};
use protheap_policy::policy::GpuPolicy;

use crate::request::Request;
use crate::state::{Reason, State};
use crate::state_file::GpuState;
use crate::timeline::{Monotonic, Step};
use crate::trace::Considered;

/// The binding of one GPU, with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub(super) policy: Option<GpuPolicy>,
    state: State,
    reason: Option<Reason>,
    heap: Option<Heap>,
    /// Heap that an earlier run bound, and the key of the policy file that named it.
    named: Option<(HeapName, Key)>,
    /// Duration of the hold, in microseconds.
    held: u64,
    /// Reason why there are fewer suspend buffers than the policy allows, if an allocation failed.
    pub(super) shortage: Option<String>,
    pub(super) trace: Vec<Considered>,
    timeline: Vec<Step>,
}

/// The heap of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heap {
    /// This run requested buffers from it.
    Requested(Request),
    /// An earlier run bound it.
    Adopted(HeapName),
}

impl Binding {
    pub(super) fn new(policy: Option<GpuPolicy>) -> Self {
        Self {
            policy,
            state: State::Held,
            reason: None,
            heap: None,
            named: None,
            held: 0,
            shortage: None,
            trace: Vec::new(),
            timeline: Vec::new(),
        }
    }

    /// Returns the binding of a GPU that has left the bus.
    pub(super) fn absent() -> Self {
        Self { state: State::Absent, ..Self::new(None) }
    }

    /// Returns the state of the binding.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the reason for the state: `None` while an attempt is pending, and for a binding that
    /// this run made.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Returns the policy that applies to the GPU.
    pub fn policy(&self) -> Option<&GpuPolicy> {
        self.policy.as_ref()
    }

    /// Returns the request that is or was being bound.
    pub fn request(&self) -> Option<&Request> {
        match &self.heap {
            Some(Heap::Requested(request)) => Some(request),
            Some(Heap::Adopted(_)) | None => None,
        }
    }

    /// Returns the bound heap, or else the one that buffers were requested from last.
    pub fn heap(&self) -> Option<&HeapName> {
        match self.heap.as_ref()? {
            Heap::Requested(request) => Some(&request.heap),
            Heap::Adopted(heap) => Some(heap),
        }
    }

    /// Returns for how long the GPU's probe was held, in microseconds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Returns the timeline, oldest step first.
    pub fn timeline(&self) -> &[Step] {
        &self.timeline
    }

    /// Returns whether a heap is bound to the GPU.
    pub(crate) fn is_bound(&self) -> bool {
        self.state.is_bound()
    }

    /// Returns why the last allocation of a suspend buffer failed.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.shortage.as_deref()
    }

    /// Returns the key of the policy file that named the heap, also if an earlier run bound it.
    pub(crate) fn named_by(&self) -> Option<&Key> {
        let earlier = self.named.as_ref().filter(|(heap, _)| self.heap() == Some(heap));
        self.request().map(|request| &request.policy).or(earlier.map(|(_, key)| key))
    }

    /// Restores the history that an earlier program of this boot saved, up to `now`.
    pub(super) fn restore(&mut self, saved: &GpuState, now: Monotonic) {
        self.held = saved.held_us;
        self.named = saved.named();
        self.shortage.clone_from(&saved.suspend_shortage);
        self.timeline = saved.timeline_until(now).cloned().collect();
    }

    /// Keeps the key of the policy file that named the heap for the time after the request.
    pub(super) fn keep_name(&mut self) {
        if let Some(request) = self.request() {
            self.named = Some((request.heap.clone(), request.policy.clone()));
        }
    }

    /// Adds a step to the timeline.
    pub(super) fn step(&mut self, now: Monotonic, step: &'static str, detail: String) {
        self.timeline.push(Step { at: now, step: step.into(), detail });
    }

    /// Removes the oldest steps from the timeline until it has at most `steps`.
    pub(super) fn shorten(&mut self, steps: usize) {
        let old = self.timeline.len().saturating_sub(steps);
        self.timeline.drain(..old);
    }

    /// Enters `state`.
    pub(super) fn enter(&mut self, state: State) {
        if self.state != state {
            debug_assert!(self.state.precedes(state), "{} does not precede {state}", self.state);
            #[cfg(test)]
            super::transitions::record(self.state, state);
            self.state = state;
        }
    }

    /// Enters [`State::Preparing`] with buffers from the heap of `request`.
    pub(super) fn prepare(&mut self, request: &Request) {
        self.enter(State::Preparing);
        self.heap = Some(Heap::Requested(request.clone()));
    }

    /// Forgets the heap that buffers were requested from.
    pub(super) fn forget_heap(&mut self) {
        self.heap = None;
    }

    /// Adopts a binding that an earlier run made.
    pub(super) fn adopt(&mut self, heap: HeapName, in_use: bool, now: Monotonic) {
        // An earlier run may have recorded this binding already.
        let recorded = self.timeline_shows(&heap, in_use).then_some(self.timeline.len());
        self.heap = Some(Heap::Adopted(heap));
        let state = if in_use { State::InUse } else { State::Bound };
        self.end(state, Some(Reason::Adopted), now, String::new());
        self.timeline.truncate(recorded.unwrap_or(usize::MAX));
    }

    /// Returns whether the timeline ends with this heap being bound, and in use if `in_use` is set.
    fn timeline_shows(&self, heap: &HeapName, in_use: bool) -> bool {
        let mut ends = self.timeline.iter().rev();
        let end = ends.find(|step| !matches!(&*step.step, "supplied" | "supply-failed"));
        self.named.as_ref().is_some_and(|(named, _)| named == heap)
            && end.is_some_and(|step| step.step == "in-use" || step.step == "bound" && !in_use)
    }

    /// Records the duration of a hold that began at `since` and ends now, or ended at `until`.
    pub(super) fn end_hold(&mut self, since: Monotonic, until: Monotonic, now: Monotonic) {
        self.held = now.min(until).0.saturating_sub(since.0);
    }

    /// Enters a state in which the binding remains until an event changes it.
    pub(super) fn end(
        &mut self,
        state: State,
        reason: Option<Reason>,
        now: Monotonic,
        detail: String,
    ) {
        // The daemon reaches the same end repeatedly. Each is recorded once.
        if (self.state, self.reason) != (state, reason) || !detail.is_empty() {
            let step = reason.filter(|r| *r != Reason::Adopted);
            self.step(now, step.map_or(state.as_str(), Reason::as_str), detail);
        }
        self.enter(state);
        self.reason = reason;
    }
}
