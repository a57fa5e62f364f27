// SPDX-License-Identifier: MIT OR Apache-2.0

//! Suspend buffers that the kernel requests.

use super::*;

#[test]
fn requested_buffers_are_supplied_and_a_failure_is_logged_once() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    assert_eq!(signalled(&mut engine, 30, wanting(4, 131_072)), [supply()]);
    let failed = |at| (at, Event::Supplied(gpu(), Supplied::NoMemory("no memory".into())));
    let tell = Action::Log(gpu(), "no memory".into());
    let after = Action::WakeAt(Monotonic(40 + RETRY));
    assert_eq!(run(&mut engine, &[failed(40)]), [tell, after.clone(), look()]);
    // The request is unchanged: the daemon waits for the retry delay.
    assert_eq!(run(&mut engine, &[(50, looked(wanting(3, 131_072)))]), [after]);
    assert_eq!(run(&mut engine, &[(40 + RETRY, Event::Woken)]), [look()]);
    assert_eq!(run(&mut engine, &[(41 + RETRY, looked(wanting(3, 131_072)))]), [supply()]);
    let again = Action::WakeAt(Monotonic(50 + 3 * RETRY));
    assert_eq!(run(&mut engine, &[failed(50 + RETRY)]), [again, look()]);
    // A larger request or a changed fact is served at once.
    assert_eq!(run(&mut engine, &[(60 + RETRY, looked(wanting(4, 131_072)))]), [supply()]);
    run(&mut engine, &[failed(70 + RETRY), (75 + RETRY, looked(wanting(4, 131_072)))]);
    let other = changed(Change::Heap(heap("other")));
    assert_eq!(run(&mut engine, &[(80 + RETRY, other)]), [look()]);
    assert_eq!(run(&mut engine, &[(90 + RETRY, looked(wanting(4, 131_072)))]), [supply()]);
    run(&mut engine, &[(95 + RETRY, Event::Supplied(gpu(), Supplied::All))]);
    assert_eq!(run(&mut engine, &[(99 + RETRY, looked(wanting(0, 131_072)))]), []);
}

#[test]
fn exhausted_heap_is_not_tried_after_the_last_attempt() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    let mut at = 30;
    let mut attempts = 0;
    let wants = wanting(4, 65_536);
    let mut actions = signalled(&mut engine, at, wants.clone());
    // Much longer than all attempts take.
    for _ in 0..200 {
        at += 64 * RETRY;
        actions = match actions[..] {
            [] => break,
            _ if actions.contains(&supply()) => {
                attempts += 1;
                let failed = Event::Supplied(gpu(), Supplied::NoMemory("no memory".into()));
                run(&mut engine, &[(at, failed)])
            }
            _ if actions.contains(&look()) => run(&mut engine, &[(at, looked(wants.clone()))]),
            _ => run(&mut engine, &[(at, Event::Woken)]),
        };
    }
    assert_eq!((actions, attempts), (vec![], ATTEMPTS));
    let csf = gpu();
    let report = gpu_state(&engine, &csf, engine.binding(&csf).unwrap());
    assert_eq!(report.suspend_shortage, None, "the kernel shows all of them");
    // The driver requests more, or a fact changes.
    assert_eq!(signalled(&mut engine, at, wanting(5, 65_536)), [supply()]);
    run(&mut engine, &[(at, Event::Supplied(gpu(), Supplied::All))]);
}

#[test]
fn shortage_is_restored_from_the_state_file() {
    let fewer = KernelBinding { suspend_buffers: 12, ..kernel(TEE) };
    let report = |members: &str, binding: KernelBinding| {
        let json = format!(
            r#"{{"schema": 1, "gpus": [{{"device": "a.gpu", "state": "bound"{members}}}]}}"#
        );
        let file: StateFile = serde_json::from_str(&json).unwrap();
        let mut engine = Keeper::new(two(), with_tee());
        engine.restore(&file, Monotonic(5));
        run(&mut engine, &[(10, Event::Started), (20, looked(Some(binding)))]);
        let gpu = gpu();
        let report = gpu_state(&engine, &gpu, engine.binding(&gpu).unwrap());
        (report.suspend_buffers, report.suspend_shortage)
    };
    let past = r#", "suspend_shortage": "no memory""#;
    assert_eq!(report(past, fewer.clone()), (Some(12), Some("no memory".into())));
    assert_eq!(report(past, kernel(TEE)), (Some(16), None));
    assert_eq!(report("", fewer.clone()), (Some(12), None));
    let (_, why) = report("", KernelBinding { source: Source::Kernel, ..fewer });
    assert!(why.is_some_and(|why| why.contains("the kernel log")));
}

#[test]
fn refused_buffers_are_not_handed_over_again() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    signalled(&mut engine, 30, wanting(4, 131_072));
    let refused = Event::Supplied(gpu(), Supplied::Refused("EXDEV".into()));
    let tell = Action::Log(gpu(), "EXDEV".into());
    assert_eq!(run(&mut engine, &[(40, refused)]), [tell, look()]);
    assert_eq!(run(&mut engine, &[(50, looked(wanting(4, 131_072)))]), []);
    assert_eq!(run(&mut engine, &[(1_000 * RETRY, Event::Woken)]), []);
}

#[test]
fn larger_buffers_are_supplied_despite_a_refusal() {
    let mut engine = daemon(with_tee(), Some(kernel(TEE)));
    assert_eq!(signalled(&mut engine, 30, wanting(4, 65_536)), [supply()]);
    let refused = Event::Supplied(gpu(), Supplied::Refused("EXDEV".into()));
    run(&mut engine, &[(40, refused), (50, looked(wanting(4, 65_536)))]);
    assert_eq!(signalled(&mut engine, 60, wanting(4, 65_536)), []);
    assert_eq!(signalled(&mut engine, 70, wanting(4, 131_072)), [supply()]);
}

#[test]
fn kernel_that_allocates_is_not_supplied() {
    let wants = wanting(4, 131_072).map(|want| KernelBinding { source: Source::Kernel, ..want });
    let mut engine = daemon(with_tee(), wants.clone());
    assert_eq!(signalled(&mut engine, 30, wants), []);
}
