// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of a daemon with two GPUs.

use std::collections::VecDeque;

use super::*;
use crate::engine::tests::{failed, free, kernel, passes, supply_result, verdict};
use crate::facts::{Module, Tee};

const TEE: &str = "protected,a";

/// A random external event that concerns both GPUs.
#[derive(Debug, Clone)]
enum Common {
    Heap(&'static str),
    /// The TEE registers or goes away.
    Tee(bool),
    TeeFails,
    EventsAreLost,
    /// The policy is replaced by another one that binds the same GPUs on demand.
    PolicyIs(Vec<Table>),
}

/// A random external event of one GPU.
#[derive(Debug, Clone, Copy)]
enum Own {
    /// The GPU's driver is bound or unbound.
    Driver(bool),
    /// The driver takes a buffer. The daemon may not have seen yet that it is bound.
    Takes,
    Wants(u32, u64),
    /// Another program binds.
    Binds(&'static str),
    /// Another program withdraws the binding.
    Removes,
    Rebind,
    Demand,
    /// The number of protected groups changes.
    Groups(u32),
    Leaves,
    Returns,
}

#[derive(Debug, Clone)]
enum Outside {
    Both(Common),
    One(usize, Own),
}

fn heap_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![TEE, "low", "high"])
}

fn tables() -> impl Strategy<Value = Vec<Table>> {
    let heaps = proptest::sample::subsequence(vec![TEE, "low", "high"], 0..=3).prop_shuffle();
    let table =
        (heaps, any::<bool>()).prop_map(|(heaps, on_demand)| Table { heaps, hold: 5, on_demand });
    proptest::collection::vec(table, GPUS)
}

fn outside() -> impl Strategy<Value = Outside> {
    let common = prop_oneof![
        heap_name().prop_map(Common::Heap),
        any::<bool>().prop_map(Common::Tee),
        Just(Common::TeeFails),
        Just(Common::EventsAreLost),
        tables().prop_map(Common::PolicyIs),
    ];
    let own = prop_oneof![
        4 => any::<bool>().prop_map(Own::Driver),
        3 => Just(Own::Takes),
        2 => (1u32..5, 1u64..3).prop_map(|(count, pages)| Own::Wants(count, pages * 65_536)),
        2 => heap_name().prop_map(Own::Binds),
        1 => Just(Own::Removes),
        2 => Just(Own::Rebind),
        2 => Just(Own::Demand),
        2 => (0u32..3).prop_map(Own::Groups),
        1 => Just(Own::Leaves),
        1 => Just(Own::Returns),
    ];
    prop_oneof![
        2 => common.prop_map(Outside::Both),
        3 => (0..GPUS, own).prop_map(|(gpu, own)| Outside::One(gpu, own)),
    ]
}

/// The kernel's side of one GPU.
#[derive(Debug, Clone, Default)]
struct Kernel {
    driver: bool,
    bound: Option<KernelBinding>,
    /// Whether the driver still uses a withdrawn binding.
    withdrawn: bool,
    /// Whether the kernel reports the next protected group.
    on_demand: bool,
    /// Binding that the daemon read last.
    seen: Option<KernelBinding>,
    /// Whether the GPU's driver takes its buffer by ioctl, and requests none from the module.
    has_ioctl: bool,
    /// Buffer that the driver has by ioctl.
    firmware: Option<Firmware>,
    /// Whether the driver has refused to release the buffer.
    has_refused: bool,
    /// Heap of the buffers that were allocated for a hand-over.
    allocated: Option<HeapName>,
}

/// A buffer that a driver has by ioctl.
#[derive(Debug, Clone)]
struct Firmware {
    binding: KernelBinding,
    /// Whether the daemon knows the heap, and has not withdrawn it.
    is_known: bool,
    /// Number of protected groups.
    groups: u32,
}

impl Kernel {
    fn bind(&mut self, name: &str) {
        let exporter = if name == TEE { "tee" } else { "acme" };
        self.bound = Some(KernelBinding { exporter: exporter.into(), ..kernel(name) });
        self.on_demand = false;
    }

    fn by_ioctl(&self) -> bool {
        self.has_ioctl && self.driver
    }

    /// Sets a buffer of this heap by ioctl.
    fn set(&mut self, name: &str, is_known: bool) {
        let exporter = if name == TEE { "tee" } else { "acme" }.to_owned();
        let (source, in_use, suspend_count) = (Source::Ioctl, true, 0);
        let binding = KernelBinding { exporter, source, in_use, suspend_count, ..kernel(name) };
        (self.firmware, self.has_refused) =
            (Some(Firmware { binding, is_known, groups: 0 }), false);
    }

    /// Takes the buffer back, unless protected groups exist. Returns whether it did.
    fn take_back(&mut self) -> bool {
        let taken = self.firmware.take_if(|firmware| firmware.groups == 0).is_some();
        taken || self.firmware.is_none()
    }

    /// Returns what the daemon reads.
    fn read(&self) -> Option<KernelBinding> {
        let known = || self.firmware.as_ref().filter(|firmware| firmware.is_known);
        if self.by_ioctl() { known().map(|one| one.binding.clone()) } else { self.bound.clone() }
    }

    fn withdraw(&mut self) {
        self.withdrawn |= self.bound.take().is_some_and(|bound| bound.in_use);
        self.on_demand = false;
    }

    fn set_driver(&mut self, comes: bool) {
        self.driver = comes;
        self.firmware = self.firmware.take().filter(|_| comes);
        self.has_refused &= comes;
        self.withdrawn &= comes;
        if let Some(bound) = self.bound.as_mut().filter(|_| !comes) {
            (bound.in_use, bound.suspend_in_use) = (false, 0);
        }
    }
}

/// A daemon, and the machine around it.
struct Run {
    engines: Engines<Keeper>,
    facts: Facts,
    kernels: [Kernel; GPUS],
    now: u64,
    wake: Option<u64>,
    /// Results of actions by GPU, in the order of the actions.
    results: [VecDeque<Event>; GPUS],
    verdicts: Vec<Verdict>,
    /// Results of handing over suspend buffers.
    supplies: Vec<u8>,
}

fn optee() -> Tee {
    Tee { implementation: "optee".into(), revision: None }
}

impl Run {
    /// Applies an external event, and returns the events that reach the daemon. A signal is an event
    /// of its own: in an event that also starts an attempt, it causes a read by the event after
    /// next, whichever GPU that is of.
    fn happen(&mut self, what: Outside) -> Vec<Event> {
        match what {
            Outside::Both(what) => vec![Event::Changed(self.happen_to_both(what))],
            Outside::One(gpu, Own::Rebind) => vec![Event::Rebind(name(gpu))],
            Outside::One(gpu, what) => {
                let changes = self.happen_to(gpu, what);
                changes.into_iter().map(|change| Event::Changed(vec![change])).collect()
            }
        }
    }

    fn happen_to_both(&mut self, what: Common) -> Vec<Change> {
        let facts = &mut self.facts;
        match what {
            Common::Heap(name) => {
                facts.heaps.insert(heap(name));
                vec![Change::Heap(heap(name))]
            }
            Common::Tee(_) | Common::TeeFails => {
                let there = matches!(what, Common::Tee(true));
                facts.tees = there.then(optee).into_iter().collect();
                let one = match what {
                    Common::TeeFails => failed(OPTEE),
                    _ => provider(OPTEE, there.then_some("optee")),
                };
                facts.providers.insert(device(OPTEE), one.clone());
                vec![Change::Tees(facts.tees.clone()), Change::Provider(device(OPTEE), Some(one))]
            }
            Common::EventsAreLost => vec![Change::All(Box::new(facts.clone()))],
            Common::PolicyIs(tables) => vec![Change::Policy(Box::new(policy(&tables)))],
        }
    }

    fn happen_to(&mut self, gpu: usize, what: Own) -> Vec<Change> {
        let kernel = &mut self.kernels[gpu];
        match what {
            Own::Driver(_) | Own::Returns | Own::Leaves => {
                kernel.set_driver(matches!(what, Own::Driver(true)));
                let driver = kernel.driver.then(|| "csf".to_owned());
                let compatible = vec![compatible(gpu).to_owned()];
                let section = kernel.by_ioctl().then(section);
                let one = Gpu { driver, section, compatible, ..Gpu::default() };
                if matches!(what, Own::Leaves) {
                    self.facts.gpus.remove(&name(gpu));
                    return vec![Change::Gpu(name(gpu), None)];
                }
                self.facts.gpus.insert(name(gpu), one.clone());
                return vec![Change::Gpu(name(gpu), Some(one)), Change::Binding(name(gpu))];
            }
            Own::Takes => {
                if let Some(bound) = kernel.bound.as_mut().filter(|_| !kernel.has_ioctl) {
                    bound.in_use = true;
                }
            }
            Own::Wants(count, bytes) => {
                if let Some(bound) = &mut kernel.bound {
                    (bound.suspend_wanted, bound.suspend_bytes) = (count, bytes);
                }
            }
            Own::Binds(name) if kernel.by_ioctl() => {
                if kernel.firmware.is_none() {
                    kernel.set(name, false);
                }
            }
            Own::Removes if kernel.by_ioctl() => {
                kernel.take_back();
            }
            Own::Groups(count) if kernel.by_ioctl() => {
                if let Some(firmware) = &mut kernel.firmware {
                    firmware.groups = count;
                }
            }
            Own::Binds(name) => {
                if kernel.bound.is_none() && !kernel.withdrawn {
                    kernel.bind(name);
                }
            }
            Own::Removes => kernel.withdraw(),
            Own::Groups(count) => {
                if let Some(bound) = kernel.bound.as_mut().filter(|bound| bound.in_use) {
                    bound.suspend_in_use = count;
                }
            }
            Own::Demand => return vec![Change::Demand(name(gpu))],
            Own::Rebind => return Vec::new(),
        }
        vec![Change::Binding(name(gpu))]
    }

    fn supplied(&mut self, gpu: usize) -> Supplied {
        self.supplies.rotate_left(1);
        let bound = self.kernels[gpu].bound.as_mut().unwrap();
        supply_result(bound, self.supplies[0])
    }

    /// Requires that the daemon takes no binding from a driver or a protected group that uses it.
    fn check_use(&self, gpu: usize, action: &Action) -> Result<(), TestCaseError> {
        let Some(seen) = &self.kernels[gpu].seen else { return Ok(()) };
        let facts = self.engines.both.facts();
        match action {
            Action::Withdraw(device) => {
                let has_driver = facts.gpus[device].driver.is_some();
                let is_dead = seen.is_of_tee() && !facts.has_tee_for_heaps();
                let is_set = seen.source == Source::Ioctl;
                let is_unused = !seen.in_use && !has_driver;
                prop_assert!(is_dead || is_unused && !is_set, "{device} uses its binding");
            }
            Action::BindOnDemand(device) => {
                prop_assert!(seen.suspend_in_use == 0, "a group of {device} uses its binding");
            }
            _ => {}
        }
        Ok(())
    }

    fn execute(&mut self, action: Action) -> Result<(), TestCaseError> {
        let gpu = target(&action).map_or(0, index);
        self.check_use(gpu, &action)?;
        let has_tee = self.facts.has_tee_for_heaps();
        let kernel = &mut self.kernels[gpu];
        let result = match action {
            Action::Read(device) => Event::Read(device, Ok(kernel.read())),
            Action::Open(device, hold) => {
                prop_assert_eq!(hold, 0, "a daemon holds nothing");
                let opened = match (kernel.by_ioctl(), kernel.read()) {
                    (true, Some(set)) => Some(Opened::Adopted(set.heap, true)),
                    (true, None) if kernel.take_back() => {
                        (kernel.bound, kernel.withdrawn) = (None, false);
                        Some(Opened::AlreadyProbed)
                    }
                    (true, None) => Some(Opened::Busy("EBUSY".into())),
                    (false, _) => None,
                };
                let opened = opened.unwrap_or_else(|| match (&kernel.bound, kernel.withdrawn) {
                    (_, true) => Opened::Busy("EBUSY".into()),
                    (Some(bound), _) => Opened::Adopted(bound.heap.clone(), bound.in_use),
                    (None, _) if kernel.on_demand => Opened::OnDemand,
                    (None, _) => Opened::NotHeld,
                });
                Event::Opened(device, opened)
            }
            Action::Allocate(device, request)
            | Action::Commit(device, request)
            | Action::Classify(device, request) => {
                prop_assert!(kernel.bound.is_none() && !kernel.withdrawn);
                prop_assert!(request.heap != heap(TEE) || has_tee);
                self.verdicts.rotate_left(1);
                let verdict = self.verdicts[0].clone();
                kernel.allocated = passes(&verdict).then(|| request.heap.clone());
                if request.source == Source::Kernel && passes(&verdict) {
                    kernel.bind(request.heap.as_str());
                    Event::Bound(device, Ok(Bound { in_use: false, judged: Some(verdict) }))
                } else {
                    Event::Allocated(device, request.heap, verdict)
                }
            }
            Action::HandOver(device, request) if request.source == Source::Ioctl => {
                prop_assert!(kernel.by_ioctl() && kernel.firmware.is_none());
                prop_assert_eq!(kernel.allocated.take(), Some(request.heap.clone()));
                kernel.set(request.heap.as_str(), true);
                Event::Bound(device, Ok(Bound { in_use: true, ..free() }))
            }
            Action::HandOver(device, request) | Action::NameHeap(device, request) => {
                prop_assert!(kernel.bound.is_none() && !kernel.withdrawn);
                prop_assert_eq!(kernel.allocated.take(), Some(request.heap.clone()));
                kernel.bind(request.heap.as_str());
                Event::Bound(device, Ok(free()))
            }
            Action::BindOnDemand(device) => {
                let has_groups = kernel.bound.as_ref().is_some_and(|b| b.suspend_in_use > 0);
                let refused = has_groups || kernel.withdrawn;
                if !refused {
                    (kernel.bound, kernel.seen, kernel.on_demand) = (None, None, true);
                }
                Event::OnDemand(device, if refused { Err("EBUSY".into()) } else { Ok(()) })
            }
            Action::Supply(device, from) => {
                let bound = kernel.bound.as_ref();
                prop_assert!(bound.is_some_and(|b| b.suspend_wanted > 0 && b.heap == from));
                prop_assert!(!bound.is_some_and(KernelBinding::is_of_tee) || has_tee);
                Event::Supplied(device, self.supplied(gpu))
            }
            Action::Withdraw(device) if kernel.by_ioctl() => {
                kernel.seen = None;
                let set = kernel.firmware.as_mut();
                if let Some(firmware) = set {
                    let is_dead = firmware.binding.is_of_tee() && !has_tee;
                    prop_assert!(is_dead || !firmware.is_known, "{device} keeps its buffer");
                    firmware.is_known = false;
                }
                kernel.has_refused = !kernel.take_back();
                let refused = kernel.has_refused;
                Event::Withdrawn(device, if refused { Err("EBUSY".into()) } else { Ok(()) })
            }
            Action::Withdraw(_) => {
                kernel.withdraw();
                kernel.seen = None;
                return Ok(());
            }
            Action::WakeAt(at) => {
                prop_assert!(at.0 > self.now);
                self.wake = Some(self.wake.map_or(at.0, |due| due.min(at.0)));
                return Ok(());
            }
            Action::Log(..) => return Ok(()),
            Action::EndHold(..) => return Err(TestCaseError::fail("there is no hold")),
        };
        self.results[gpu].push_back(result);
        Ok(())
    }

    /// Delivers an event, then the results of its actions: those of each GPU in the order of its
    /// actions, and `first` chooses between the GPUs. The GPUs are compared at rest, because the
    /// upkeep of one can be carried out at the result of a read of the other, at the same time.
    fn process(&mut self, event: Event, first: &[usize]) -> Result<(), TestCaseError> {
        let mut event = Some(event);
        let mut first = first.iter().cycle();
        for _ in 0..120 {
            let Some(current) = event else { return self.engines.compare() };
            if let Event::Read(device, Ok(found)) = &current {
                self.kernels[index(device)].seen.clone_from(found);
            }
            for action in self.engines.on(&current, Monotonic(self.now)) {
                self.execute(action)?;
            }
            let gpu = *first.next().unwrap();
            event = self.results[gpu].pop_front().or_else(|| self.results[1 - gpu].pop_front());
        }
        Err(TestCaseError::fail("no rest"))
    }

    /// Advances to `until`, and delivers the wake-ups that are due by then.
    fn wait(&mut self, until: u64, first: &[usize]) -> Result<(), TestCaseError> {
        while let Some(due) = self.wake.take_if(|due| *due <= until) {
            self.now = self.now.max(due);
            self.process(Event::Woken, first)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }
}

proptest! {
    /// For any order of events of two GPUs, the daemon treats each as if it were alone: it issues
    /// the same actions, and keeps the same states, verdicts and timeline. In particular, the
    /// withdrawal of one binding leaves the other one unchanged. A binding that a driver uses is
    /// withdrawn only if its TEE has gone away, and is not released while a protected group has a
    /// suspend buffer. A buffer that a driver has by ioctl is taken back only if its TEE has gone away
    /// or its heap is unknown, and then as soon as no protected group uses it. Both attempts end
    /// without further events.
    #[test]
    fn daemon_treats_each_gpu_as_if_it_were_alone(
        tables in tables(),
        there in proptest::sample::subsequence(vec![TEE, "low", "high"], 0..=3),
        tee in any::<bool>(),
        allocates in any::<bool>(),
        bound in proptest::collection::vec(proptest::option::of(heap_name()), GPUS),
        by_ioctl in proptest::collection::vec(any::<bool>(), GPUS),
        verdicts in proptest::collection::vec(verdict(), 6),
        supplies in proptest::collection::vec(0u8..4, 4),
        happenings in proptest::collection::vec((1u64..4_000_000, outside()), 0..24),
        first in proptest::collection::vec(0..GPUS, 7),
    ) {
        let mut facts = two(&there, &[]);
        facts.tees = tee.then(optee).into_iter().collect();
        facts.providers.insert(device(OPTEE), provider(OPTEE, tee.then_some("optee")));
        if allocates {
            facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
        }
        let mut kernels = [Kernel::default(), Kernel::default()];
        for (kernel, name) in kernels.iter_mut().zip(bound) {
            name.into_iter().for_each(|name| kernel.bind(name));
        }
        for (kernel, has_ioctl) in kernels.iter_mut().zip(by_ioctl) {
            kernel.has_ioctl = has_ioctl;
        }
        let engines = Engines::new(&policy(&tables), &facts);
        let mut run = Run {
            engines,
            facts,
            kernels,
            now: 1_000,
            wake: None,
            results: Default::default(),
            verdicts,
            supplies,
        };
        run.process(Event::Started, &first)?;
        for (after, what) in happenings {
            run.wait(run.now + after, &first)?;
            for event in run.happen(what) {
                run.process(event, &first)?;
            }
        }
        // Longer than the idle time of a binding on demand, and than a TEE can be late.
        run.wait(run.now + 12_000_000, &first)?;
        for (device, binding) in run.engines.both.bindings() {
            prop_assert!(run.engines.both.has_ended(device), "{}", device);
            let kernel = &run.kernels[index(device)];
            let bound = kernel.read();
            let is_absent = binding.state() == State::Absent;
            prop_assert_eq!(binding.is_bound(), bound.is_some() && !is_absent, "{}", device);
            let is_of_tee = bound.as_ref().is_some_and(KernelBinding::is_of_tee);
            prop_assert!(!binding.is_bound() || !is_of_tee || run.facts.has_tee_for_heaps());
            let keeps = kernel.firmware.as_ref().is_some_and(|firmware| firmware.groups == 0);
            prop_assert!(!kernel.has_refused || !keeps || is_absent, "{} keeps a buffer", device);
        }
    }
}
