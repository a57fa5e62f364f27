// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of a binder with two GPUs.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::engine::tests::{failed, free, passes, verdict};
use crate::facts::{HeapModule, Module, Parameter};

const HEAPS: [&str; 4] = ["high", "low", "protected,a", OF_MODULE];

/// Kernel's answer to [`Action::Open`], if the binder requests a hold.
#[derive(Debug, Clone, Copy)]
enum Opens {
    Held,
    NotHeld,
    AlreadyProbed,
    NoConsumer,
    Adopted(&'static str),
    Refused,
}

/// A random external event.
#[derive(Debug, Clone, Copy)]
enum Outside {
    Heap(&'static str),
    ProviderProbes(&'static str),
    ProviderFails(&'static str),
    /// A provider appears whose probe is pending.
    Appears(&'static str),
    /// The module of a heap enters a state.
    Module(HeapModule),
    /// A heap disappears, of which the kernel sends no event.
    Vanishes(&'static str),
    Probes(usize),
    Leaves(usize),
    Returns(usize),
    EventsAreLost,
}

fn heap_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(HEAPS.to_vec())
}

fn table() -> impl Strategy<Value = Table> {
    let heaps = proptest::sample::subsequence(HEAPS.to_vec(), 0..=HEAPS.len());
    let heaps = heaps.prop_shuffle();
    (heaps, 0u64..5, proptest::bool::weighted(0.2)).prop_map(|(heaps, hold, on_demand)| Table {
        heaps,
        hold,
        on_demand,
    })
}

fn opens() -> impl Strategy<Value = Opens> {
    prop_oneof![
        6 => Just(Opens::Held),
        1 => Just(Opens::NotHeld),
        1 => Just(Opens::AlreadyProbed),
        1 => Just(Opens::NoConsumer),
        1 => heap_name().prop_map(Opens::Adopted),
        1 => Just(Opens::Refused),
    ]
}

fn outside() -> impl Strategy<Value = Outside> {
    let provider = || proptest::sample::select(vec![SVP, OPTEE]);
    prop_oneof![
        4 => heap_name().prop_map(Outside::Heap),
        2 => provider().prop_map(Outside::ProviderProbes),
        2 => provider().prop_map(Outside::ProviderFails),
        1 => provider().prop_map(Outside::Appears),
        2 => proptest::sample::select(HeapModule::ALL).prop_map(Outside::Module),
        1 => heap_name().prop_map(Outside::Vanishes),
        1 => (0..GPUS).prop_map(Outside::Probes),
        1 => (0..GPUS).prop_map(Outside::Leaves),
        1 => (0..GPUS).prop_map(Outside::Returns),
        1 => Just(Outside::EventsAreLost),
    ]
}

/// A board, and how its kernel answers.
#[derive(Debug, Clone)]
struct Board {
    source: Source,
    /// Whether the driver of each GPU takes its buffer by ioctl.
    by_ioctl: Vec<bool>,
    tables: Vec<Table>,
    there: Vec<&'static str>,
    pending: Vec<&'static str>,
    module: Option<HeapModule>,
    opens: Vec<Opens>,
    verdicts: Vec<Verdict>,
    /// Whether the kernel accepts what each GPU commits.
    accepts: Vec<bool>,
    /// External events, each with the time since the previous one.
    happenings: Vec<(u64, Outside)>,
    /// The GPU whose result is delivered first where both have one; with 2, an external event
    /// precedes both.
    order: Vec<usize>,
}

fn board(source: impl Strategy<Value = Source>) -> impl Strategy<Value = Board> {
    use proptest::collection::vec;
    use proptest::sample::subsequence;
    let machine = (
        (source, vec(any::<bool>(), GPUS)),
        vec(table(), GPUS),
        subsequence(HEAPS.to_vec(), 0..=HEAPS.len()),
        subsequence(vec![SVP, OPTEE], 0..=2),
        proptest::option::of(proptest::sample::select(HeapModule::ALL)),
    );
    let kernel = (vec(opens(), GPUS), vec(verdict(), 6), vec(proptest::bool::weighted(0.8), GPUS));
    let events = (vec((1u64..1_500_000, outside()), 0..12), vec(0usize..3, 12));
    (machine, kernel, events).prop_map(|(machine, kernel, events)| {
        let ((source, by_ioctl), tables, there, pending, module) = machine;
        let (opens, verdicts, accepts) = kernel;
        let (happenings, order) = events;
        Board {
            source,
            by_ioctl,
            tables,
            there,
            pending,
            module,
            opens,
            verdicts,
            accepts,
            happenings,
            order,
        }
    })
}

/// A binder, and the machine around it.
struct Run {
    board: Board,
    engines: Engines<Binder>,
    facts: Facts,
    now: u64,
    wake: Option<u64>,
    /// Results of actions by GPU, in the order of the actions.
    results: [VecDeque<Event>; GPUS],
    /// End of each GPU's hold.
    holds: [Option<u64>; GPUS],
    steps: usize,
}

impl Run {
    fn new(board: Board) -> Self {
        let mut facts = two(&board.there, &board.pending);
        facts.heap_modules.extend(board.module.map(|state| (MODULE.to_owned(), state)));
        match board.source {
            Source::Handed | Source::Ioctl => {}
            Source::Kernel => {
                facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
            }
            Source::Driver => {
                (facts.kernel.module, facts.kernel.parameter) = (None, Some(Parameter::Open));
            }
        }
        let engines = Engines::new(&policy(&board.tables), &facts);
        let results = Default::default();
        Self {
            board,
            engines,
            facts,
            now: 1_000,
            wake: None,
            results,
            holds: [None; GPUS],
            steps: 0,
        }
    }

    /// Applies an external event, and returns the change that reaches the binder.
    fn happen(&mut self, what: Outside) -> Change {
        let facts = &mut self.facts;
        match what {
            Outside::Heap(name) => {
                facts.heaps.insert(heap(name));
                Change::Heap(heap(name))
            }
            Outside::ProviderProbes(name) | Outside::ProviderFails(name) => {
                let fails = matches!(what, Outside::ProviderFails(_));
                let one = if fails { failed(name) } else { provider(name, Some("d")) };
                facts.providers.insert(device(name), one.clone());
                Change::Provider(device(name), Some(one))
            }
            Outside::Appears(name) => {
                facts.providers.insert(device(name), provider(name, None));
                Change::Provider(device(name), Some(provider(name, None)))
            }
            Outside::Module(state) => {
                facts.heap_modules.insert(MODULE.into(), state);
                Change::Module(MODULE.into(), state)
            }
            Outside::Vanishes(name) => {
                facts.heaps.remove(&heap(name));
                Change::All(Box::new(facts.clone()))
            }
            Outside::Probes(gpu) | Outside::Returns(gpu) => {
                let driver = matches!(what, Outside::Probes(_)).then(|| "panthor".to_owned());
                let compatible = vec![compatible(gpu).to_owned()];
                let by_ioctl = self.board.by_ioctl[gpu] && self.board.source != Source::Driver;
                let section = driver.is_some().then(section).filter(|_| by_ioctl);
                let one = Gpu { driver, section, compatible, ..Gpu::default() };
                facts.gpus.insert(name(gpu), one.clone());
                Change::Gpu(name(gpu), Some(one))
            }
            Outside::Leaves(gpu) => {
                facts.gpus.remove(&name(gpu));
                self.results[gpu].clear();
                self.holds[gpu] = None;
                Change::Gpu(name(gpu), None)
            }
            Outside::EventsAreLost => Change::All(Box::new(facts.clone())),
        }
    }

    /// Returns the next event; `None` when nothing is left to happen.
    fn next(&mut self) -> Option<Event> {
        let order = self.board.order[self.steps % self.board.order.len()];
        self.steps += 1;
        let gpu =
            (0..GPUS).map(|gpu| (order + gpu) % GPUS).find(|gpu| !self.results[*gpu].is_empty());
        let first = self.board.happenings.first().copied();
        let (after, gpu) = match (gpu, first) {
            (Some(gpu), happening) if order < GPUS || happening.is_none() => (100, Some(gpu)),
            (_, Some((after, _))) => (after, None),
            (_, None) => (u64::MAX / 2, None),
        };
        if let Some(due) = self.wake.take_if(|due| *due <= self.now + after) {
            self.now = self.now.max(due);
            return Some(Event::Woken);
        }
        if gpu.is_none() && first.is_none() {
            return None;
        }
        self.now += after;
        match gpu {
            Some(gpu) => self.results[gpu].pop_front(),
            None => {
                let (_, what) = self.board.happenings.remove(0);
                Some(Event::Changed(vec![self.happen(what)]))
            }
        }
    }

    /// Carries out an action.
    fn execute(&mut self, action: Action) -> Result<(), TestCaseError> {
        let gpu = target(&action).map_or(0, index);
        let result = match action {
            Action::Open(device, hold) => {
                prop_assert!(u64::from(hold) <= self.board.tables[gpu].hold * 1_000);
                let opens = self.board.opens[gpu];
                Some(Event::Opened(device, self.opened(gpu, hold, opens)))
            }
            Action::Allocate(device, request)
            | Action::Commit(device, request)
            | Action::Classify(device, request) => {
                let has_section = self.engines.both.facts().gpus[&device].section.is_some();
                let source = if has_section { Source::Ioctl } else { self.board.source };
                prop_assert_eq!(request.source, source);
                prop_assert!(source != Source::Ioctl || request.suspend_count == 0);
                let verdict = self.board.verdicts.remove(0);
                self.board.verdicts.push(verdict.clone());
                let accepts = self.board.accepts[gpu];
                Some(match request.source {
                    Source::Kernel if !accepts => Event::Bound(device, Err("no".into())),
                    Source::Kernel if passes(&verdict) => {
                        Event::Bound(device, Ok(Bound { in_use: false, judged: Some(verdict) }))
                    }
                    _ => Event::Allocated(device, request.heap, verdict),
                })
            }
            Action::HandOver(device, request) | Action::NameHeap(device, request) => {
                let verdicts = &self.engines.both.facts().gpus[&device].verdicts;
                prop_assert!(verdicts.get(&request.heap).is_some_and(passes));
                prop_assert!(self.engines.both.facts().heaps.contains(&request.heap));
                let accepts = self.board.accepts[gpu];
                let bound = Bound { in_use: request.source == Source::Ioctl, ..free() };
                Some(Event::Bound(device, if accepts { Ok(bound) } else { Err("no".into()) }))
            }
            Action::BindOnDemand(device) => {
                let accepts = self.board.accepts[gpu];
                Some(Event::OnDemand(device, if accepts { Ok(()) } else { Err("no".into()) }))
            }
            Action::EndHold(..) => {
                prop_assert!(self.holds[gpu].is_some(), "there is no hold");
                None
            }
            Action::WakeAt(at) => {
                prop_assert!(at.0 > self.now);
                self.wake = Some(self.wake.map_or(at.0, |due| due.min(at.0)));
                None
            }
            Action::Withdraw(_) => None,
            other => return Err(TestCaseError::fail(format!("{other:?} is the daemon's"))),
        };
        self.results[gpu].extend(result);
        Ok(())
    }

    fn opened(&mut self, gpu: usize, hold: u32, opens: Opens) -> Opened {
        if self.facts.gpus.get(&name(gpu)).is_some_and(|gpu| gpu.section.is_some()) {
            return Opened::AlreadyProbed;
        }
        // The kernel is not involved if the driver's parameter names the heap.
        let opens = if self.board.source == Source::Driver { Opens::Held } else { opens };
        match opens {
            Opens::Held if hold > 0 => {
                let ends = self.now + u64::from(hold) * 1_000;
                self.holds[gpu] = Some(ends);
                Opened::Held(Monotonic(ends))
            }
            Opens::Held | Opens::NotHeld => Opened::NotHeld,
            Opens::AlreadyProbed => Opened::AlreadyProbed,
            Opens::NoConsumer => Opened::NoConsumer,
            Opens::Adopted(name) => Opened::Adopted(heap(name), false),
            Opens::Refused => Opened::Refused("no".into()),
        }
    }

    /// Requires that every GPU whose hold has expired, and for which no action is pending, has
    /// reached an end. An agreement waits for the longest hold.
    fn check_holds(&self) -> Result<(), TestCaseError> {
        for gpu in 0..GPUS {
            let device = name(gpu);
            let ends = if self.engines.both.is_agreeing(&device) {
                self.holds.iter().copied().max().flatten()
            } else {
                self.holds[gpu]
            };
            let is_pending = self.results.iter().any(|results| !results.is_empty());
            if ends.is_some_and(|ends| self.now >= ends) && !is_pending {
                prop_assert!(self.engines.both.has_ended(&device), "{device} after its hold");
            }
        }
        Ok(())
    }

    /// Requires that every attempt has ended and lasted no longer than its hold.
    fn check_ends(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.engines.both.is_done());
        for (device, binding) in self.engines.both.bindings() {
            prop_assert!(binding.state().is_end() || binding.state() == State::Absent);
            let hold = self.board.tables[index(device)].hold * 1_000_000;
            prop_assert!(binding.held() <= hold, "{device} was held for {}", binding.held());
        }
        Ok(())
    }
}

/// Returns the heaps that an engine has bound or requests to bind to a GPU that is on the bus.
fn bound_heaps(engine: &Binder, actions: &[Action]) -> BTreeSet<HeapName> {
    let bound = bindings(engine).filter(|binding| binding.is_bound());
    let bound = bound.filter_map(Binding::heap);
    let requested = actions.iter().filter_map(|action| match action {
        Action::NameHeap(_, request) => Some(&request.heap),
        _ => None,
    });
    bound.chain(requested).cloned().collect()
}

/// Requires of the actions that follow one event: the parameter is set for all GPUs that wait for
/// an agreement or for none of them, when no other one is pending, and to one heap.
fn check_agreement(
    before: &Binder,
    after: &Binder,
    actions: &[Action],
) -> Result<(), TestCaseError> {
    let bind = |action: &&Action| matches!(action, Action::NameHeap(..));
    let binds: BTreeSet<_> = actions.iter().filter(bind).filter_map(target).collect();
    if !binds.is_empty() {
        prop_assert!(bound_heaps(after, actions).len() == 1, "{actions:?}");
        for (device, binding) in after.bindings() {
            let ended = after.has_ended(device);
            prop_assert!(ended || binds.contains(device), "{}", after.whole(device));
            let waits = binding.state() == State::Waiting;
            prop_assert!(!waits || !binds.contains(device), "{device} waits for a heap");
            // The other GPUs of the agreement are bound as well.
            let agreed = before.is_agreeing(device);
            let present = binding.state() != State::Absent;
            let without = binding.state() == State::Unprotected;
            prop_assert!(!(agreed && present && !without) || binds.contains(device), "{device}");
        }
    }
    let differs = |binding: &&Binding| binding.reason() == Some(Reason::HeapsDiffer);
    if bindings(after).filter(differs).count() > bindings(before).filter(differs).count() {
        let counted = bindings(after).filter(|b| differs(b) || b.is_bound());
        let heaps: BTreeSet<_> = counted.filter_map(Binding::heap).collect();
        prop_assert!(heaps.len() > 1, "the GPUs agree on {heaps:?}");
        prop_assert!(binds.is_empty());
    }
    Ok(())
}

proptest! {
    /// Each of two GPUs that the module binds, or whose driver takes its buffer by ioctl, gets what it
    /// gets alone: the same actions, states, verdicts and timeline, for any order of events. Both reach an end within their holds.
    #[test]
    fn binder_binds_each_gpu_as_if_it_were_alone(
        board in board(proptest::sample::select(vec![Source::Handed, Source::Kernel])),
    ) {
        let mut run = Run::new(board);
        let mut event = Some(Event::Started);
        let mut count = 0;
        while let Some(current) = event {
            for action in run.engines.on(&current, Monotonic(run.now)) {
                run.execute(action)?;
            }
            run.engines.compare()?;
            run.check_holds()?;
            count += 1;
            prop_assert!(count < 1_000, "never comes to rest");
            event = run.next();
        }
        run.check_ends()?;
    }

    /// One parameter names the heap of both GPUs. For any order of events, it is set for both or
    /// for none of the GPUs that selected a heap, after the other one has selected the same heap or
    /// ended. Both reach an end when the longer hold expires, at the latest.
    #[test]
    fn parameter_is_set_once_all_gpus_agree(board in board(Just(Source::Driver))) {
        let mut run = Run::new(board);
        let mut event = Some(Event::Started);
        let mut count = 0;
        while let Some(current) = event {
            let before = run.engines.both.clone();
            let actions = run.engines.on_with_parameter(&current, Monotonic(run.now))?;
            check_agreement(&before, &run.engines.both, &actions)?;
            for action in actions {
                run.execute(action)?;
            }
            run.check_holds()?;
            count += 1;
            prop_assert!(count < 1_000, "never comes to rest");
            event = run.next();
        }
        run.check_ends()?;
    }
}
