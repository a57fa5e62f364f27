// SPDX-License-Identifier: MIT OR Apache-2.0

//! Properties of the binder with one GPU, and of GPUs that share one parameter.

use super::*;

/// A random external event.
#[derive(Debug, Clone)]
enum Outside {
    Heap(&'static str),
    ProviderProbes(&'static str),
    ProviderFails(&'static str),
    Module(HeapModule),
    Probes,
    Everything,
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        prop_oneof![Just("high"), Just("low"), Just("other")].prop_map(Outside::Heap),
        prop_oneof![Just("acme,svp"), Just("linaro,optee-tz")].prop_map(Outside::ProviderProbes),
        prop_oneof![Just("acme,svp"), Just("linaro,optee-tz")].prop_map(Outside::ProviderFails),
        proptest::sample::select(HeapModule::ALL).prop_map(Outside::Module),
        Just(Outside::Probes),
        Just(Outside::Everything),
    ]
}

proptest! {
    /// For any order of events: no GPU waits longer than its hold, every attempt ends, no action
    /// follows the end, only accepted heaps are bound, and equal events give equal actions.
    #[test]
    fn every_order_of_events_reaches_an_end(
        there in proptest::sample::subsequence(vec!["high", "low", "other"], 0..=3),
        pending in proptest::sample::subsequence(vec!["acme,svp", "linaro,optee-tz"], 0..=2),
        module in proptest::option::of(proptest::sample::select(HeapModule::ALL)),
        has_hold in any::<bool>(),
        accepts in any::<bool>(),
        source in proptest::sample::select(vec![Source::Handed, Source::Kernel, Source::Driver]),
        verdicts in proptest::collection::vec(verdict(), 4),
        happenings in proptest::collection::vec((1u64..2_000_000, outside()), 0..12),
    ) {
        let mut start = facts(&there, &pending);
        let allocates = source == Source::Kernel;
        if allocates {
            start.kernel = in_kernel(&[]).kernel;
        } else if source == Source::Driver {
            start = with_parameter(start, Parameter::Open);
        }
        start.heap_modules.extend(module.map(|state| ("acme_svp".to_owned(), state)));
        let heaps = "{ name = 'high', provider = 'acme,svp' }, \
                     { name = 'other', module = 'acme-svp' }, { name = 'low' }";
        let mut engine = Binder::new(policy(heaps), start.clone());
        let mut twin = engine.clone();
        let mut now = 1_000;
        let mut queue = vec![Event::Started];
        let mut wake: Option<u64> = None;
        let mut hold_end = None;
        let mut ended = false;
        let mut verdicts = verdicts.into_iter().cycle();
        let mut passed = false;
        let mut happenings = happenings.into_iter().peekable();
        for _ in 0..1_000 {
            let event = if queue.is_empty() {
                // No result is outstanding: time passes until the next external event or wake-up.
                match (happenings.peek(), wake) {
                    (Some((after, _)), due) if due.is_none_or(|due| now + after <= due) => {
                        now += after;
                        let (_, what) = happenings.next().unwrap();
                        Event::Changed(vec![match what {
                            Outside::Heap(name) => Change::Heap(heap(name)),
                            Outside::ProviderProbes(name) => Change::Provider(device(name), Some(provider(name, Some("d")))),
                            Outside::ProviderFails(name) => Change::Provider(device(name), Some(failed(name))),
                            Outside::Module(state) => Change::Module("acme_svp".into(), state),
                            Outside::Probes => Change::Gpu(gpu(), Some(Gpu { driver: Some("g".into()), ..start.gpus[&gpu()].clone() })),
                            Outside::Everything => Change::All(Box::new(start.clone())),
                        }])
                    }
                    (_, Some(due)) => {
                        now = now.max(due);
                        wake = None;
                        Event::Woken
                    }
                    _ => break,
                }
            } else {
                now += 100;
                queue.remove(0)
            };
            let actions = engine.on(event.clone(), Monotonic(now));
            prop_assert_eq!(&actions, &twin.on(event, Monotonic(now)));
            for action in actions {
                match action {
                    Action::Open(device, hold) => {
                        prop_assert!(!ended);
                        prop_assert!(u64::from(hold) * 1_000 <= HOLD);
                        let opened = if has_hold && hold > 0 {
                            hold_end = Some(now + HOLD);
                            Opened::Held(Monotonic(now + HOLD))
                        } else {
                            Opened::NotHeld
                        };
                        queue.push(Event::Opened(device, opened));
                    }
                    Action::Allocate(device, request)
                    | Action::Commit(device, request)
                    | Action::Classify(device, request) => {
                        prop_assert!(!ended);
                        let verdict = verdicts.next().unwrap();
                        passed = passes(&verdict);
                        prop_assert_eq!(request.source, source);
                        queue.push(if allocates && !accepts {
                            Event::Bound(device, Err("no".into()))
                        } else if allocates && passed {
                            Event::Bound(device, Ok(Bound { in_use: false, judged: Some(verdict) }))
                        } else {
                            Event::Allocated(device, request.heap, verdict)
                        });
                    }
                    Action::HandOver(device, _) | Action::NameHeap(device, _) => {
                        prop_assert!(!ended && passed && !allocates);
                        queue.push(Event::Bound(device, if accepts { Ok(free()) } else { Err("no".into()) }));
                    }
                    Action::EndHold(..) => prop_assert!(!ended && hold_end.is_some()),
                    Action::BindOnDemand(_) => prop_assert!(false, "no policy says so"),
                    Action::Withdraw(_) => prop_assert!(!ended),
                    Action::Read(_) | Action::Supply(..) | Action::Log(..) => prop_assert!(false, "a daemon's"),
                    Action::WakeAt(at) => {
                        prop_assert!(at.0 > now);
                        wake = Some(wake.map_or(at.0, |due| due.min(at.0)));
                    }
                }
            }
            ended = ended || engine.is_done();
            if engine.binding(&gpu()).unwrap().state() == State::Waiting {
                prop_assert!(hold_end.is_some_and(|end| now < end), "waits without a hold");
                let pending = engine.facts().providers.values().any(|one| !one.has_finished())
                    || engine.facts().heap_modules.values().any(|one| !one.has_finished());
                prop_assert!(pending, "held for nothing");
            }
        }
        prop_assert!(queue.is_empty(), "never comes to rest");
        prop_assert!(engine.is_done());
        let (state, _) = end(&engine);
        prop_assert!(state.is_end());
        prop_assert!(engine.binding(&gpu()).unwrap().held() <= HOLD);
    }

    /// Two GPUs of a driver share one parameter. It is set after both attempts have come to a
    /// result, to one heap that was accepted for every GPU that is bound, or is not set.
    #[test]
    fn parameter_names_one_heap_for_all_gpus(
        there in proptest::sample::subsequence(vec!["high", "low", "other"], 0..=3),
        comes in proptest::sample::subsequence(vec!["high", "low", "other"], 0..=3),
        wants in proptest::collection::vec(proptest::sample::subsequence(vec!["high", "low", "other"], 0..=3).prop_shuffle(), 2),
        verdicts in proptest::collection::vec(verdict(), 6),
        holds in proptest::collection::vec(any::<bool>(), 2),
        accepts in any::<bool>(),
        order in any::<bool>(),
    ) {
        let devices = ["a.gpu", "b.gpu"].map(device);
        let mut text = "schema = 1\n".to_owned();
        for (device, heaps) in devices.iter().zip(&wants) {
            let heaps: Vec<_> = heaps.iter().map(|name| format!("{{ name = '{name}' }}")).collect();
            text += &format!("[gpu.'{device}']\nheaps = [{}]\n", heaps.join(", "));
        }
        let key = Key::new("acme,a9").unwrap();
        let policy = Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()]));
        let mut start = with_parameter(facts(&there, &["acme,svp"]), Parameter::Open);
        start.gpus.insert(devices[1].clone(), start.gpus[&devices[0]].clone());
        let mut engine = Binder::new(policy, start);

        let mut queue = vec![Event::Started];
        let mut comes = comes.into_iter();
        let mut verdicts = verdicts.into_iter().cycle();
        let mut bound = Vec::new();
        let (mut now, mut wake) = (1_000, None);
        for _ in 0..1_000 {
            let event = match queue.is_empty() {
                false if order => queue.remove(0),
                false => queue.pop().unwrap(),
                true => match (comes.next(), wake.take()) {
                    (Some(name), due) => {
                        wake = due;
                        Event::Changed(vec![Change::Heap(heap(name))])
                    }
                    (None, Some(due)) => {
                        now = now.max(due);
                        Event::Woken
                    }
                    (None, None) => break,
                },
            };
            now += 100;
            for action in engine.on(event, Monotonic(now)) {
                match action {
                    Action::Open(device, _) => {
                        let has_hold = holds[usize::from(device == devices[1])];
                        let ends = Monotonic(now + HOLD);
                        queue.push(Event::Opened(device, if has_hold { Opened::Held(ends) } else { Opened::NotHeld }));
                    }
                    Action::Allocate(device, request)
                    | Action::Commit(device, request)
                    | Action::Classify(device, request) => {
                        queue.push(Event::Allocated(device, request.heap, verdicts.next().unwrap()));
                    }
                    Action::HandOver(device, request) | Action::NameHeap(device, request) => {
                        prop_assert!(engine.facts().gpus[&device].verdicts.get(&request.heap).is_some_and(passes));
                        let waits = |b: &Binding| matches!(b.state(), State::Waiting | State::Held);
                        prop_assert!(!bindings(&engine).any(waits), "another one is undecided");
                        bound.push(request.heap);
                        queue.push(Event::Bound(device, if accepts { Ok(free()) } else { Err("no".into()) }));
                    }
                    Action::WakeAt(at) => wake = Some(wake.map_or(at.0, |due: u64| due.min(at.0))),
                    Action::EndHold(..) | Action::BindOnDemand(_) => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
        prop_assert!(engine.is_done());
        bound.dedup();
        prop_assert!(bound.len() <= 1, "{bound:?}");
        let differ = |b: &Binding| b.reason() == Some(Reason::HeapsDiffer);
        prop_assert!(bound.is_empty() || !bindings(&engine).any(differ));
        for binding in bindings(&engine).filter(|b| b.state() == State::Bound) {
            prop_assert_eq!(binding.heap(), bound.first());
        }
    }
}
