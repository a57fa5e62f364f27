// SPDX-License-Identifier: MIT OR Apache-2.0

//! Carries out what the engine asks for, and tells it what came of that.

use std::collections::BTreeMap;
use std::time::Duration;

use protheap_board::heaps::{self, AllocateError, Buffer, Heap};
use protheap_board::module::{self, BindingState, Commit, Kind, Module, Setup, Window};
use protheap_board::root::Root;
use protheap_board::run::{Lock, RunDirectory};
use protheap_board::uevents::{Received, Uevent, Uevents};
use protheap_board::{Problem, clock, cma, devices, kernel, panthor, tee};
use protheap_core::engine::{
    Action, Binding, Bound, Change, Engine, Event, Monotonic, NoDemand, NoRebind, Opened, Supplied,
};
use protheap_core::facts::{
    Facts, Failure, Gpu, KernelBinding, Parameter, Protection, Provider, Shortage, Source, Verdict,
};
use protheap_core::report::{Refused, Report};
use protheap_core::request::Request;
use protheap_core::state::{Reason, State};
use protheap_policy::cascade::LastGood;
use protheap_policy::name::{DeviceName, HeapName};
use protheap_policy::policy::Policy;
use protheap_policy::sanitize;

use crate::survey::{Survey, closed_by, read_facts, read_firmware, read_policy, tell};
use crate::tell::{Teller, Told};
use crate::{Result, ready};

/// What programs of this boot tell.
const STATE: &str = "run/protheap/state.json";
/// No program of ours tells more, in bytes.
const LONGEST_STATE: usize = 1 << 20;

/// The binder of all GPUs of this machine: the early one, or a daemon.
#[derive(Debug)]
pub struct Binder<const DAEMON: bool> {
    root: Root,
    teller: Teller,
    /// `/run/protheap`, where it can be written. Of a daemon only while it acts: it may be taken away.
    run: Option<RunDirectory>,
    /// Of a binder from its start to its end; of a daemon only while it acts.
    lock: Option<Lock>,
    /// Of a daemon only while it acts: who has it open keeps it from being unloaded.
    module: Option<Module>,
    engine: Engine<DAEMON>,
    /// What could not be used.
    refused: Vec<Refused>,
    /// So many of these, the first, are about policies.
    files: usize,
    /// Of a daemon: what policy files said before they became bad.
    last_good: LastGood,
    /// Of a daemon: what it wrote last.
    written: Vec<u8>,
    /// Why that could not be written: told already.
    unwritten: Option<Problem>,
    /// What was allocated for a GPU and not handed over yet.
    buffers: Vec<(DeviceName, Buffers)>,
    wake: Option<Monotonic>,
    /// Providers whose probe seems to have failed, and since when; see [`Binder::doubt`].
    suspects: BTreeMap<DeviceName, Monotonic>,
    /// Who started us was told that the boot may go on.
    ready: bool,
}

/// What events told, until it is followed as a whole: then all is read that they were about.
#[derive(Debug, Default)]
pub struct Noticed {
    changes: Vec<Change>,
    tees: bool,
    drivers: bool,
    /// Only reading all facts tells what happened.
    all: bool,
}

#[derive(Debug)]
struct Buffers {
    firmware: Buffer,
    suspend: Vec<Buffer>,
}

/// How often the state of a running probe is read, in microseconds.
const POLL: u64 = 50_000;

/// How long a device whose driver is registered and not bound to it is waited for if neither debugfs nor
/// the kernel's log says whether its probe failed or was deferred, in microseconds.
const GRACE: u64 = 1_000_000;

fn tell_failure(teller: Teller, device: &DeviceName, failure: &Failure) {
    let message = &failure.message;
    teller.tell(&Told::Other(format_args!("heap provider {device} failed to probe: {message}")));
}

fn now() -> Monotonic {
    Monotonic(clock::now_us())
}

impl<const DAEMON: bool> Binder<DAEMON> {
    /// Looks at the machine. Nothing is held yet. What happens from now on must not be missed: the
    /// kernel's events are to be listened to already.
    ///
    /// # Errors
    ///
    /// protheap.ko is there and cannot be used.
    pub fn new(root: Root, teller: Teller) -> Result<Self> {
        let mut last_good = LastGood::default();
        let mut look = || Survey::of(&root, teller, DAEMON.then_some(&mut last_good));
        let mut survey = look();
        // Nothing is left behind on a machine without a GPU.
        let (mut run, mut lock) = (None, None);
        if !DAEMON && !survey.facts.gpus.is_empty() {
            match Self::run_alone(&root, teller, Self::withholds(&survey.facts)) {
                Ok((directory, taken, waited)) => {
                    (run, lock) = (Some(directory), Some(taken));
                    if waited {
                        survey = look();
                    }
                }
                Err(problem) => survey.refused.push(tell(teller, problem)),
            }
        }
        let Survey { mut policy, mut facts, mut refused, files } = survey;
        let mut suspects = BTreeMap::new();
        for (name, provider) in &mut facts.providers {
            if !DAEMON && provider.failure.as_ref().is_some_and(|failure| !failure.certain) {
                Self::doubt(&mut suspects, name, provider);
            }
            if let Some(failure) = &provider.failure
                && !facts.gpus.is_empty()
            {
                tell_failure(teller, name, failure);
            }
        }
        if Self::withholds(&facts) {
            let mut problems = Vec::new();
            if let Some(heap) = panthor::named_heap(&root, &mut problems)
                && let Ok(heap) = HeapName::new(&heap)
                && closed_by(&root, facts.kernel.lockdown, &mut problems).is_some()
            {
                policy = policy.closed(true).keeping_to(heap);
            }
            // An earlier run may have decided otherwise.
            problems.extend(panthor::forget_heap(&root).err());
            refused.extend(problems.into_iter().map(|problem| tell(teller, problem)));
        }
        let module = match facts.kernel.module {
            Some(_) if !DAEMON => Some(Module::open(&root)?),
            _ => None,
        };
        Ok(Self {
            root,
            teller,
            run,
            lock,
            module,
            engine: Engine::new(policy, facts),
            refused,
            files,
            last_good,
            written: Vec::new(),
            unwritten: None,
            buffers: Vec::new(),
            wake: None,
            suspects,
            ready: false,
        })
    }

    /// Takes a failure for a running probe until it has been there for a while: a deferred probe that
    /// is started again looks the same for a moment, and one whose deferral cannot be seen looks the
    /// same all the time.
    fn doubt(
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

    /// No window of the kernel keeps the driver from probing without its heap: the boot has to wait.
    fn withholds(facts: &Facts) -> bool {
        !DAEMON && facts.kernel.parameter == Some(Parameter::Open)
    }

    /// Waits for another binder that is at work, so that two never hand over buffers to one
    /// binding. True: there was one.
    fn run_alone(
        root: &Root,
        teller: Teller,
        withholds: bool,
    ) -> Result<(RunDirectory, Lock, bool), Problem> {
        let run = RunDirectory::open(root)?;
        let mut waited = false;
        let lock = run.lock(|| {
            waited = true;
            // The windows are the other one's affair: the boot may go on.
            if !withholds {
                ready::tell(teller);
            }
        })?;
        Ok((run, lock, waited))
    }

    /// Begins, and says so when the windows are open or bindings are taken over.
    pub fn start(&mut self) {
        let mut came = self.step((now(), Event::Started));
        if DAEMON {
            // It has taken over what there is when it has looked.
            came = came.into_iter().flat_map(|event| self.step(event)).collect();
            // Who waits for it to be ready reads what it writes.
            self.report();
        }
        if !Self::withholds(self.engine.facts()) {
            self.tell_ready();
        }
        for event in came {
            self.follow(event);
        }
        self.finish();
    }

    /// Says that the boot may go on, once.
    fn tell_ready(&mut self) {
        if !self.ready {
            ready::tell(self.teller);
            self.ready = true;
        }
    }

    /// Nothing more is to be done by now.
    fn finish(&mut self) {
        if DAEMON {
            (self.lock, self.module) = (None, None);
        }
        self.report();
        if DAEMON {
            self.run = None;
        }
    }

    /// Takes an event and all that comes of it, before anything else: what the kernel was seen to
    /// have is true only until the next action.
    fn follow(&mut self, event: (Monotonic, Event)) {
        for came in self.step(event) {
            self.follow(came);
        }
    }

    /// Takes one event, and returns what came of its actions.
    fn step(&mut self, (at, event): (Monotonic, Event)) -> Vec<(Monotonic, Event)> {
        let mut came = Vec::new();
        for action in self.engine.on(event, at) {
            came.extend(self.carry_out(action));
        }
        came
    }

    /// Carries an action out, and returns what came of it and when.
    fn carry_out(&mut self, action: Action) -> Option<(Monotonic, Event)> {
        match action {
            Action::Open(device, hold) => {
                let opened = self.open(&device, hold);
                let opened = opened.unwrap_or_else(|error| Opened::Refused(error.to_string()));
                Some((now(), Event::Opened(device, opened)))
            }
            Action::Try(device, request) if request.source != Source::Kernel => {
                let verdict = self.allocate(&device, &request);
                Some((now(), Event::Tried(device, request.heap, verdict)))
            }
            Action::Try(device, request) => Some(match self.bind(&device, &request) {
                Ok((at, bound)) => (at, Event::Bound(device, Ok(bound))),
                Err(error) => {
                    let verdict = error.downcast_ref().and_then(module::Error::verdict);
                    let verdict = verdict.map(|verdict| self.too_small(&request, verdict));
                    match &verdict {
                        Some(Verdict::TooSmall(why)) => {
                            self.teller.gpu(&device, format_args!("{}: {why}", request.heap));
                        }
                        _ => self.teller.gpu(&device, format_args!("{}: {error}", request.heap)),
                    }
                    (
                        now(),
                        match verdict {
                            Some(verdict) => Event::Tried(device, request.heap, verdict),
                            None => Event::Bound(device, Err(error.to_string())),
                        },
                    )
                }
            }),
            Action::Bind(device, request) => Some(match self.bind(&device, &request) {
                Ok((at, bound)) => (at, Event::Bound(device, Ok(bound))),
                Err(error) => (now(), Event::Bound(device, Err(error.to_string()))),
            }),
            Action::BindOnDemand(device) => {
                self.take_buffers(&device);
                let outcome = self.bind_on_demand(&device).map_err(|error| error.to_string());
                Some((now(), Event::OnDemand(device, outcome)))
            }
            Action::Release(device) => {
                self.take_buffers(&device);
                let released = self.release(&device);
                self.warn(&device, "releasing the GPU; its window ends by itself", released);
                None
            }
            Action::Remove(device) => {
                let removed = self.module().and_then(|module| match module.remove(&device) {
                    // Somebody was faster.
                    Err(error) if error.is_absent() => Ok(()),
                    removed => Ok(removed?),
                });
                self.warn(&device, "taking away its binding", removed);
                None
            }
            // Only a daemon's engine asks for these.
            Action::Look(_) | Action::Supply(..) | Action::Tell(..) if !DAEMON => None,
            Action::Look(device) => Some((now(), self.look(device))),
            Action::Supply(device, heap) => {
                let supplied = self.supply(&device, &heap);
                let supplied =
                    supplied.unwrap_or_else(|error| Supplied::Refused(error.to_string()));
                Some((now(), Event::Supplied(device, supplied)))
            }
            Action::Tell(device, text) => {
                self.teller.gpu(&device, format_args!("{text}"));
                None
            }
            Action::WakeAt(at) => {
                self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
                None
            }
        }
    }

    /// The module, for a change: with the lock, where there can be one.
    fn module(&mut self) -> Result<&Module> {
        if DAEMON && self.lock.is_none() {
            self.make_run();
            let (teller, ready) = (self.teller, self.ready);
            // Another program is at work, which is enough for the boot to go on.
            let busy = || {
                if !ready {
                    ready::tell(teller);
                }
            };
            match self.run.as_ref().map(|run| run.lock(busy)).transpose() {
                Ok(lock) => self.lock = lock,
                Err(problem) => self.refuse(problem),
            }
        }
        self.module_to_read()
    }

    fn module_to_read(&mut self) -> Result<&Module> {
        if self.module.is_none() && DAEMON {
            self.module = Some(Module::open(&self.root)?);
        }
        Ok(self.module.as_ref().ok_or("protheap.ko is not loaded")?)
    }

    /// Makes `/run/protheap`, where it is needed and is not there.
    fn make_run(&mut self) {
        if !self.engine.bindings().is_empty() {
            self.run = match RunDirectory::open(&self.root) {
                Ok(run) => Some(run),
                Err(problem) => {
                    self.refuse(problem);
                    None
                }
            };
        }
    }

    /// Tells of a problem, once.
    fn refuse(&mut self, problem: Problem) {
        let known =
            |refused: &Refused| refused.path == problem.path && refused.message == problem.message;
        if !DAEMON || !self.refused.iter().any(known) {
            self.refused.push(tell(self.teller, problem));
        }
    }

    fn warn(&self, device: &DeviceName, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.teller.gpu(device, format_args!("{what}: {error}"));
        }
    }

    fn open(&mut self, device: &DeviceName, hold: u32) -> Result<Opened> {
        let source = self.engine.facts().kernel.source();
        let until = |left: u32| Opened::Window(Monotonic(now().0 + u64::from(left) * 1_000));
        if source == Source::Driver {
            // The boot waits for us instead.
            return Ok(if hold == 0 { Opened::NoWindow } else { until(hold) });
        }
        let module = self.module()?;
        let mut binding = match module.create(device) {
            Err(error) if DAEMON && error.is_busy() => {
                return Ok(Opened::Busy(error.to_string()));
            }
            created => created?,
        };
        if binding.is_adopted() {
            match binding.state()? {
                state @ (BindingState::Bound | BindingState::InUse) => {
                    let heap = HeapName::new(&binding.heap()?)?;
                    return Ok(Opened::Adopted(heap, state == BindingState::InUse));
                }
                BindingState::None => {
                    // An earlier run decided against it: whatever it knew, it is decided anew.
                    module.remove(device)?;
                    binding = module.create(device)?;
                }
                BindingState::OnDemand => {
                    binding.renew(source)?;
                    return Ok(Opened::OnDemand);
                }
                state @ (BindingState::Held | BindingState::Open) => {
                    // The heap may be too small for what an earlier run left and this one needs.
                    binding.renew(source)?;
                    if state == BindingState::Held {
                        return Ok(until(binding.hold_left()?));
                    }
                }
            }
        }
        match binding.reason()?.as_str() {
            "already-probed" => return Ok(Opened::AlreadyProbed),
            "no-consumer" => return Ok(Opened::NoConsumer),
            _ if hold == 0 => return Ok(Opened::NoWindow),
            _ => {}
        }
        Ok(match binding.open_window(hold)? {
            Window::Opened => until(hold),
            Window::Forbidden | Window::Spent | Window::TooLate => Opened::NoWindow,
        })
    }

    /// Allocates the firmware buffer, then suspend buffers until there are as many as requested or
    /// the heap has no more, and judges them by the first one.
    fn allocate(&mut self, device: &DeviceName, request: &Request) -> Verdict {
        let teller = self.teller;
        let told = |error: AllocateError| {
            teller.gpu(device, format_args!("{error}"));
            error.verdict()
        };
        let heap = match Heap::open(&self.root, &request.heap) {
            Ok(heap) => heap,
            Err(error) => return told(error),
        };
        let firmware = match heap.allocate(request.firmware_bytes) {
            Ok(buffer) => buffer,
            Err(error) => return self.too_small(request, told(error)),
        };
        let (protection, exporter) = firmware.judge();
        let mut shortage = None;
        if protection != Protection::None || request.allow_unprotected {
            let mut suspend = Vec::new();
            for allocated in 0..request.suspend_count {
                match heap.allocate(request.suspend_bytes) {
                    Ok(buffer) => suspend.push(buffer),
                    Err(error @ AllocateError::TooSmall { .. }) if allocated > 0 => {
                        let (wanted, why) = (request.suspend_count, error.to_string());
                        shortage = Some(Shortage { allocated, wanted, why });
                        break;
                    }
                    Err(error) => return told(error),
                }
            }
            if let Some(shortage) = &shortage {
                teller.gpu(device, format_args!("allocated {shortage}"));
            }
            // The driver allocates its own.
            if request.source != Source::Driver {
                self.buffers.push((device.clone(), Buffers { firmware, suspend }));
            }
        }
        Verdict::Allocated { protection, exporter, shortage }
    }

    /// Adds what is known of CMA to the verdict on a heap that had no memory for the first buffer.
    fn too_small(&self, request: &Request, verdict: Verdict) -> Verdict {
        let bytes = request.suspend_bytes.saturating_mul(u64::from(request.suspend_count.min(1)));
        let bytes = request.firmware_bytes.saturating_add(bytes);
        let explain = || cma::read(&self.root)?.explain(&request.heap, bytes);
        match verdict {
            Verdict::TooSmall(why) => Verdict::TooSmall(match explain() {
                Some(cma) => format!("{why}; {cma}"),
                None => why,
            }),
            verdict => verdict,
        }
    }

    fn take_buffers(&mut self, device: &DeviceName) -> Option<Buffers> {
        let at = self.buffers.iter().position(|(of, _)| of == device)?;
        Some(self.buffers.swap_remove(at).1)
    }

    /// Hands the buffers over, where the kernel does not allocate, and commits. Returns when.
    fn bind(&mut self, device: &DeviceName, request: &Request) -> Result<(Monotonic, Bound)> {
        if request.allow_unprotected {
            let Request { heap, origin, .. } = request;
            let text = format_args!("binding {heap} for bring-up: {origin} has allow-unprotected");
            self.teller.gpu(device, text);
        }
        if request.source == Source::Driver {
            panthor::name_heap(&self.root, &request.heap)?;
            return Ok((now(), Bound { in_use: false, judged: None }));
        }
        let buffers = self.take_buffers(device);
        let module = self.module()?;
        let binding = module.binding(device)?.ok_or("the binding was withdrawn")?;
        binding.set_up(&Setup {
            heap: &request.heap,
            firmware_bytes_wanted: request.firmware_bytes,
            suspend_bytes: request.suspend_bytes,
            suspend_count: request.suspend_count,
            allow_unprotected: request.allow_unprotected,
            origin: &request.origin,
        })?;
        if let Some(Buffers { firmware, suspend }) = buffers {
            module.hand_over(device, Kind::Firmware, &firmware)?;
            for buffer in &suspend {
                module.hand_over(device, Kind::Suspend, buffer)?;
            }
        }
        // The GPU may have probed before the write returns.
        let at = now();
        binding.commit(Commit::Bind)?;
        let in_use = binding.state()? == BindingState::InUse;
        let judged = match request.source {
            Source::Handed | Source::Driver => None,
            Source::Kernel => {
                let (protection, exporter) = binding.judge(request.allow_unprotected)?;
                let shortage = kernel_shortage(&self.root, &binding, request)?;
                if let Some(shortage) = &shortage {
                    self.teller.gpu(device, format_args!("allocated {shortage}"));
                }
                Some(Verdict::Allocated { protection, exporter, shortage })
            }
        };
        Ok((at, Bound { in_use, judged }))
    }

    /// What the kernel has bound, whoever did.
    fn bound(&mut self, device: &DeviceName) -> Result<Option<KernelBinding>> {
        if self.engine.facts().kernel.module.is_none() {
            return Ok(None);
        }
        let Some(binding) = self.module_to_read()?.binding(device)? else { return Ok(None) };
        match binding.bound() {
            // It was withdrawn meanwhile.
            Err(error) if error.is_absent() => Ok(None),
            bound => Ok(bound?),
        }
    }

    fn look(&mut self, device: DeviceName) -> Event {
        let bound = self.bound(&device).map_err(|error| error.to_string());
        Event::Looked(device, bound)
    }

    /// Hands over as many suspend buffers as are wanted.
    fn supply(&mut self, device: &DeviceName, heap: &HeapName) -> Result<Supplied> {
        let no_memory = |error: AllocateError| Ok(Supplied::NoMemory(error.to_string()));
        // To get the lock may take its time: what is wanted then counts.
        self.module()?;
        let Some(wants) = self.bound(device)? else { return Ok(Supplied::All) };
        let heap = match Heap::open(&self.root, heap) {
            Ok(heap) => heap,
            Err(error) => return no_memory(error),
        };
        for _ in 0..wants.suspend_wanted {
            match heap.allocate(wants.suspend_bytes) {
                Ok(buffer) => self.module()?.hand_over(device, Kind::Suspend, &buffer)?,
                Err(error) => return no_memory(error),
            }
        }
        Ok(Supplied::All)
    }

    /// Releases the buffers of `device` and has the kernel report the next protected group.
    fn bind_on_demand(&mut self, device: &DeviceName) -> Result<()> {
        let binding = self.module()?.binding(device)?.ok_or("the binding was withdrawn")?;
        Ok(binding.commit(Commit::Demand)?)
    }

    /// Closes the window, and leaves in the kernel why.
    fn release(&mut self, device: &DeviceName) -> Result<()> {
        if self.engine.facts().kernel.source() == Source::Driver {
            // The boot goes on when all is decided.
            return Ok(());
        }
        let reason = self.engine.bindings().get(device).and_then(Binding::reason);
        if let Some(binding) = self.module()?.binding(device)? {
            binding.set_origin(reason.map_or("", Reason::as_str))?;
            binding.commit(Commit::None)?;
        }
        Ok(())
    }

    /// How long nothing is to be done, if nothing happens.
    pub fn rest(&self) -> Option<Duration> {
        let wake = self.wake.map(|wake| wake.0.saturating_sub(now().0));
        let rest = if self.polls() { Some(wake.unwrap_or(POLL).min(POLL)) } else { wake };
        rest.map(Duration::from_micros)
    }

    /// A GPU is held for a provider whose probe may fail, which no event announces.
    fn polls(&self) -> bool {
        let mut providers = self.engine.facts().providers.values();
        !DAEMON && providers.any(|provider| provider.probing && !provider.settled())
    }

    /// Looks for probes that have failed.
    fn poll(&mut self) {
        if self.polls() {
            let mut changes = Vec::new();
            self.drivers(&mut changes);
            if !changes.is_empty() {
                self.follow((now(), Event::Changed(changes)));
                self.finish();
            }
        }
    }

    /// Does what the time has come for.
    pub fn wake(&mut self) {
        if self.wake.take_if(|wake| *wake <= now()).is_some() {
            self.follow((now(), Event::Woken));
            self.finish();
        }
    }

    /// Keeps what an event of the kernel tells, as far as it matters.
    pub fn notice(&self, received: Received<'_>, noticed: &mut Noticed) {
        let Received::Event(event) = received else {
            // The events that are still queued tell nothing more.
            noticed.all = true;
            return;
        };
        let change = match relevant(&event, self.engine.facts(), self.engine.policy()) {
            Some(Relevant::Heap(heap)) => Change::Heap(heap),
            Some(Relevant::Binding(device)) if DAEMON => Change::Binding(device),
            Some(Relevant::Demand(device)) if DAEMON => Change::Demand(device),
            Some(Relevant::Tee) => {
                // A TEE is the last that OP-TEE's driver registers.
                (noticed.tees, noticed.drivers) = (true, true);
                return;
            }
            Some(Relevant::Driver) => {
                noticed.drivers = true;
                return;
            }
            // Its registration has probed devices, and may have failed to.
            Some(Relevant::Registered) => {
                noticed.drivers |= !DAEMON;
                return;
            }
            Some(Relevant::Module) if !DAEMON => return,
            Some(Relevant::Device | Relevant::Module) => {
                noticed.all = true;
                return;
            }
            None | Some(Relevant::Binding(_) | Relevant::Demand(_)) => return,
        };
        if !DAEMON || !noticed.changes.contains(&change) {
            noticed.changes.push(change);
        }
    }

    /// Follows what was noticed.
    pub fn heed(&mut self, noticed: Noticed) {
        let Noticed { mut changes, tees, drivers, all } = noticed;
        let mut problems = Vec::new();
        if all {
            let policy = self.engine.policy();
            changes.retain(|change| matches!(change, Change::Binding(_) | Change::Demand(_)));
            changes.push(Change::All(Box::new(self.facts(policy, &mut problems))));
        } else {
            if tees {
                changes.push(Change::Tees(tee::read(&self.root, &mut problems)));
            }
            if drivers {
                self.drivers(&mut changes);
            }
        }
        for problem in problems {
            self.refuse(problem);
        }
        if !changes.is_empty() {
            self.follow((now(), Event::Changed(changes)));
            self.finish();
        }
    }

    /// All facts anew for a policy, with those that do not change.
    fn facts(&self, policy: &Policy, problems: &mut Vec<Problem>) -> Facts {
        let known = self.engine.facts();
        let kernel = kernel::read(&self.root, problems);
        let mut facts = read_facts(&self.root, kernel, policy, DAEMON, problems);
        facts.platform = known.platform.clone();
        facts.firmware = known.firmware.clone();
        facts
    }

    /// Which GPUs and providers have got or lost their driver, and which providers have failed to
    /// probe.
    fn drivers(&mut self, changes: &mut Vec<Change>) {
        let known = self.engine.facts();
        for (device, gpu) in &known.gpus {
            let driver = devices::gpu_driver(&self.root, device);
            if driver != gpu.driver {
                let compatible = gpu.compatible.clone();
                let gpu = Gpu { compatible, driver, ..Gpu::default() };
                changes.push(Change::Gpu(device.clone(), Some(gpu)));
            }
        }
        let mut settled = false;
        for (device, known) in &known.providers {
            let mut provider = devices::provider(&self.root, device, known);
            if !DAEMON && !known.settled() {
                Self::doubt(&mut self.suspects, device, &mut provider);
            }
            let seen = |one: &Provider| (one.driver.clone(), one.probing, one.failure.clone());
            if seen(&provider) == seen(known) {
                continue;
            }
            if let Some(failure) = provider.failure.as_ref().filter(|_| !known.settled()) {
                tell_failure(self.teller, device, failure);
            }
            settled |= provider.driver.is_some() && !known.settled();
            changes.push(Change::Provider(device.clone(), Some(provider)));
        }
        if settled {
            // What a probe has registered is there before the driver is bound, and the events of that
            // may still be queued.
            let mut ignored = Vec::new();
            let heaps = heaps::read(&self.root, &mut ignored);
            let new = heaps.difference(&known.heaps).cloned().map(Change::Heap);
            let tees = Change::Tees(tee::read(&self.root, &mut ignored));
            changes.splice(0..0, new.chain([tees]));
        }
    }

    /// Writes `/run/protheap`. A read-only or full `/run` does not stop a boot.
    fn report(&mut self) {
        // Who made the bindings has told more of them than this run could.
        let is_adopted = |binding: &Binding| binding.reason() == Some(Reason::Adopted);
        let has_no_news =
            |run: &RunDirectory| run.has_state() && self.engine.bindings().values().all(is_adopted);
        if !DAEMON && self.run.as_ref().is_none_or(has_no_news) {
            return;
        }
        let written_by = [self.teller.program, env!("CARGO_PKG_VERSION")].join(" ");
        let report = Report::new(&self.engine, &self.refused, &written_by);
        // Only a writer can fail, and this one does not.
        let json = serde_json::to_string(&report).unwrap_or_default();
        let json = sanitize::json(&json).into_bytes();
        let heaps = report.heaps().clone();
        if DAEMON {
            if self.written == json {
                return;
            }
            self.make_run();
        }
        let Some(run) = &self.run else { return };
        let problem = run.write_state(&json).and_then(|()| run.link_heaps(&heaps)).err();
        match &problem {
            None if DAEMON => self.written = json,
            Some(problem) if self.unwritten.as_ref() != Some(problem) => {
                self.teller.tell(&Told::Other(format_args!("{problem}")));
            }
            _ => {}
        }
        self.unwritten = problem;
    }
}

impl Binder<false> {
    /// Binds. True: some GPU failed.
    ///
    /// # Errors
    ///
    /// The kernel's events cannot be had any more.
    pub fn run(mut self, mut uevents: Uevents) -> Result<bool> {
        self.start();
        while !self.engine.is_done() {
            if uevents.wait(self.rest())? {
                let mut noticed = Noticed::default();
                while let Some(received) = uevents.receive()? {
                    self.notice(received, &mut noticed);
                }
                self.heed(noticed);
            }
            self.poll();
            self.wake();
        }
        self.tell_ready();
        let mut states = self.engine.bindings().values().map(Binding::state);
        let is_bound = |state| matches!(state, State::Bound | State::InUse);
        // What is only named to a driver is not in the kernel yet.
        if self.module.is_some()
            && states.clone().all(is_bound)
            && let (Some(run), Some(lock)) = (&self.run, &self.lock)
            && let Err(problem) = run.say_bound(lock)
        {
            self.teller.tell(&Told::Other(format_args!("{problem}")));
        }
        Ok(states.any(|state| state == State::Failed))
    }
}

impl Binder<true> {
    /// Takes over the story that an earlier program of this boot has told. What it says is for
    /// people; what is bound is for the kernel to say.
    pub fn recall(&mut self) {
        let read = self.root.read(STATE, LONGEST_STATE, &mut Vec::new());
        // A program of another version may have written it: what cannot be read is not needed.
        if let Some(past) = read.and_then(|json| serde_json::from_slice(&json).ok()) {
            self.engine.recall(&past, now());
        }
    }

    /// What is known now.
    pub fn engine(&self) -> &Engine<true> {
        &self.engine
    }

    /// What could not be used: policy files, and all else.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Reads the policies again. They change as a whole; what a file said before it became bad still
    /// counts. True: something is different now.
    pub fn reload(&mut self) -> bool {
        let mut problems = Vec::new();
        let lockdown = kernel::read(&self.root, &mut problems).lockdown;
        let platform = &self.engine.facts().platform;
        let (policy, refused) =
            read_policy(&self.root, self.teller, platform, lockdown, Some(&mut self.last_good));
        let changed = policy != *self.engine.policy();
        let different = changed || self.refused.get(..self.files) != Some(&refused);
        let files = std::mem::replace(&mut self.files, refused.len());
        self.refused.splice(..files, refused);
        if changed {
            let mut facts = self.facts(&policy, &mut problems);
            read_firmware(&self.root, &policy, true, &mut facts, &mut problems);
            let changes = vec![Change::All(Box::new(facts)), Change::Policy(Box::new(policy))];
            self.follow((now(), Event::Changed(changes)));
        }
        for problem in problems {
            self.refuse(problem);
        }
        // `/run/protheap` may have been taken away.
        self.written.clear();
        self.finish();
        different
    }

    /// Decides anew for a GPU, and judges every heap anew.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    pub fn rebind(&mut self, device: &DeviceName) -> Result<(), NoRebind> {
        // A driver may have come or gone, and its event be on the way.
        let mut changes = Vec::new();
        self.drivers(&mut changes);
        changes.push(Change::Binding(device.clone()));
        self.follow((now(), Event::Changed(changes)));
        self.engine.may_rebind(device)?;
        self.follow((now(), Event::Rebind(device.clone())));
        self.finish();
        Ok(())
    }

    /// Binds `device` as if a protected group were being created.
    ///
    /// # Errors
    ///
    /// The reason why no heap is bound afterwards.
    pub fn demand(&mut self, device: &DeviceName) -> Result<(), NoDemand> {
        let demand = vec![Change::Demand(device.clone())];
        self.follow((now(), Event::Changed(demand)));
        self.finish();
        self.engine.demanded(device)
    }
}

/// Suspend buffers that the kernel had no memory for when it committed `request`. `None` if it has all
/// of them, or if the GPU driver has changed their size meanwhile: then their number says nothing.
fn kernel_shortage(
    root: &Root,
    binding: &module::Binding,
    request: &Request,
) -> Result<Option<Shortage>> {
    let allocated = binding.suspend_buffers()?;
    let wanted = request.suspend_count;
    if allocated >= wanted || binding.suspend_bytes()? != request.suspend_bytes {
        return Ok(None);
    }
    let why = Heap::exhausted(root, &request.heap, request.suspend_bytes).to_string();
    Ok(Some(Shortage { allocated, wanted, why }))
}

/// What an event is about, as far as it matters.
enum Relevant {
    Heap(HeapName),
    Tee,
    Driver,
    /// A driver was registered.
    Registered,
    Device,
    /// A binding of this GPU changed, or wants something: a hint, the attributes are the truth.
    Binding(DeviceName),
    /// A protected group waits for the binding of this GPU.
    Demand(DeviceName),
    /// protheap.ko was loaded or unloaded.
    Module,
}

fn relevant(event: &Uevent<'_>, facts: &Facts, policy: &Policy) -> Option<Relevant> {
    match (event.subsystem, event.action) {
        ("dma_heap", "add") => HeapName::new(event.device()).ok().map(Relevant::Heap),
        ("tee", "add" | "remove") => Some(Relevant::Tee),
        ("drivers", "add") => Some(Relevant::Registered),
        ("misc", _) if event.devname == Some("protheap") => {
            Some(match event.variable("PROTHEAP_DEVICE") {
                Some(device) => {
                    let device = DeviceName::new(device).ok()?;
                    match event.variable("PROTHEAP_WANT") {
                        Some("binding") => Relevant::Demand(device),
                        _ => Relevant::Binding(device),
                    }
                }
                None => Relevant::Module,
            })
        }
        ("platform" | "arm_ffa", action) => {
            let device = DeviceName::new(event.device()).ok()?;
            let known = facts.gpus.contains_key(&device) || facts.providers.contains_key(&device);
            match (action, known) {
                // What its parameter says can be known now.
                ("bind" | "unbind", true) if facts.kernel.parameter.is_some() => {
                    Some(Relevant::Device)
                }
                ("bind" | "unbind", true) => Some(Relevant::Driver),
                ("remove", true) => Some(Relevant::Device),
                ("add", false) if devices::may_matter(event, &policy.provider_compatibles()) => {
                    Some(Relevant::Device)
                }
                _ => None,
            }
        }
        _ => None,
    }
}
