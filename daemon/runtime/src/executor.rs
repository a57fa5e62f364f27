// SPDX-License-Identifier: MIT OR Apache-2.0

//! Executes the actions of the engine, and returns their results to it as events.

mod allocate;
mod commit;
mod early;
mod events;
mod hold;
mod ioctl;
mod live;
mod probes;
mod publish;

use std::collections::BTreeMap;
use std::time::Duration;

use protheap_board::module::Module;
use protheap_board::root::Root;
use protheap_board::run::{Lock, RunDirectory};
use protheap_board::{Problem, clock, panthor};
use protheap_core::engine::{Action, Binder, Event, Keeper, Machine, Monotonic, Opened, Supplied};
use protheap_core::facts::{Delivery, Facts, Parameter, Source};
use protheap_core::state_file::Refused;
use protheap_policy::cascade::LastGood;
use protheap_policy::name::{DeviceName, HeapName};

use crate::kernel::Kernel;
use crate::log::Log;
use crate::survey::{Survey, closed_by, log_problem};
use crate::{Result, ready};
use allocate::Buffers;
use commit::bound_event;
pub use events::Collected;
use ioctl::Lent;
use probes::{POLL, log_failure};

/// Binds all GPUs of this machine, as the early binder or as a daemon.
#[derive(Debug)]
pub struct Executor<M, K: Kernel> {
    root: Root,
    log: Log,
    /// `/run/protheap`, if it can be written. A daemon keeps it open only during an action, because
    /// the directory may be removed.
    run: Option<RunDirectory>,
    /// Lock against other programs. The binder holds it until it exits, a daemon only during an
    /// action.
    lock: Option<Lock>,
    /// protheap.ko. A daemon keeps it open only during an action, because an open file prevents the
    /// module from being unloaded.
    module: Option<K>,
    engine: M,
    /// Rejected files and attributes. Those about policies come first.
    refused: Vec<Refused>,
    /// Number of rejected items that concern policies.
    files: usize,
    /// Last valid content of policy files. Only a daemon uses it.
    last_good: LastGood,
    /// Content that a daemon wrote last.
    written: Vec<u8>,
    /// Error of the last write, already logged.
    unwritten: Option<Problem>,
    /// Buffers that were allocated and not handed over yet, by GPU.
    buffers: Vec<(DeviceName, Buffers<K::Buffer>)>,
    /// Origins of the buffers that were set by ioctl, by GPU.
    lent: BTreeMap<DeviceName, Lent>,
    wake: Option<Monotonic>,
    /// Providers whose probe seems to have failed, and since when; see [`Executor::doubt`].
    suspects: BTreeMap<DeviceName, Monotonic>,
    /// Whether readiness was reported.
    ready: bool,
}

/// The executor of the early binder.
pub type EarlyExecutor = Executor<Binder, Module>;

/// The executor of the daemon.
pub type DaemonExecutor = Executor<Keeper, Module>;

fn now() -> Monotonic {
    Monotonic(clock::now_us())
}

impl<M: Machine, K: Kernel> Executor<M, K> {
    /// Reads the policy and the facts. No GPU is held yet. The caller must already receive the
    /// kernel's events, so that none is missed from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if protheap.ko is loaded and cannot be used.
    pub fn new(root: Root, log: Log) -> Result<Self> {
        let mut last_good = LastGood::default();
        let mut look = || Survey::of(&root, log, M::KEEPS.then_some(&mut last_good));
        let mut survey = look();
        // On a machine without a GPU, no directory is created.
        let (mut run, mut lock) = (None, None);
        if !M::KEEPS && !survey.facts.gpus.is_empty() {
            match Self::run_alone(&root, log, Self::withholds(&survey.facts)) {
                Ok((directory, taken, waited)) => {
                    (run, lock) = (Some(directory), Some(taken));
                    if waited {
                        survey = look();
                    }
                }
                Err(problem) => survey.refused.push(log_problem(log, problem)),
            }
        }
        let Survey { mut policy, mut facts, mut refused, files } = survey;
        let mut suspects = BTreeMap::new();
        for (name, provider) in &mut facts.providers {
            if !M::KEEPS && provider.failure.as_ref().is_some_and(|failure| !failure.certain) {
                Self::doubt(&mut suspects, name, provider);
            }
            if let Some(failure) = &provider.failure
                && !facts.gpus.is_empty()
            {
                log_failure(log, name, failure);
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
            // An earlier run may have named another heap.
            problems.extend(panthor::forget_heap(&root).err());
            refused.extend(problems.into_iter().map(|problem| log_problem(log, problem)));
        }
        let module = match facts.kernel.module {
            Some(_) if !M::KEEPS => Some(K::open(&root)?),
            _ => None,
        };
        Ok(Self {
            root,
            log,
            run,
            lock,
            module,
            engine: M::new(policy, facts),
            refused,
            files,
            last_good,
            written: Vec::new(),
            unwritten: None,
            buffers: Vec::new(),
            lent: BTreeMap::new(),
            wake: None,
            suspects,
            ready: false,
        })
    }

    /// Returns whether the binder must delay the boot: the kernel cannot hold a driver that takes
    /// its heap from a parameter.
    fn withholds(facts: &Facts) -> bool {
        !M::KEEPS && facts.kernel.parameter == Some(Parameter::Open)
    }

    /// Waits for another running binder, so that two never hand over buffers to one binding.
    /// Returns whether there was one.
    fn run_alone(
        root: &Root,
        log: Log,
        withholds: bool,
    ) -> Result<(RunDirectory, Lock, bool), Problem> {
        let run = RunDirectory::open(root)?;
        let mut waited = false;
        let lock = run.lock(|| {
            waited = true;
            // The other binder starts the holds, so that the boot may continue.
            if !withholds {
                ready::notify(log);
            }
        })?;
        Ok((run, lock, waited))
    }

    /// Starts the engine. Reports readiness when the holds have started or bindings are adopted.
    pub fn start(&mut self) {
        let mut results = self.handle((now(), Event::Started));
        if M::KEEPS {
            // Bindings are adopted once they have been read.
            results = results.into_iter().flat_map(|event| self.handle(event)).collect();
            // Programs that are started after the daemon must not see the reset that follows when a
            // buffer is set by ioctl.
            while self.engine.facts().delivery() == Delivery::Ioctl && !results.is_empty() {
                results = results.into_iter().flat_map(|event| self.handle(event)).collect();
            }
            // Programs that wait for readiness read the state file.
            self.publish();
        }
        if !Self::withholds(self.engine.facts()) {
            self.report_ready();
        }
        for event in results {
            self.process(event);
        }
        self.finish();
    }

    /// Reports readiness, once.
    fn report_ready(&mut self) {
        if !self.ready {
            ready::notify(self.log);
            self.ready = true;
        }
    }

    /// Publishes the state after all pending actions, and closes the daemon's files.
    fn finish(&mut self) {
        if M::KEEPS {
            (self.lock, self.module) = (None, None);
        }
        self.publish();
        if M::KEEPS {
            self.run = None;
        }
    }

    /// Processes an event, and then the results of its actions before any other event: a state read
    /// from the kernel is valid only until the next action.
    fn process(&mut self, event: (Monotonic, Event)) {
        for result in self.handle(event) {
            self.process(result);
        }
    }

    /// Processes one event, and returns the results of its actions.
    fn handle(&mut self, (at, event): (Monotonic, Event)) -> Vec<(Monotonic, Event)> {
        let mut results = Vec::new();
        for action in self.engine.on(event, at) {
            results.extend(self.execute(action));
        }
        results
    }

    /// Executes an action, and returns its result and the time of the result.
    fn execute(&mut self, action: Action) -> Option<(Monotonic, Event)> {
        match action {
            Action::Open(device, hold) => {
                let opened = self.open(&device, hold);
                let opened = opened.unwrap_or_else(|error| Opened::Refused(error.to_string()));
                Some((now(), Event::Opened(device, opened)))
            }
            Action::Allocate(device, request) => {
                let (verdict, buffers) = self.allocate(&device, &request);
                self.buffers.extend(buffers.map(|buffers| (device.clone(), buffers)));
                Some((now(), Event::Allocated(device, request.heap, verdict)))
            }
            Action::Classify(device, request) => {
                let (verdict, _) = self.allocate(&device, &request);
                Some((now(), Event::Allocated(device, request.heap, verdict)))
            }
            Action::HandOver(device, request) => {
                let bound = match request.source {
                    Source::Ioctl => self.set_firmware(&device, &request),
                    _ => self.hand_over(&device, &request),
                };
                Some(bound_event(device, bound))
            }
            Action::Commit(device, request) => Some(self.commit(device, request)),
            Action::NameHeap(device, request) => {
                let bound = self.name_heap(&device, &request);
                Some(bound_event(device, bound))
            }
            Action::BindOnDemand(device) => {
                self.take_buffers(&device);
                let outcome = self.bind_on_demand(&device).map_err(|error| error.to_string());
                Some((now(), Event::OnDemand(device, outcome)))
            }
            Action::EndHold(device, reason) => {
                self.take_buffers(&device);
                let ended = self.end_hold(&device, reason);
                self.warn(&device, "failed to end the hold, which expires by itself", ended);
                None
            }
            Action::Withdraw(device) => self.withdraw(&device),
            // Only the keeper requests these.
            Action::Read(_) | Action::Supply(..) | Action::Log(..) if !M::KEEPS => None,
            Action::Read(device) => Some((now(), self.read(device))),
            Action::Supply(device, heap) => {
                let supplied = self.supply(&device, &heap);
                let supplied =
                    supplied.unwrap_or_else(|error| Supplied::Refused(error.to_string()));
                Some((now(), Event::Supplied(device, supplied)))
            }
            Action::Log(device, text) => {
                self.log.gpu(&device, format_args!("{text}"));
                None
            }
            Action::WakeAt(at) => {
                self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
                None
            }
        }
    }

    /// Withdraws a binding. Returns a result only for a buffer that was set by ioctl.
    fn withdraw(&mut self, device: &DeviceName) -> Option<(Monotonic, Event)> {
        if let Some(withdrawn) = self.withdraw_ioctl(device) {
            return Some(withdrawn);
        }
        let removed = self.module().and_then(|module| match module.remove(device) {
            // Another program has already withdrawn it.
            Err(error) if error.is_absent() => Ok(()),
            removed => Ok(removed?),
        });
        self.warn(device, "failed to withdraw the binding", removed);
        None
    }

    /// Returns the module for a change, after acquiring the lock if `/run` is writable.
    fn module(&mut self) -> Result<&K> {
        self.acquire_lock();
        self.module_to_read()
    }

    /// Acquires the lock against other programs if `/run` is writable.
    fn acquire_lock(&mut self) {
        if M::KEEPS && self.lock.is_none() {
            self.make_run();
            let (log, ready) = (self.log, self.ready);
            // Another program is running, so that the boot may continue.
            let busy = || {
                if !ready {
                    ready::notify(log);
                }
            };
            match self.run.as_ref().map(|run| run.lock(busy)).transpose() {
                Ok(lock) => self.lock = lock,
                Err(problem) => self.refuse(problem),
            }
        }
    }

    fn module_to_read(&mut self) -> Result<&K> {
        if self.module.is_none() && M::KEEPS {
            self.module = Some(K::open(&self.root)?);
        }
        Ok(self.module.as_ref().ok_or("protheap.ko is not loaded")?)
    }

    fn warn(&self, device: &DeviceName, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.log.gpu(device, format_args!("{what}: {error}"));
        }
    }

    /// Returns the time until the next scheduled work, or `None` if only an event can cause any.
    pub fn rest(&self) -> Option<Duration> {
        let wake = self.wake.map(|wake| wake.0.saturating_sub(now().0));
        let rest = if self.polls() { Some(wake.unwrap_or(POLL).min(POLL)) } else { wake };
        rest.map(Duration::from_micros)
    }

    /// Carries out the work that is due.
    pub fn wake(&mut self) {
        if self.wake.take_if(|wake| *wake <= now()).is_some() {
            self.process((now(), Event::Woken));
            self.finish();
        }
    }
}

#[cfg(test)]
mod tests;
