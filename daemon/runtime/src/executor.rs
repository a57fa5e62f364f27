// SPDX-License-Identifier: MIT OR Apache-2.0

//! Executes the actions of the engine, and returns their results to it as events.

mod allocate;
mod commit;
mod early;
mod events;
mod hold;
mod live;
mod probes;
mod publish;

use std::collections::BTreeMap;
use std::time::Duration;

use protheap_board::module::{self, Module};
use protheap_board::root::Root;
use protheap_board::run::{Lock, RunDirectory};
use protheap_board::{Problem, clock, panthor};
use protheap_core::engine::{Action, Engine, Event, Monotonic, Opened, Supplied};
use protheap_core::facts::{Facts, Parameter, Source, Verdict};
use protheap_core::state_file::Refused;
use protheap_policy::cascade::LastGood;
use protheap_policy::name::{DeviceName, HeapName};

use crate::log::Log;
use crate::survey::{Survey, closed_by, log_problem};
use crate::{Result, ready};
use allocate::Buffers;
pub use events::Collected;
use probes::{POLL, log_failure};

/// The binder of all GPUs of this machine: the early one, or a daemon.
#[derive(Debug)]
pub struct Executor<const DAEMON: bool> {
    root: Root,
    log: Log,
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
    /// Providers whose probe seems to have failed, and since when; see [`Executor::doubt`].
    suspects: BTreeMap<DeviceName, Monotonic>,
    /// Who started us was told that the boot may go on.
    ready: bool,
}

fn now() -> Monotonic {
    Monotonic(clock::now_us())
}

impl<const DAEMON: bool> Executor<DAEMON> {
    /// Looks at the machine. Nothing is held yet. What happens from now on must not be missed: the
    /// kernel's events are to be listened to already.
    ///
    /// # Errors
    ///
    /// protheap.ko is there and cannot be used.
    pub fn new(root: Root, log: Log) -> Result<Self> {
        let mut last_good = LastGood::default();
        let mut look = || Survey::of(&root, log, DAEMON.then_some(&mut last_good));
        let mut survey = look();
        // Nothing is left behind on a machine without a GPU.
        let (mut run, mut lock) = (None, None);
        if !DAEMON && !survey.facts.gpus.is_empty() {
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
            if !DAEMON && provider.failure.as_ref().is_some_and(|failure| !failure.certain) {
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
            // An earlier run may have decided otherwise.
            problems.extend(panthor::forget_heap(&root).err());
            refused.extend(problems.into_iter().map(|problem| log_problem(log, problem)));
        }
        let module = match facts.kernel.module {
            Some(_) if !DAEMON => Some(Module::open(&root)?),
            _ => None,
        };
        Ok(Self {
            root,
            log,
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

    /// No window of the kernel keeps the driver from probing without its heap: the boot has to wait.
    fn withholds(facts: &Facts) -> bool {
        !DAEMON && facts.kernel.parameter == Some(Parameter::Open)
    }

    /// Waits for another binder that is at work, so that two never hand over buffers to one
    /// binding. True: there was one.
    fn run_alone(
        root: &Root,
        log: Log,
        withholds: bool,
    ) -> Result<(RunDirectory, Lock, bool), Problem> {
        let run = RunDirectory::open(root)?;
        let mut waited = false;
        let lock = run.lock(|| {
            waited = true;
            // The windows are the other one's affair: the boot may go on.
            if !withholds {
                ready::notify(log);
            }
        })?;
        Ok((run, lock, waited))
    }

    /// Begins, and says so when the windows are open or bindings are taken over.
    pub fn start(&mut self) {
        let mut came = self.handle((now(), Event::Started));
        if DAEMON {
            // It has taken over what there is when it has looked.
            came = came.into_iter().flat_map(|event| self.handle(event)).collect();
            // Who waits for it to be ready reads what it writes.
            self.publish();
        }
        if !Self::withholds(self.engine.facts()) {
            self.report_ready();
        }
        for event in came {
            self.process(event);
        }
        self.finish();
    }

    /// Says that the boot may go on, once.
    fn report_ready(&mut self) {
        if !self.ready {
            ready::notify(self.log);
            self.ready = true;
        }
    }

    /// Nothing more is to be done by now.
    fn finish(&mut self) {
        if DAEMON {
            (self.lock, self.module) = (None, None);
        }
        self.publish();
        if DAEMON {
            self.run = None;
        }
    }

    /// Takes an event and all that comes of it, before anything else: what the kernel was seen to
    /// have is true only until the next action.
    fn process(&mut self, event: (Monotonic, Event)) {
        for came in self.handle(event) {
            self.process(came);
        }
    }

    /// Takes one event, and returns what came of its actions.
    fn handle(&mut self, (at, event): (Monotonic, Event)) -> Vec<(Monotonic, Event)> {
        let mut came = Vec::new();
        for action in self.engine.on(event, at) {
            came.extend(self.execute(action));
        }
        came
    }

    /// Carries an action out, and returns what came of it and when.
    fn execute(&mut self, action: Action) -> Option<(Monotonic, Event)> {
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
                            self.log.gpu(&device, format_args!("{}: {why}", request.heap));
                        }
                        _ => self.log.gpu(&device, format_args!("{}: {error}", request.heap)),
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
                self.log.gpu(&device, format_args!("{text}"));
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
            let (log, ready) = (self.log, self.ready);
            // Another program is at work, which is enough for the boot to go on.
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
        self.module_to_read()
    }

    fn module_to_read(&mut self) -> Result<&Module> {
        if self.module.is_none() && DAEMON {
            self.module = Some(Module::open(&self.root)?);
        }
        Ok(self.module.as_ref().ok_or("protheap.ko is not loaded")?)
    }

    fn warn(&self, device: &DeviceName, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.log.gpu(device, format_args!("{what}: {error}"));
        }
    }

    /// How long nothing is to be done, if nothing happens.
    pub fn rest(&self) -> Option<Duration> {
        let wake = self.wake.map(|wake| wake.0.saturating_sub(now().0));
        let rest = if self.polls() { Some(wake.unwrap_or(POLL).min(POLL)) } else { wake };
        rest.map(Duration::from_micros)
    }

    /// Does what the time has come for.
    pub fn wake(&mut self) {
        if self.wake.take_if(|wake| *wake <= now()).is_some() {
            self.process((now(), Event::Woken));
            self.finish();
        }
    }
}
