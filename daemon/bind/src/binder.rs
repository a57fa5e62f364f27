// SPDX-License-Identifier: MIT OR Apache-2.0

//! Carries out what the engine asks for, and tells it what came of that.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protheap_board::heaps::{AllocateError, Buffer, Heap};
use protheap_board::module::{BindingState, Commit, Kind, Module, Setup, Window};
use protheap_board::root::Root;
use protheap_board::run::{Lock, RunDirectory};
use protheap_board::uevents::{Received, Uevent, Uevents};
use protheap_board::{Problem, clock, devices, tee};
use protheap_core::decision::Request;
use protheap_core::engine::{Action, Binding, Change, Engine, Event, Monotonic, Opened};
use protheap_core::facts::{Facts, Gpu, Protection, Provider, Verdict};
use protheap_core::name::{DeviceName, HeapName};
use protheap_core::report::{Refused, Report};
use protheap_core::state::{Reason, State};

use crate::survey::{Survey, read_facts, tell};
use crate::{NAME, Result, ready};

/// The binder of all GPUs of this machine.
#[derive(Debug)]
pub(crate) struct Binder {
    root: Root,
    /// `/run/protheap`, where it can be written.
    run: Option<(RunDirectory, Lock)>,
    uevents: Uevents,
    module: Option<Module>,
    engine: Engine,
    refused: Vec<Refused>,
    /// What was allocated for a GPU and not handed over yet.
    buffers: BTreeMap<DeviceName, Buffers>,
    wake: Option<Monotonic>,
}

#[derive(Debug)]
struct Buffers {
    firmware: Buffer,
    suspend: Vec<Buffer>,
}

/// Waits for another binder that is at work, so that two never hand over buffers to one binding.
/// True: there was one.
fn run_alone(root: &Root) -> Result<(RunDirectory, Lock, bool), Problem> {
    let run = RunDirectory::open(root)?;
    let mut waited = false;
    let lock = run.lock(|| {
        waited = true;
        // The windows are the other one's affair: the boot may go on.
        ready::tell();
    })?;
    Ok((run, lock, waited))
}

fn now() -> Monotonic {
    Monotonic(clock::now_us())
}

impl Binder {
    /// Looks at the machine. Nothing is held yet.
    pub(crate) fn new(root: Root) -> Result<Self> {
        // What happens while facts are read must not be missed.
        let uevents = Uevents::open()?;
        let mut survey = Survey::of(&root);
        // Nothing is left behind on a machine without a GPU.
        let mut run = None;
        if !survey.facts.gpus.is_empty() {
            match run_alone(&root) {
                Ok((directory, lock, waited)) => {
                    run = Some((directory, lock));
                    if waited {
                        survey = Survey::of(&root);
                    }
                }
                Err(problem) => survey.refused.push(tell(problem)),
            }
        }
        let Survey { policy, facts, refused } = survey;
        let module = match facts.kernel.module {
            Some(_) => Some(Module::open(&root)?),
            None => None,
        };
        let engine = Engine::new(policy, facts);
        let buffers = BTreeMap::new();
        Ok(Self { root, run, uevents, module, engine, refused, buffers, wake: None })
    }

    /// Binds. True: some GPU failed.
    pub(crate) fn run(mut self) -> Result<bool> {
        let mut events = VecDeque::from([(now(), Event::Started)]);
        let mut ready = false;
        loop {
            while let Some((at, event)) = events.pop_front() {
                for action in self.engine.on(event, at) {
                    events.extend(self.carry_out(action));
                }
                // The first event's actions have opened every window.
                if !ready {
                    ready = true;
                    ready::tell();
                }
            }
            self.report()?;
            if self.engine.is_done() {
                break;
            }
            events.extend(self.wait()?);
        }
        let states = self.engine.bindings().values().map(Binding::state);
        Ok(states.into_iter().any(|state| state == State::Failed))
    }

    /// Carries an action out, and returns what came of it and when.
    fn carry_out(&mut self, action: Action) -> Option<(Monotonic, Event)> {
        match action {
            Action::Open(device, hold) => {
                let opened = self.open(&device, hold);
                let opened = opened.unwrap_or_else(|error| Opened::Refused(error.to_string()));
                Some((now(), Event::Opened(device, opened)))
            }
            Action::Try(device, request) => {
                let verdict = self.allocate(&device, &request);
                Some((now(), Event::Tried(device, request.heap, verdict)))
            }
            Action::Bind(device, request) => {
                let (at, bound) = match self.bind(&device, &request) {
                    Ok((at, in_use)) => (at, Ok(in_use)),
                    Err(error) => (now(), Err(error.to_string())),
                };
                Some((at, Event::Bound(device, bound)))
            }
            Action::Release(device) => {
                self.buffers.remove(&device);
                let released = self.release(&device);
                self.warn(&device, "releasing the GPU; its window ends by itself", released);
                None
            }
            Action::Remove(device) => {
                let removed = self.module().and_then(|module| Ok(module.remove(&device)?));
                self.warn(&device, "taking away a binding that nobody would use", removed);
                None
            }
            Action::WakeAt(at) => {
                self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
                None
            }
        }
    }

    fn module(&self) -> Result<&Module> {
        Ok(self.module.as_ref().ok_or("protheap.ko is not loaded")?)
    }

    fn warn(&self, device: &DeviceName, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            eprintln!("protheap-bind: {device}: {what}: {error}");
        }
    }

    fn open(&self, device: &DeviceName, hold: u32) -> Result<Opened> {
        let module = self.module()?;
        let until = |left: u32| Opened::Window(Monotonic(now().0 + u64::from(left) * 1_000));
        let mut binding = module.create(device)?;
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
                state @ (BindingState::Held | BindingState::Open) => {
                    // The heap may be too small for what an earlier run left and this one needs.
                    binding.forget_buffers()?;
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

    /// Allocates everything that the GPU needs, and judges it by its first buffer.
    fn allocate(&mut self, device: &DeviceName, request: &Request) -> Verdict {
        let told = |error: AllocateError| {
            eprintln!("protheap-bind: {device}: {error}");
            error.verdict()
        };
        let heap = match Heap::open(&self.root, &request.heap) {
            Ok(heap) => heap,
            Err(error) => return told(error),
        };
        let allocate = |bytes| heap.allocate(bytes).map_err(told);
        let firmware = match allocate(request.firmware_bytes) {
            Ok(buffer) => buffer,
            Err(verdict) => return verdict,
        };
        let (protection, exporter) = firmware.judge();
        if protection != Protection::None || request.allow_unprotected {
            let suspend = (0..request.suspend_count).map(|_| allocate(request.suspend_bytes));
            match suspend.collect() {
                Ok(suspend) => {
                    self.buffers.insert(device.clone(), Buffers { firmware, suspend });
                }
                Err(verdict) => return verdict,
            }
        }
        Verdict::Allocated { protection, exporter }
    }

    /// Hands the buffers over and commits. Returns when, and whether the GPU driver has taken some
    /// already.
    fn bind(&mut self, device: &DeviceName, request: &Request) -> Result<(Monotonic, bool)> {
        let Buffers { firmware, suspend } =
            self.buffers.remove(device).ok_or("nothing was allocated")?;
        let module = self.module()?;
        let binding = module.binding(device)?.ok_or("the binding was withdrawn")?;
        binding.set_up(&Setup {
            heap: &request.heap,
            source: "handed",
            firmware_bytes_wanted: request.firmware_bytes,
            suspend_bytes: request.suspend_bytes,
            suspend_count: request.suspend_count,
            allow_unprotected: request.allow_unprotected,
            origin: &request.origin,
        })?;
        module.hand_over(device, Kind::Firmware, &firmware)?;
        for buffer in &suspend {
            module.hand_over(device, Kind::Suspend, buffer)?;
        }
        // The GPU may have probed before the write returns.
        let at = now();
        binding.commit(Commit::Bind)?;
        if request.allow_unprotected {
            eprintln!(
                "protheap-bind: {device}: bound {} for bring-up: {} has allow-unprotected",
                request.heap, request.origin
            );
        }
        Ok((at, binding.state()? == BindingState::InUse))
    }

    /// Closes the window, and leaves in the kernel why.
    fn release(&self, device: &DeviceName) -> Result<()> {
        if let Some(binding) = self.module()?.binding(device)? {
            let reason = self.engine.bindings().get(device).and_then(Binding::reason);
            binding.set_origin(reason.map_or("", Reason::as_str))?;
            binding.commit(Commit::None)?;
        }
        Ok(())
    }

    /// Waits until a fact changes or the engine wants to be woken.
    fn wait(&mut self) -> Result<Vec<(Monotonic, Event)>> {
        let mut changes = Vec::new();
        while changes.is_empty() {
            let timeout = self.wake.map(|wake| wake.0.saturating_sub(now().0));
            if timeout == Some(0) {
                self.wake = None;
                return Ok(vec![(now(), Event::Woken)]);
            }
            if self.uevents.wait(timeout.map(Duration::from_micros))? {
                changes = self.receive()?;
            }
        }
        let at = now();
        Ok(changes.into_iter().map(|change| (at, Event::Changed(change))).collect())
    }

    /// Takes all events that are there.
    fn receive(&mut self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut problems = Vec::new();
        let providers = self.engine.policy().provider_compatibles();
        let providers: Vec<&str> = providers.iter().map(String::as_str).collect();
        loop {
            let change = match self.uevents.receive()? {
                None => break,
                Some(Received::Lost) => {
                    // The events that are still queued tell nothing more.
                    let facts = read_facts(&self.root, self.engine.policy(), &mut problems);
                    changes = vec![self.all(facts)];
                    continue;
                }
                Some(Received::Event(event)) => relevant(&event, &self.engine, &providers),
            };
            match change {
                None => {}
                Some(Relevant::Heap(heap)) => changes.push(Change::Heap(heap)),
                Some(Relevant::Tee) => {
                    changes.push(Change::Tees(tee::read(&self.root, &mut problems)));
                    // A TEE is the last that OP-TEE's driver registers.
                    self.drivers(&mut changes);
                }
                Some(Relevant::Driver) => self.drivers(&mut changes),
                Some(Relevant::Device) => {
                    let facts = read_facts(&self.root, self.engine.policy(), &mut problems);
                    changes.push(self.all(facts));
                }
            }
        }
        self.refused.extend(problems.into_iter().map(tell));
        Ok(changes)
    }

    /// All facts anew, with those that do not change.
    fn all(&self, mut facts: Facts) -> Change {
        let known = self.engine.facts();
        facts.platform = known.platform.clone();
        facts.firmware = known.firmware.clone();
        Change::All(Box::new(facts))
    }

    /// Which GPUs and providers have got or lost their driver.
    fn drivers(&self, changes: &mut Vec<Change>) {
        let known = self.engine.facts();
        for (device, gpu) in &known.gpus {
            let driver = devices::gpu_driver(&self.root, device);
            if driver != gpu.driver {
                let compatible = gpu.compatible.clone();
                let gpu = Gpu { compatible, driver, ..Gpu::default() };
                changes.push(Change::Gpu(device.clone(), Some(gpu)));
            }
        }
        for (device, provider) in &known.providers {
            let (driver, loadable) = devices::provider_driver(&self.root, device, provider);
            if driver != provider.driver {
                let compatible = provider.compatible.clone();
                let provider = Provider { compatible, driver, loadable };
                changes.push(Change::Provider(device.clone(), Some(provider)));
            }
        }
    }

    /// Writes `/run/protheap`. A read-only or full `/run` does not stop a boot.
    fn report(&mut self) -> Result<()> {
        let Some((run, _)) = &self.run else { return Ok(()) };
        let report = Report::new(&self.engine, &self.refused, NAME);
        let json = serde_json::to_vec(&report)?;
        let written = run.write_state(&json);
        if let Err(problem) = written.and_then(|()| run.link_heaps(report.heaps())) {
            eprintln!("protheap-bind: {problem}");
        }
        Ok(())
    }
}

/// What an event is about, as far as it matters.
enum Relevant {
    Heap(HeapName),
    Tee,
    Driver,
    Device,
}

fn relevant(event: &Uevent<'_>, engine: &Engine, providers: &[&str]) -> Option<Relevant> {
    match (event.subsystem, event.action) {
        ("dma_heap", "add") => HeapName::new(event.device()).ok().map(Relevant::Heap),
        ("tee", "add" | "remove") => Some(Relevant::Tee),
        ("platform" | "arm_ffa", action) => {
            let device = DeviceName::new(event.device()).ok()?;
            let facts = engine.facts();
            let known = facts.gpus.contains_key(&device) || facts.providers.contains_key(&device);
            match (action, known) {
                ("bind" | "unbind", true) => Some(Relevant::Driver),
                ("remove", true) => Some(Relevant::Device),
                ("add", false) if devices::may_matter(event, providers) => Some(Relevant::Device),
                _ => None,
            }
        }
        _ => None,
    }
}
