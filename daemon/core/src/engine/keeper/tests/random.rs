// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of the keeper with one GPU, over random events.

use proptest::prelude::*;

use super::*;
use crate::engine::tests::supply_result;

/// A random external event.
#[derive(Debug, Clone, Copy)]
enum Outside {
    Heap(&'static str),
    TeeGoes,
    TeeComes,
    TeeFails,
    DriverComes,
    DriverGoes,
    Wants(u32, u64),
    SomebodyBinds(&'static str),
    SomebodyRemoves,
    EventsAreLost,
    PolicyIs(&'static str, Bind),
    SomebodyWantsAnother,
    /// A protected group or a client waits for the binding.
    Demand,
    /// The number of protected groups changes.
    Groups(u32),
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        prop_oneof![Just(TEE), Just("low"), Just("other")].prop_map(Outside::Heap),
        Just(Outside::TeeGoes),
        Just(Outside::TeeComes),
        Just(Outside::TeeFails),
        Just(Outside::DriverComes),
        Just(Outside::DriverGoes),
        (1u32..5, 1u64..3).prop_map(|(count, pages)| Outside::Wants(count, pages * 65_536)),
        prop_oneof![Just(TEE), Just("low")].prop_map(Outside::SomebodyBinds),
        Just(Outside::SomebodyRemoves),
        Just(Outside::EventsAreLost),
        (
            prop_oneof![Just(TEE_FIRST), Just(LOW_FIRST), Just("")],
            prop_oneof![Just(Bind::Boot), Just(Bind::Demand)],
        )
            .prop_map(|(heaps, bind)| Outside::PolicyIs(heaps, bind)),
        Just(Outside::SomebodyWantsAnother),
        Just(Outside::Demand),
        (0u32..3).prop_map(Outside::Groups),
    ]
}

/// The kernel, as far as a daemon sees it.
#[derive(Debug, Clone)]
struct World {
    facts: Facts,
    bound: Option<KernelBinding>,
    /// Whether the driver still uses a withdrawn binding.
    withdrawn: bool,
    /// Whether the kernel reports the next protected group.
    on_demand: bool,
}

impl World {
    fn csf(&self) -> Gpu {
        self.facts.gpus[&gpu()].clone()
    }

    fn has_tee(&self) -> bool {
        self.facts.has_tee_for_heaps()
    }

    fn bind(&mut self, name: &str) {
        let exporter = if name == TEE { "tee" } else { "acme" };
        let in_use = self.csf().driver.is_some();
        self.bound = Some(KernelBinding { exporter: exporter.into(), in_use, ..kernel(name) });
        self.on_demand = false;
    }

    fn withdraw(&mut self) {
        self.withdrawn |= self.bound.take().is_some_and(|bound| bound.in_use);
        self.on_demand = false;
    }

    /// Applies an external event, and returns the events that reach the daemon.
    fn happen(&mut self, what: Outside) -> Vec<Event> {
        match what {
            Outside::Heap(name) => {
                self.facts.heaps.insert(heap(name));
                vec![changed(Change::Heap(heap(name)))]
            }
            Outside::TeeGoes | Outside::TeeComes => {
                let there = matches!(what, Outside::TeeComes);
                self.facts.tees = there.then(optee).into_iter().collect();
                let driver = there.then_some("optee");
                self.facts.providers.insert(device(OPTEE), provider(OPTEE, driver));
                vec![tee_changes(there)]
            }
            Outside::TeeFails => {
                self.facts.tees = Vec::new();
                self.facts.providers.insert(device(OPTEE), failed(OPTEE));
                vec![Event::Changed(vec![
                    Change::Tees(Vec::new()),
                    Change::Provider(device(OPTEE), Some(failed(OPTEE))),
                ])]
            }
            Outside::DriverComes | Outside::DriverGoes => {
                let comes = matches!(what, Outside::DriverComes);
                let csf = Gpu { driver: comes.then(|| "csf".to_owned()), ..self.csf() };
                self.facts.gpus.insert(gpu(), csf.clone());
                self.withdrawn &= comes;
                if let Some(bound) = &mut self.bound {
                    bound.in_use = comes;
                    bound.suspend_in_use *= u32::from(comes);
                }
                vec![changed(Change::Gpu(gpu(), Some(csf))), hint()]
            }
            Outside::Wants(count, bytes) => {
                if let Some(bound) = &mut self.bound {
                    (bound.suspend_wanted, bound.suspend_bytes) = (count, bytes);
                }
                vec![hint()]
            }
            Outside::SomebodyBinds(name) => {
                if self.bound.is_none() && !self.withdrawn {
                    self.bind(name);
                }
                vec![hint()]
            }
            Outside::SomebodyRemoves => {
                self.withdraw();
                vec![hint()]
            }
            Outside::EventsAreLost => {
                vec![changed(Change::All(Box::new(self.facts.clone())))]
            }
            Outside::PolicyIs(heaps, bind) => {
                let policy = match bind {
                    Bind::Boot => policy(heaps),
                    Bind::Demand => policy_on_demand(heaps),
                };
                vec![changed(Change::Policy(Box::new(policy)))]
            }
            Outside::SomebodyWantsAnother => vec![Event::Rebind(gpu())],
            Outside::Demand => vec![changed(Change::Demand(gpu()))],
            Outside::Groups(count) => {
                if let Some(bound) = self.bound.as_mut().filter(|bound| bound.in_use) {
                    bound.suspend_in_use = count;
                }
                vec![hint()]
            }
        }
    }
}

proptest! {
    /// For any order of events:
    ///
    /// - No heap is bound to a GPU that has a binding.
    /// - Unless its TEE has gone away, a binding is withdrawn only while no driver uses it, and,
    ///   without a rebind request, only after the driver has stayed unbound for `DRIVER_RETURNS`.
    /// - Nothing is allocated from or bound to the heap of a TEE that has gone away.
    /// - Only requested buffers are handed over.
    /// - The daemon comes to rest without further events.
    /// - Equal events give equal actions.
    #[test]
    fn every_order_of_events_keeps_the_invariants(
        tee in any::<bool>(),
        bound in proptest::option::of(prop_oneof![Just(TEE), Just("low")]),
        allocates in any::<bool>(),
        verdicts in proptest::collection::vec(verdict(), 4),
        supplies in proptest::collection::vec(0u8..4, 4),
        happenings in proptest::collection::vec((1u64..2_000_000, outside()), 0..24),
    ) {
        let mut world = World {
            facts: with_tee(),
            bound: None,
            withdrawn: false,
            on_demand: false,
        };
        if !tee {
            world.happen(Outside::TeeGoes);
        }
        if allocates {
            world.facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
        }
        if let Some(name) = bound {
            world.bind(name);
        }
        let mut engine = Keeper::new(two(), world.facts.clone());
        let mut twin = engine.clone();
        let mut queue = vec![Event::Started];
        let (mut now, mut wake) = (1_000, None::<u64>);
        let mut verdicts = verdicts.into_iter().cycle();
        let mut supplies = supplies.into_iter().cycle();
        let mut happenings = happenings.into_iter().peekable();
        // Number of actions since the last external event.
        let mut done = 0;
        let mut rested = 0;
        // Time at which the driver was seen to be unbound.
        let mut gone = None;
        loop {
            if queue.is_empty() {
                let after = match happenings.peek() {
                    Some((after, _)) => *after,
                    // The daemon can wait this long for a TEE that has not registered yet, after
                    // its other delays.
                    None if wake.is_some_and(|due| due <= now + TEE_COMES) && rested < 3 => {
                        rested += 1;
                        TEE_COMES
                    }
                    None => break,
                };
                done = 0;
                if let Some(due) = wake.take_if(|due| *due <= now + after) {
                    now = now.max(due);
                    queue.push(Event::Woken);
                } else {
                    let (after, what) = happenings.next().unwrap();
                    now += after;
                    queue.extend(world.happen(what));
                }
            }
            let event = queue.remove(0);
            let mut results = Vec::new();
            now += 1;
            let asked = matches!(event, Event::Rebind(_));
            if matches!(event, Event::Read(..)) {
                let is_gone = world.bound.as_ref().is_some_and(|bound| !bound.in_use);
                gone = is_gone.then(|| gone.unwrap_or(now));
            }
            let actions = engine.on(event.clone(), Monotonic(now));
            prop_assert_eq!(&actions, &twin.on(event, Monotonic(now)));
            for action in actions {
                done += 1;
                prop_assert!(done < 60, "no rest");
                match action {
                    Action::Read(device) => results.push(Event::Read(device, Ok(world.bound.clone()))),
                    Action::Open(device, hold) => {
                        prop_assert_eq!(hold, 0, "a daemon holds nothing");
                        let opened = match (&world.bound, world.withdrawn) {
                            (_, true) => Opened::Busy("EBUSY".into()),
                            (Some(bound), _) => Opened::Adopted(bound.heap.clone(), bound.in_use),
                            (None, _) if world.on_demand => Opened::OnDemand,
                            (None, _) => Opened::NotHeld,
                        };
                        results.push(Event::Opened(device, opened));
                    }
                    Action::Allocate(device, request)
                    | Action::Commit(device, request)
                    | Action::Classify(device, request) => {
                        prop_assert!(world.bound.is_none() && !world.withdrawn);
                        prop_assert!(request.heap != heap(TEE) || world.has_tee());
                        let verdict = verdicts.next().unwrap();
                        results.push(if allocates && passes(&verdict) {
                            world.bind(request.heap.as_str());
                            Event::Bound(device, Ok(Bound { in_use: false, judged: Some(verdict) }))
                        } else {
                            Event::Allocated(device, request.heap, verdict)
                        });
                    }
                    Action::HandOver(device, request) | Action::NameHeap(device, request) => {
                        prop_assert!(world.bound.is_none() && !world.withdrawn && !allocates);
                        world.bind(request.heap.as_str());
                        results.push(Event::Bound(device, Ok(free())));
                    }
                    Action::Withdraw(_) => {
                        let bound = world.bound.as_ref();
                        let unused = bound.is_none_or(|b| !b.in_use) && world.csf().driver.is_none();
                        let dead = bound.is_some_and(KernelBinding::is_of_tee) && !world.has_tee();
                        prop_assert!(dead || unused, "the binding is in use");
                        let stays_away = gone.is_some_and(|gone| now >= gone + DRIVER_RETURNS);
                        prop_assert!(dead || asked || stays_away, "the driver may return");
                        world.withdraw();
                    }
                    Action::Supply(device, from) => {
                        let bound = world.bound.as_mut().unwrap();
                        prop_assert!(bound.suspend_wanted > 0 && bound.heap == from);
                        prop_assert!(bound.source == Source::Handed);
                        prop_assert!(!bound.is_of_tee() || world.facts.has_tee_for_heaps());
                        let supplied = supply_result(bound, supplies.next().unwrap());
                        results.push(Event::Supplied(device, supplied));
                    }
                    Action::WakeAt(at) => {
                        prop_assert!(at.0 > now);
                        wake = Some(wake.map_or(at.0, |due| due.min(at.0)));
                    }
                    Action::BindOnDemand(device) => {
                        let has_groups = world.bound.as_ref().is_some_and(|b| b.suspend_in_use > 0);
                        let refused = has_groups || world.withdrawn;
                        if !refused {
                            (world.bound, world.on_demand) = (None, true);
                        }
                        let outcome = if refused { Err("EBUSY".into()) } else { Ok(()) };
                        results.push(Event::OnDemand(device, outcome));
                    }
                    Action::EndHold(..) => prop_assert!(false, "there is no hold"),
                    Action::Log(..) => {}
                }
            }
            queue.splice(0..0, results);
        }
        let binding = engine.binding(&gpu()).unwrap();
        prop_assert!(engine.has_ended(&gpu()));
        let is_bound = matches!(binding.state(), State::Bound | State::InUse);
        prop_assert_eq!(is_bound, world.bound.is_some());
        prop_assert!(!world.bound.as_ref().is_some_and(KernelBinding::is_of_tee) || world.has_tee());
    }
}
