// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states of every GPU's binding: events and the time go in, actions come out.
//!
//! The caller carries out the actions in their order and reports what came of them as events. A
//! GPU is held only by a window that the kernel closes by itself: whatever happens to the caller,
//! it ends.
//!
//! An `Engine<false>` is that of the early binder: it holds GPUs for their heaps, and is done when
//! each has come to an end. An `Engine<true>` is that of a daemon: it holds nothing and goes on. It
//! takes over what the kernel has, supplies it, takes it away when its TEE goes, and binds late.
//! These are types so that nothing of the daemon is in the binder, which has to be small.

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

/// How long before a window's end the best of what is there is taken, in microseconds: enough to
/// allocate and hand over its buffers.
const LAST_CALL: u64 = 250_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Facts were collected: begin.
    Started,
    /// What came of [`Action::Open`].
    Opened(DeviceName, Opened),
    /// What came of [`Action::Try`].
    Tried(DeviceName, HeapName, Verdict),
    /// What came of [`Action::Bind`], or of [`Action::Try`] where the kernel allocates: what is
    /// bound, or what the kernel refused.
    Bound(DeviceName, Result<Bound, String>),
    /// What came of [`Action::Look`]: what the kernel has, if it is bound.
    Looked(DeviceName, Result<Option<KernelBinding>, String>),
    /// What came of [`Action::Supply`].
    Supplied(DeviceName, Supplied),
    /// Result of [`Action::BindOnDemand`].
    OnDemand(DeviceName, Result<(), String>),
    /// Facts changed: all that is known to have changed by now, so that nothing is done on the half
    /// of it.
    Changed(Vec<Change>),
    /// The time of an [`Action::WakeAt`] has come.
    Woken,
    /// Somebody wants it decided anew; see [`Engine::may_rebind`].
    Rebind(DeviceName),
}

/// What was bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The driver has taken buffers already.
    pub in_use: bool,
    /// What the kernel shows of buffers that it allocated.
    pub judged: Option<Verdict>,
}

/// What came of handing suspend buffers over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supplied {
    /// The kernel has all of them.
    All,
    /// The heap gave too few, for this reason.
    NoMemory(String),
    /// The kernel did not take one, for this reason.
    Refused(String),
}

/// What came of opening a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The GPU's probe is held until then, by this run or one before it.
    Window(Monotonic),
    /// The binding is open and the GPU's probe is not held.
    NoWindow,
    /// The GPU's driver has probed, and will be told of a binding that comes late.
    AlreadyProbed,
    /// The GPU's driver has probed and never asked for a binding.
    NoConsumer,
    /// The binding is on demand already; the GPU's probe is not held.
    OnDemand,
    /// An earlier run has bound this heap; whether the driver has taken buffers.
    Adopted(HeapName, bool),
    /// One that was withdrawn still has its driver; the words are the kernel's.
    Busy(String),
    /// The kernel refused, for this reason.
    Refused(String),
}

/// A fact that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A heap was registered.
    Heap(HeapName),
    /// These are the TEEs now.
    Tees(Vec<Tee>),
    /// A provider came, got or lost its driver, or went.
    Provider(DeviceName, Option<Provider>),
    /// A GPU came, got or lost its driver, or went.
    Gpu(DeviceName, Option<Gpu>),
    /// The kernel tells of a GPU's binding: a hint, what it has is to be looked at.
    Binding(DeviceName),
    /// A protected group or a client waits for a GPU's binding.
    Demand(DeviceName),
    /// Events were lost: these are all facts now.
    All(Box<Facts>),
    /// The policies changed: these are the ones that apply now.
    Policy(Box<Policy>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a binding, and a window of this many milliseconds unless that is 0.
    Open(DeviceName, u32),
    /// Allocate the firmware buffer of the request, then suspend buffers until there are as many as
    /// requested or the heap has no more; judge them and keep them for [`Action::Bind`]. Where the
    /// kernel allocates, commit.
    Try(DeviceName, Request),
    /// Hand the buffers over and commit.
    Bind(DeviceName, Request),
    /// Release all buffers, and have the kernel report the next protected group. Ends the hold. Fails
    /// while a protected group has a suspend buffer.
    BindOnDemand(DeviceName),
    /// It was decided against a binding: close the window.
    Release(DeviceName),
    /// Nobody will use the binding, or its TEE goes: take it away.
    Remove(DeviceName),
    /// Say what the kernel has.
    Look(DeviceName),
    /// Hand over as many suspend buffers from this heap as the binding wants.
    Supply(DeviceName, HeapName),
    /// Tell people what is wrong, once.
    Tell(DeviceName, String),
    /// Come back with [`Event::Woken`] at this time at the latest.
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
    /// Begin and end of the window.
    window: Option<(Monotonic, Monotonic)>,
    held: u64,
    late: bool,
    /// The heap that another run has bound.
    adopted: Option<HeapName>,
    /// The heap that was bound when a daemon first saw it: a closed image keeps to it.
    kept: Option<HeapName>,
    /// The kernel reports the next protected group.
    on_demand: bool,
    /// A protected group or a client waits for the binding.
    demanded: bool,
    /// Time of the last demand that failed.
    refused_demand: Option<Monotonic>,
    /// A driver had it, and has let go of it: when that was seen.
    let_go: Option<Monotonic>,
    /// A heap that an earlier run bound, and the key of the file that named it.
    named: Option<(HeapName, Key)>,
    request: Option<Request>,
    /// What a daemon saw in the kernel last; only of a binding that is bound.
    kernel: Option<KernelBinding>,
    /// Whether the TEE of what is bound was seen with it.
    tee: Option<TeeOfBinding>,
    upkeep: Upkeep,
    /// Why there are fewer suspend buffers than the policy allows, where the last allocation failed.
    shortage: Option<String>,
    trace: Vec<Considered>,
    timeline: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// A daemon asked what the kernel has.
    Looking,
    /// The kernel has nothing.
    Unbound,
    Opening,
    Deciding,
    Trying,
    /// Its heap passed, and is what the driver shall be told if all its GPUs come to the same.
    Agreeing,
    Binding,
    Supplying,
    /// Buffers are being released until the next demand.
    Releasing,
    Ended,
}

impl<const DAEMON: bool> Engine<DAEMON> {
    /// An engine for what `facts` say now. Nothing is done before [`Event::Started`].
    pub fn new(policy: Policy, facts: Facts) -> Self {
        let mut bindings = BTreeMap::new();
        for (device, gpu) in &facts.gpus {
            bindings.insert(device.clone(), Binding::new(policy.gpu(device, &gpu.compatible)));
        }
        Self { policy, facts, bindings }
    }

    /// Restores the timelines that an earlier program of this boot wrote until `now`. The kernel
    /// knows what is bound.
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

    /// The policy's candidates and their outcomes when they were last considered; of a binding that
    /// another run made, as they would be now.
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

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The facts as the events have left them.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The bindings, by the GPU's device name.
    pub fn bindings(&self) -> &BTreeMap<DeviceName, Binding> {
        &self.bindings
    }

    /// Every GPU has come to an end.
    pub fn is_done(&self) -> bool {
        self.bindings.values().all(|binding| binding.phase == Phase::Ended)
    }

    /// Takes what happened at `now`, and says what is to be done.
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

    /// Binds by a driver's parameter, which is one for all its GPUs: when none of them is still to
    /// come to its heap, and if that is one heap.
    fn agree(&mut self, now: Monotonic, actions: &mut Vec<Action>) {
        let is_agreeing = |binding: &Binding| binding.phase == Phase::Agreeing;
        if !self.bindings.values().all(|b| is_agreeing(b) || b.phase == Phase::Ended) {
            return;
        }
        let told = |b: &&Binding| is_agreeing(b) || b.state == State::Bound;
        let mut heaps = self.bindings.values().filter(told).filter_map(Binding::heap);
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
                // Its event may come after it was found in sysfs.
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
                    // It may have revived heaps that were dead.
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
            // What was tried stays known.
            Some(before) => gpu.verdicts = before.verdicts,
            None => {
                let policy = self.policy.gpu(&device, &gpu.compatible);
                self.bindings.insert(device.clone(), Binding::new(policy));
            }
        }
        self.facts.gpus.insert(device, gpu);
    }

    /// Notes what came of a heap.
    fn judged(&mut self, device: &DeviceName, heap: HeapName, verdict: Verdict, now: Monotonic) {
        if let Some(binding) = self.bindings.get_mut(device) {
            binding.step(now, "tried", format!("{heap}: {}", describe(&verdict)));
            binding.shortage = verdict.shortage().map(|shortage| shortage.why.clone());
        }
        if let Some(gpu) = self.facts.gpus.get_mut(device) {
            gpu.verdicts.insert(heap, verdict);
        }
    }

    /// Notes the providers whose probe had failed before the start.
    fn note_failures(&mut self, now: Monotonic) {
        let failed = |(device, provider): (&DeviceName, &Provider)| {
            Some(format!("{device}: {}", provider.failure.as_ref()?.message))
        };
        let failures: Vec<_> = self.facts.providers.iter().filter_map(failed).collect();
        for failure in failures {
            self.note(now, "provider-failed", &failure);
        }
    }

    /// Notes what happened to all GPUs that are not at an end.
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
            let_go: None,
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

    /// How far it has come.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it ended as it did; `None` before an end, and for a binding that this run made.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The policy that applies to the GPU.
    pub fn policy(&self) -> Option<&GpuPolicy> {
        self.policy.as_ref()
    }

    /// What was or is being bound.
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The heap that is bound, or was tried last.
    pub fn heap(&self) -> Option<&HeapName> {
        self.adopted.as_ref().or(self.request.as_ref().map(|request| &request.heap))
    }

    /// What the kernel showed of it last, to those that looked.
    pub fn kernel(&self) -> Option<&KernelBinding> {
        self.kernel.as_ref()
    }

    /// How long the window was open, in microseconds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether a heap is bound to the GPU.
    pub(crate) fn is_bound(&self) -> bool {
        self.state.is_bound()
    }

    /// Why the last allocation of a suspend buffer failed.
    pub(crate) fn shortage(&self) -> Option<&str> {
        self.shortage.as_deref()
    }

    /// What happened, in its order.
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

    /// Takes over what another run has bound.
    fn adopt(&mut self, heap: HeapName, in_use: bool, now: Monotonic) {
        // The story of who bound it may have been told already.
        let told = self.tells_of(&heap, in_use).then_some(self.timeline.len());
        self.request = None;
        self.adopted = Some(heap);
        let state = if in_use { State::InUse } else { State::Bound };
        self.end(state, Some(Reason::Adopted), now, String::new());
        self.timeline.truncate(told.unwrap_or(usize::MAX));
    }

    /// The timeline ends with this heap being bound, and used if it is.
    fn tells_of(&self, heap: &HeapName, in_use: bool) -> bool {
        let mut ends = self.timeline.iter().rev();
        let end = ends.find(|step| !matches!(&*step.step, "supplied" | "supply-failed"));
        self.named.as_ref().is_some_and(|(named, _)| named == heap)
            && end.is_some_and(|step| step.step == "in-use" || step.step == "bound" && !in_use)
    }

    /// The key of the file that named the heap, of an earlier run's too.
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
        // A daemon comes to the same end again and again.
        if (self.state, self.reason) != (state, reason) || !detail.is_empty() {
            let step = reason.filter(|r| *r != Reason::Adopted);
            self.step(now, step.map_or(state.as_str(), Reason::as_str), detail);
        }
        self.enter(state);
        self.reason = reason;
        self.phase = Phase::Ended;
    }

    /// Does what can be done without a further event.
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
                Some(last_call) => {
                    self.enter(State::Waiting);
                    actions.push(Action::WakeAt(last_call));
                }
                // It may be there, and refuses: its TEE has gone, or is going.
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
            // Nothing that is there will do, but the window is open and something can come.
            Plan::Without(_) | Plan::Fail(_) if can_come && ends.is_some() => {
                self.enter(State::Waiting);
                actions.extend(ends.map(Action::WakeAt));
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

    /// Returns whether the policy binds on demand and the kernel can report a demand.
    fn is_on_demand(&self, facts: &Facts) -> bool {
        let policy = self.policy.as_ref();
        policy.is_some_and(|policy| policy.bind() == Bind::Demand) && facts.kernel.module.is_some()
    }

    /// Returns whether binding has to wait for a demand.
    fn is_not_demanded(&self, facts: &Facts) -> bool {
        !self.demanded && self.is_on_demand(facts)
    }

    /// Takes the result of [`Action::BindOnDemand`].
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
            // A group took a buffer meanwhile.
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

    /// Asks for a binding to be opened, unless there is nothing that could be bound.
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
                // A driver that has probed cannot be held.
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

    /// Closes the window at once. A driver that has probed without one keeps its binding open, so
    /// that a heap that comes later can still be bound.
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
