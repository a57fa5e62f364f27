// SPDX-License-Identifier: MIT OR Apache-2.0

//! State machine of every GPU's binding: takes events and the time, returns actions.
//!
//! The caller carries out the actions in order and reports their results as events. A GPU is held
//! only while the kernel's hold timeout runs. The kernel ends the hold by itself, whatever happens
//! to the caller.
//!
//! `Engine<false>` serves the early binder: it holds GPUs until their heaps appear, and is done
//! when every attempt has ended. `Engine<true>` serves the daemon: it holds no GPU and does not
//! end. It adopts the kernel's bindings, supplies suspend buffers, withdraws a binding when its TEE
//! goes away, and binds late. The distinction is a type parameter so that the binder, which has to
//! be small, contains none of the daemon's code.

mod daemon;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::decision::{GpuDecision, Patience, Plan, decide_gpu};
use crate::facts::{Facts, Gpu, KernelBinding, Provider, Source, Tee, Verdict};
use crate::request::Request;
use crate::state::{Reason, State};
use crate::state_file::StateFile;
pub use crate::timeline::Monotonic;
use crate::timeline::Step;
use crate::trace::{Considered, bound_trace};
pub use daemon::{NoDemand, NoRebind};
use daemon::{TeeOfBinding, Upkeep};
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::{GpuPolicy, Policy};
use protheap_policy::schema::Bind;

/// Time before the hold expires at which the best present heap is selected, in microseconds: enough
/// to allocate its buffers and hand them over.
const LAST_CALL: u64 = 250_000;

/// An event that the engine reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The facts were collected, and work can begin.
    Started,
    /// Result of [`Action::Open`].
    Opened(DeviceName, Opened),
    /// Result of [`Action::Try`].
    Tried(DeviceName, HeapName, Verdict),
    /// Result of [`Action::Bind`], or of [`Action::Try`] where the kernel allocates: the new
    /// binding, or the kernel's error.
    Bound(DeviceName, Result<Bound, String>),
    /// Result of [`Action::Look`]: the kernel's binding, if one is committed.
    Looked(DeviceName, Result<Option<KernelBinding>, String>),
    /// Result of [`Action::Supply`].
    Supplied(DeviceName, Supplied),
    /// Result of [`Action::BindOnDemand`].
    OnDemand(DeviceName, Result<(), String>),
    /// Facts changed. One event carries all changes that are known by now, so that the engine never
    /// acts on a part of them.
    Changed(Vec<Change>),
    /// The time of an [`Action::WakeAt`] has been reached.
    Woken,
    /// A client requested a new selection; see [`Engine::may_rebind`].
    Rebind(DeviceName),
}

/// A new binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Whether the GPU driver has already taken buffers.
    pub in_use: bool,
    /// Classification of buffers that the kernel allocated.
    pub judged: Option<Verdict>,
}

/// Result of handing over suspend buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supplied {
    /// The kernel accepted all buffers.
    All,
    /// The heap had too little memory. The text is the reason.
    NoMemory(String),
    /// The kernel refused a buffer. The text is the reason.
    Refused(String),
}

/// Result of opening a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The kernel holds the GPU's probe until this time. This run or an earlier one started the
    /// hold.
    Window(Monotonic),
    /// The binding is open and the GPU's probe is not held.
    NoWindow,
    /// The GPU driver has probed, and is notified if a binding is committed later.
    AlreadyProbed,
    /// The GPU driver has probed without looking up a binding.
    NoConsumer,
    /// The kernel already reports protected groups of this GPU, and does not hold its probe.
    OnDemand,
    /// An earlier run bound this heap. The flag says whether the driver has taken buffers.
    Adopted(HeapName, bool),
    /// The driver still uses a withdrawn binding. The text is the kernel's.
    Busy(String),
    /// The kernel refused to open it. The text is the reason.
    Refused(String),
}

/// A change of a fact or of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A heap was registered.
    Heap(HeapName),
    /// The set of registered TEEs changed to this one.
    Tees(Vec<Tee>),
    /// A provider was added or removed, or its driver was bound or unbound.
    Provider(DeviceName, Option<Provider>),
    /// A GPU was added or removed, or its driver was bound or unbound.
    Gpu(DeviceName, Option<Gpu>),
    /// The kernel signalled a change of a GPU's binding, which has to be read again.
    Binding(DeviceName),
    /// A protected group or a client waits for a GPU's binding.
    Demand(DeviceName),
    /// Events were lost. These facts replace all earlier ones.
    All(Box<Facts>),
    /// The policies were reloaded. This one applies from now on.
    Policy(Box<Policy>),
}

/// An action for the caller to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a binding, and hold the GPU's probe for this many milliseconds; 0 starts no hold.
    Open(DeviceName, u32),
    /// Allocate the request's firmware buffer, then suspend buffers until the requested number is
    /// reached or the heap has no more memory. Classify their protection, and keep them for
    /// [`Action::Bind`]. Where the kernel allocates, commit.
    Try(DeviceName, Request),
    /// Hand over the buffers and commit.
    Bind(DeviceName, Request),
    /// Release all buffers, and have the kernel report the next protected group. Ends the hold.
    /// Fails while a protected group has a suspend buffer.
    BindOnDemand(DeviceName),
    /// End the hold without a binding.
    Release(DeviceName),
    /// Withdraw the binding: it has no user, or its TEE goes away.
    Remove(DeviceName),
    /// Read the kernel's binding and report it with [`Event::Looked`].
    Look(DeviceName),
    /// Hand over as many suspend buffers from this heap as the kernel requests.
    Supply(DeviceName, HeapName),
    /// Log this error once.
    Tell(DeviceName, String),
    /// Send [`Event::Woken`] at this time at the latest.
    WakeAt(Monotonic),
}

/// The bindings of all GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine<const DAEMON: bool> {
    policy: Policy,
    facts: Facts,
    bindings: BTreeMap<DeviceName, Binding>,
}

/// The binding of one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    policy: Option<GpuPolicy>,
    phase: Phase,
    state: State,
    reason: Option<Reason>,
    /// Begin and end of the hold.
    window: Option<(Monotonic, Monotonic)>,
    held: u64,
    late: bool,
    /// Heap that an earlier run bound.
    adopted: Option<HeapName>,
    /// Heap that was bound when the daemon first read the binding. A closed image may not switch to
    /// another.
    kept: Option<HeapName>,
    /// Whether the kernel reports the next protected group.
    on_demand: bool,
    /// Whether a protected group or a client waits for the binding.
    demanded: bool,
    /// Time of the last demand that failed.
    refused_demand: Option<Monotonic>,
    /// Time at which the daemon saw that the driver had freed the buffers of the binding.
    free_since: Option<Monotonic>,
    /// Heap that an earlier run bound, and the key of the policy file that named it.
    named: Option<(HeapName, Key)>,
    request: Option<Request>,
    /// Kernel binding as the daemon last read it. `None` unless bound.
    kernel: Option<KernelBinding>,
    /// Whether the TEE of the bound heap has been registered since it was bound.
    tee: Option<TeeOfBinding>,
    upkeep: Upkeep,
    /// Reason why there are fewer suspend buffers than the policy allows, if an allocation failed.
    shortage: Option<String>,
    trace: Vec<Considered>,
    timeline: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// The daemon has requested the kernel's binding.
    Looking,
    /// The kernel has no binding.
    Unbound,
    Opening,
    Deciding,
    Trying,
    /// The heap was accepted, and waits for the driver's other GPUs: one parameter names the heap
    /// of all.
    Agreeing,
    Binding,
    Supplying,
    /// Buffers are being released until the next demand.
    Releasing,
    Ended,
}

impl<const DAEMON: bool> Engine<DAEMON> {
    /// Creates an engine with these facts. It acts from [`Event::Started`] on.
    pub fn new(policy: Policy, facts: Facts) -> Self {
        let mut bindings = BTreeMap::new();
        for (device, gpu) in &facts.gpus {
            bindings.insert(device.clone(), Binding::new(policy.gpu(device, &gpu.compatible)));
        }
        Self { policy, facts, bindings }
    }

    /// Restores the timelines that an earlier program of this boot saved, up to `now`. The bindings
    /// themselves are read from the kernel.
    pub fn restore(&mut self, file: &StateFile, now: Monotonic) {
        for (device, binding) in &mut self.bindings {
            if let Some(state) = file.gpu(device) {
                binding.held = state.held_us;
                binding.named = state.named();
                binding.shortage.clone_from(&state.suspend_shortage);
                binding.timeline = state.timeline_until(now).cloned().collect();
            }
        }
    }

    /// Returns the candidates and their outcomes as of the last selection. For a binding that an
    /// earlier run made, the outcomes are those of a selection now.
    pub fn considered<'a>(
        &'a self,
        device: &DeviceName,
        binding: &'a Binding,
    ) -> Cow<'a, [Considered]> {
        let Some(heap) = binding.heap().filter(|_| binding.is_bound()) else {
            return Cow::Borrowed(&binding.trace);
        };
        let gpu = self.facts.gpus.get(device);
        let trace = match gpu {
            Some(gpu) if DAEMON && binding.trace.is_empty() => {
                let policy = binding.policy.as_ref();
                decide_gpu(policy, &self.facts, gpu, Patience::LastCall).trace
            }
            _ => binding.trace.clone(),
        };
        bound_trace(trace, heap, gpu.and_then(|gpu| gpu.verdicts.get(heap))).into()
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the current facts.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the bindings by device name of the GPU.
    pub fn bindings(&self) -> &BTreeMap<DeviceName, Binding> {
        &self.bindings
    }

    /// Returns whether every attempt to bind a GPU has ended.
    pub fn is_done(&self) -> bool {
        self.bindings.values().all(|binding| binding.phase == Phase::Ended)
    }

    /// Processes an event that occurred at `now`, and returns the actions to carry out.
    pub fn on(&mut self, event: Event, now: Monotonic) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started if !DAEMON => self.note_failures(now),
            Event::Started | Event::Woken => {}
            Event::Changed(changes) => {
                for change in changes {
                    self.change(change, now);
                }
            }
            Event::Opened(device, opened) => {
                if let Some(binding) = self.bindings.get_mut(&device)
                    && binding.phase == Phase::Opening
                {
                    binding.opened::<DAEMON>(device, opened, now, &mut actions);
                }
            }
            Event::Tried(device, heap, verdict) => {
                if let Some(binding) = self.bindings.get_mut(&device)
                    && binding.phase == Phase::Trying
                {
                    binding.phase = Phase::Deciding;
                    self.judged(&device, heap, verdict, now);
                }
            }
            Event::Bound(device, mut outcome) => {
                let allocated = outcome.as_mut().ok().and_then(|bound| bound.judged.take());
                if let Some(binding) = self.bindings.get(&device)
                    && binding.phase == Phase::Trying
                    && let Some((heap, verdict)) = binding.heap().cloned().zip(allocated)
                {
                    self.judged(&device, heap, verdict, now);
                }
                if let Some(binding) = self.bindings.get_mut(&device)
                    && matches!(binding.phase, Phase::Trying | Phase::Binding)
                {
                    binding.bound(&device, outcome, now, &mut actions);
                }
            }
            Event::Looked(device, found) => {
                if DAEMON && let Some(binding) = self.bindings.get_mut(&device) {
                    binding.looked(found, now);
                    self.improve(&device, now, &mut actions);
                }
            }
            Event::Supplied(device, supplied) => {
                if DAEMON
                    && let Some(binding) = self.bindings.get_mut(&device)
                    && binding.phase == Phase::Supplying
                {
                    binding.supplied(&device, supplied, now, &mut actions);
                }
            }
            Event::OnDemand(device, outcome) => {
                if let Some(binding) = self.bindings.get_mut(&device) {
                    binding.awaits_demand(outcome, now);
                }
            }
            Event::Rebind(device) => {
                if DAEMON {
                    self.rebind(&device, now, &mut actions);
                }
            }
        }
        for (device, binding) in &mut self.bindings {
            if let Some(gpu) = self.facts.gpus.get(device) {
                binding.go_on::<DAEMON>(device, gpu, &self.facts, now, &mut actions);
                if DAEMON {
                    binding.end_demand(device, now, &mut actions);
                }
            }
        }
        self.agree(now, &mut actions);
        actions
    }

    /// Binds the heap of a driver that takes it from its parameter. The parameter is one for all
    /// GPUs of the driver, so this waits until every GPU has selected a heap or ended, and requires
    /// that they agree on one heap.
    fn agree(&mut self, now: Monotonic, actions: &mut Vec<Action>) {
        let is_agreeing = |binding: &Binding| binding.phase == Phase::Agreeing;
        if !self.bindings.values().all(|b| is_agreeing(b) || b.phase == Phase::Ended) {
            return;
        }
        let counted = |b: &&Binding| is_agreeing(b) || b.state == State::Bound;
        let mut heaps = self.bindings.values().filter(counted).filter_map(Binding::heap);
        let first = heaps.next();
        let differ = heaps.any(|heap| Some(heap) != first);
        for (device, binding) in self.bindings.iter_mut().filter(|(_, b)| is_agreeing(b)) {
            if differ {
                binding.release(device, actions);
                binding.end(State::Failed, Some(Reason::HeapsDiffer), now, String::new());
            } else if let Some(request) = binding.request.clone() {
                binding.phase = Phase::Binding;
                actions.push(Action::Bind(device.clone(), request));
            }
        }
    }

    fn change(&mut self, change: Change, now: Monotonic) {
        let (gpu, heap) = match &change {
            Change::Binding(device) => {
                if let Some(binding) = self.bindings.get_mut(device) {
                    binding.look();
                }
                return;
            }
            Change::Demand(device) => {
                if DAEMON {
                    self.demand(device, now);
                }
                return;
            }
            Change::Gpu(device, _) => (Some(device.clone()), None),
            Change::Heap(heap) => (None, Some(heap.clone())),
            _ => (None, None),
        };
        match change {
            Change::Policy(policy) if DAEMON => self.change_policy(*policy),
            change => self.change_facts(change, now),
        }
        if DAEMON {
            self.look_again(gpu.as_ref(), heap.as_ref());
        }
    }

    fn change_facts(&mut self, change: Change, now: Monotonic) {
        match change {
            Change::Heap(heap) => {
                // The heap may have been found in sysfs before its event arrived.
                if self.facts.heaps.insert(heap.clone()) {
                    self.note(now, "heap-appeared", heap.as_str());
                }
            }
            Change::Tees(tees) => self.facts.tees = tees,
            Change::Provider(device, None) => {
                self.facts.providers.remove(&device);
            }
            Change::Provider(device, Some(provider)) => {
                let before = self.facts.providers.get(&device);
                let settles = provider.settled() && before.is_none_or(|before| !before.settled());
                if let Some(failure) = provider.failure.as_ref().filter(|_| settles) {
                    let failed = format!("{device}: {}", failure.message);
                    self.note(now, "provider-failed", &failed);
                } else if settles {
                    self.note(now, "provider-settled", device.as_str());
                    // A TEE that registers again revives its heaps.
                    for gpu in self.facts.gpus.values_mut() {
                        gpu.verdicts.retain(|_, verdict| *verdict != Verdict::Dead);
                    }
                }
                self.facts.providers.insert(device, provider);
            }
            Change::Gpu(device, gpu) => self.change_gpu(device, gpu),
            Change::Binding(_) | Change::Demand(_) | Change::Policy(_) => {}
            Change::All(mut facts) => {
                for heap in facts.heaps.difference(&self.facts.heaps.clone()) {
                    self.note(now, "heap-appeared", heap.as_str());
                }
                let gpus = std::mem::take(&mut facts.gpus);
                facts.gpus = std::mem::take(&mut self.facts.gpus);
                self.facts = *facts;
                let gone: Vec<_> =
                    self.facts.gpus.keys().filter(|gpu| !gpus.contains_key(gpu)).cloned().collect();
                for device in gone {
                    self.change_gpu(device, None);
                }
                for (device, gpu) in gpus {
                    self.change_gpu(device, Some(gpu));
                }
            }
        }
    }

    fn change_gpu(&mut self, device: DeviceName, gpu: Option<Gpu>) {
        let Some(mut gpu) = gpu else {
            if self.facts.gpus.remove(&device).is_some() {
                self.bindings.insert(device, Binding::absent());
            }
            return;
        };
        match self.facts.gpus.remove(&device) {
            // Earlier verdicts remain valid.
            Some(before) => gpu.verdicts = before.verdicts,
            None => {
                let policy = self.policy.gpu(&device, &gpu.compatible);
                self.bindings.insert(device.clone(), Binding::new(policy));
            }
        }
        self.facts.gpus.insert(device, gpu);
    }

    /// Records the verdict on a heap.
    fn judged(&mut self, device: &DeviceName, heap: HeapName, verdict: Verdict, now: Monotonic) {
        if let Some(binding) = self.bindings.get_mut(device) {
            binding.step(now, "tried", format!("{heap}: {}", describe(&verdict)));
            binding.shortage = verdict.shortage().map(|shortage| shortage.why.clone());
        }
        if let Some(gpu) = self.facts.gpus.get_mut(device) {
            gpu.verdicts.insert(heap, verdict);
        }
    }

    /// Records the providers whose probe had failed before the start.
    fn note_failures(&mut self, now: Monotonic) {
        let failed = |(device, provider): (&DeviceName, &Provider)| {
            Some(format!("{device}: {}", provider.failure.as_ref()?.message))
        };
        let failures: Vec<_> = self.facts.providers.iter().filter_map(failed).collect();
        for failure in failures {
            self.note(now, "provider-failed", &failure);
        }
    }

    /// Adds a step to the timeline of every GPU whose attempt has not ended.
    fn note(&mut self, now: Monotonic, step: &'static str, detail: &str) {
        for binding in self.bindings.values_mut().filter(|b| b.phase != Phase::Ended) {
            binding.step(now, step, detail.to_owned());
        }
    }
}

fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allocated { protection, exporter, shortage } => {
            let shortage = shortage.as_ref().map(|shortage| format!("; {shortage}"));
            let shortage = shortage.unwrap_or_default();
            format!("protection {}, exporter {exporter}{shortage}", protection.as_str())
        }
        Verdict::TooSmall(why) => format!("too small: {why}"),
        Verdict::Dead => "dead".to_owned(),
    }
}

impl Binding {
    fn new(policy: Option<GpuPolicy>) -> Self {
        Self {
            policy,
            phase: Phase::New,
            state: State::Held,
            reason: None,
            window: None,
            held: 0,
            late: false,
            adopted: None,
            kept: None,
            on_demand: false,
            demanded: false,
            refused_demand: None,
            free_since: None,
            named: None,
            request: None,
            kernel: None,
            tee: None,
            upkeep: Upkeep::default(),
            shortage: None,
            trace: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn absent() -> Self {
        Self { phase: Phase::Ended, state: State::Absent, ..Self::new(None) }
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
        self.request.as_ref()
    }

    /// Returns the bound heap, or else the one that was tried last.
    pub fn heap(&self) -> Option<&HeapName> {
        self.adopted.as_ref().or(self.request.as_ref().map(|request| &request.heap))
    }

    /// Returns the kernel's binding as last read; always `None` in the binder.
    pub fn kernel(&self) -> Option<&KernelBinding> {
        self.kernel.as_ref()
    }

    /// Returns for how long the GPU's probe was held, in microseconds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Returns whether a heap is bound to the GPU.
    pub(crate) fn is_bound(&self) -> bool {
        self.state.is_bound()
    }

    /// Returns why the last allocation of a suspend buffer failed.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.shortage.as_deref()
    }

    /// Returns the timeline, oldest step first.
    pub fn timeline(&self) -> &[Step] {
        &self.timeline
    }

    fn step(&mut self, now: Monotonic, step: &'static str, detail: String) {
        self.timeline.push(Step { at: now, step: step.into(), detail });
    }

    fn opened<const DAEMON: bool>(
        &mut self,
        device: DeviceName,
        opened: Opened,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        self.phase = Phase::Deciding;
        self.on_demand = opened == Opened::OnDemand;
        match opened {
            Opened::Window(ends) => {
                self.window = Some((now, ends));
                let left = ends.0.saturating_sub(now.0) / 1_000;
                self.step(now, "window-opened", format!("for at most {left} ms"));
            }
            Opened::NoWindow => self.step(now, "no-window", String::new()),
            Opened::OnDemand => {}
            Opened::AlreadyProbed => {
                self.late = true;
                self.step(now, "already-probed", String::new());
            }
            Opened::NoConsumer => {
                actions.push(Action::Remove(device));
                self.end(State::Unprotected, Some(Reason::NoConsumer), now, String::new());
            }
            Opened::Adopted(heap, in_use) => {
                self.adopt(heap, in_use, now);
                self.look();
            }
            Opened::Busy(why) if DAEMON => self.busy(why, now),
            Opened::Busy(why) | Opened::Refused(why) => {
                self.end(State::Failed, Some(Reason::KernelRefused), now, why);
            }
        }
    }

    /// Adopts a binding that an earlier run made.
    fn adopt(&mut self, heap: HeapName, in_use: bool, now: Monotonic) {
        // An earlier run may have recorded this binding already.
        let recorded = self.timeline_shows(&heap, in_use).then_some(self.timeline.len());
        self.request = None;
        self.adopted = Some(heap);
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

    /// Returns the key of the policy file that named the heap, also if an earlier run bound it.
    pub(crate) fn named_by(&self) -> Option<&Key> {
        let earlier = self.named.as_ref().filter(|(heap, _)| self.heap() == Some(heap));
        self.request.as_ref().map(|request| &request.policy).or(earlier.map(|(_, key)| key))
    }

    fn bound(
        &mut self,
        device: &DeviceName,
        outcome: Result<Bound, String>,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        match outcome {
            Ok(Bound { in_use, .. }) => {
                self.end(State::Bound, None, now, String::new());
                if in_use {
                    self.enter(State::InUse);
                }
                self.look();
            }
            Err(why) => {
                self.release(device, actions);
                self.end(State::Failed, Some(Reason::KernelRefused), now, why);
            }
        }
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            debug_assert!(self.state.precedes(state), "{} does not precede {state}", self.state);
            #[cfg(test)]
            transitions::record(self.state, state);
            self.state = state;
        }
    }

    fn end(&mut self, state: State, reason: Option<Reason>, now: Monotonic, detail: String) {
        if let Some((begin, ends)) = self.window.take() {
            self.held = now.min(ends).0.saturating_sub(begin.0);
        }
        // The daemon reaches the same end repeatedly. Each is recorded once.
        if (self.state, self.reason) != (state, reason) || !detail.is_empty() {
            let step = reason.filter(|r| *r != Reason::Adopted);
            self.step(now, step.map_or(state.as_str(), Reason::as_str), detail);
        }
        self.enter(state);
        self.reason = reason;
        self.phase = Phase::Ended;
    }

    /// Advances as far as possible without a further event.
    fn go_on<const DAEMON: bool>(
        &mut self,
        device: &DeviceName,
        gpu: &Gpu,
        facts: &Facts,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        match self.phase {
            Phase::New if DAEMON => {
                self.phase = Phase::Looking;
                return actions.push(Action::Look(device.clone()));
            }
            Phase::Ended if DAEMON => {
                self.attend(device, facts, now, actions);
                if self.phase != Phase::Unbound {
                    return;
                }
            }
            Phase::New | Phase::Unbound | Phase::Deciding | Phase::Agreeing => {}
            _ => return,
        }
        let ends = self.window.map(|(_, ends)| ends).filter(|ends| now < *ends);
        let decide = |patience| decide_gpu(self.policy.as_ref(), facts, gpu, patience);
        let mut decision = decide(Patience::Wait);
        let can_come = decision.plan == Plan::Wait;
        let mut can_bind = decision.plan.can_bind();
        let last_call = ends.map(|ends| Monotonic(ends.0.saturating_sub(LAST_CALL)));
        if DAEMON && ends.is_none() {
            decision = decide(Patience::LastCall);
            if let Plan::Try(request) | Plan::Bind(request) = &decision.plan
                && facts.lacks_tee_of(&request.heap)
            {
                decision.plan = Plan::Wait;
            }
            can_bind = decision.plan.can_bind();
        } else if self.phase == Phase::New {
            return self.begin(device, gpu, facts, decision, now, actions);
        } else if can_come && last_call.is_none_or(|last_call| last_call <= now) {
            decision = decide(Patience::LastCall);
        }
        self.trace = decision.trace;
        if can_bind && self.phase == Phase::Deciding && self.is_not_demanded(facts) {
            if !self.on_demand {
                self.phase = Phase::Releasing;
                return actions.push(Action::BindOnDemand(device.clone()));
            }
            return self.end(State::Unprotected, Some(Reason::OnDemand), now, String::new());
        }
        match decision.plan {
            Plan::Wait if self.phase == Phase::Unbound && self.is_not_demanded(facts) => {
                self.phase = Phase::Opening;
                actions.push(Action::Open(device.clone(), 0));
            }
            Plan::Wait => match last_call {
                Some(last_call) => self.wait(last_call, actions),
                // The heap may be present and refuse allocations: its TEE has gone away, or is
                // about to.
                None => self.end(State::Failed, Some(Reason::HeapDead), now, String::new()),
            },
            Plan::Try(_) | Plan::Bind(_) if DAEMON && self.phase == Phase::Unbound => {
                self.phase = Phase::Opening;
                actions.push(Action::Open(device.clone(), 0));
            }
            Plan::Try(request) => {
                self.phase = Phase::Trying;
                self.prepare(&request);
                actions.push(Action::Try(device.clone(), request));
            }
            Plan::Bind(request) if request.source == Source::Driver => {
                self.phase = Phase::Agreeing;
                self.prepare(&request);
            }
            Plan::Bind(request) => {
                self.phase = Phase::Binding;
                self.prepare(&request);
                actions.push(Action::Bind(device.clone(), request));
            }
            Plan::Keep(heap) => self.adopt(heap, false, now),
            // All present heaps were rejected, but the hold is active and another can still appear.
            Plan::Without(_) | Plan::Fail(_) if can_come && ends.is_some() => {
                self.wait(ends.unwrap_or(now), actions);
            }
            Plan::Without(_) if can_come => {
                self.forget_request();
                let late = self.late || DAEMON && gpu.driver.is_some();
                let reason = if late { Reason::AlreadyProbed } else { Reason::HeapLate };
                self.end(State::Unprotected, Some(reason), now, String::new());
            }
            Plan::Without(reason) => {
                self.forget_request();
                self.release(device, actions);
                self.end(State::Unprotected, Some(reason), now, String::new());
            }
            Plan::Fail(reason) => {
                self.release(device, actions);
                self.end(State::Failed, Some(reason), now, String::new());
            }
        }
    }

    /// Waits for a heap that can still appear, and revokes an agreement on another one.
    fn wait(&mut self, until: Monotonic, actions: &mut Vec<Action>) {
        if self.phase == Phase::Agreeing {
            self.phase = Phase::Deciding;
        }
        self.enter(State::Waiting);
        actions.push(Action::WakeAt(until));
    }

    /// Returns whether the policy binds on demand and the kernel can report a demand.
    fn is_on_demand(&self, facts: &Facts) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| policy.bind() == Bind::Demand) && facts.kernel.module.is_some()
    }

    /// Returns whether binding has to wait for a demand.
    fn is_not_demanded(&self, facts: &Facts) -> bool {
        !self.demanded && self.is_on_demand(facts)
    }

    /// Processes the result of [`Action::BindOnDemand`].
    fn awaits_demand(&mut self, outcome: Result<(), String>, now: Monotonic) {
        self.on_demand = outcome.is_ok();
        if self.phase != Phase::Releasing {
            return;
        }
        match outcome {
            Ok(()) => {
                self.forget_request();
                self.forget_kernel();
                self.end(State::Unprotected, Some(Reason::OnDemand), now, String::new());
            }
            // A protected group took a buffer in the meantime.
            Err(_) if self.is_bound() => {
                self.phase = Phase::Ended;
                self.look();
            }
            Err(why) => self.end(State::Failed, Some(Reason::KernelRefused), now, why),
        }
    }

    fn prepare(&mut self, request: &Request) {
        self.enter(State::Preparing);
        self.adopted = None;
        self.request = Some(request.clone());
    }

    fn forget_request(&mut self) {
        self.adopted = None;
        self.request = None;
    }

    /// Requests to open a binding, unless selection has already ended the attempt.
    fn begin(
        &mut self,
        device: &DeviceName,
        gpu: &Gpu,
        facts: &Facts,
        decision: GpuDecision,
        now: Monotonic,
        actions: &mut Vec<Action>,
    ) {
        self.trace = decision.trace;
        match decision.plan {
            Plan::Without(reason) => {
                self.end(State::Unprotected, Some(reason), now, String::new());
            }
            Plan::Fail(reason) => self.end(State::Failed, Some(reason), now, String::new()),
            Plan::Keep(heap) => self.adopt(heap, false, now),
            Plan::Wait | Plan::Try(_) | Plan::Bind(_) => {
                self.phase = Phase::Opening;
                // The kernel cannot hold a driver that has probed.
                let hold = match (&gpu.driver, &self.policy) {
                    _ if self.is_not_demanded(facts) => 0,
                    (None, Some(policy)) => policy.hold() / 1_000,
                    _ => 0,
                };
                let hold = u32::try_from(hold).unwrap_or(u32::MAX);
                actions.push(Action::Open(device.clone(), hold));
            }
        }
    }

    /// Ends the hold at once. The binding of a driver that has probed without a hold stays open, so
    /// that a heap that appears later can still be bound.
    fn release(&self, device: &DeviceName, actions: &mut Vec<Action>) {
        if self.window.is_some() {
            actions.push(Action::Release(device.clone()));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod transitions;
#[cfg(test)]
mod two_gpus;
