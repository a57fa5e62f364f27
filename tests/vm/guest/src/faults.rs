// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fails each allocation and each copy from user space of an operation once, by `CONFIG_FAULT_INJECTION`.

use std::fs;
use std::io;

use crate::worker::{CONFIG, HEAP, bind, driver, let_go, store, write};
use crate::{Outcome, buffer};

/// Counts down in this process; the allocation or copy that reaches zero fails.
const NTH: &str = "/proc/self/fail-nth";

/// Makes the `nth` allocation or copy from here on fail.
pub(crate) fn begin(nth: usize) -> io::Result<()> {
    write(NTH, nth.to_string())
}

/// Disables the fault, and returns whether it has happened.
pub(crate) fn end() -> bool {
    // A fault that is still pending can fail these calls as well.
    for _ in 0..100 {
        if let Ok(left) = fs::read_to_string(NTH) {
            let happened = left.trim() == "0";
            if happened || begin(0).is_ok() {
                return happened;
            }
        }
    }
    false
}

/// An operation that is run with each of its faults, and the steps that prepare it.
struct Operation {
    name: &'static str,
    before: fn(&str) -> io::Result<()>,
    run: fn(&str) -> io::Result<()>,
}

const OPERATIONS: [Operation; 10] = [
    Operation { name: "mkdir", before: |_| Ok(()), run: make },
    Operation { name: "store", before: make, run: |gpu| store(gpu, "origin", "test.toml:1:1") },
    Operation {
        name: "read",
        before: make,
        run: |gpu| fs::read(format!("{CONFIG}/{gpu}/state")).map(drop),
    },
    Operation {
        name: "bind-kernel",
        before: |_| Ok(()),
        run: |gpu| bind(gpu, "kernel", false, 65536),
    },
    Operation {
        name: "bind-handed",
        before: |_| Ok(()),
        run: |gpu| bind(gpu, "handed", false, 65536),
    },
    Operation { name: "give", before: bound, run: |gpu| buffer::give(gpu, 1, HEAP, 65536) },
    Operation { name: "probe", before: bound, run: |gpu| driver("bind", gpu) },
    Operation {
        name: "group",
        before: |gpu| bound(gpu).and_then(|()| driver("bind", gpu)),
        run: |gpu| write(&format!("/sys/kernel/debug/csfgpu/{gpu}/groups"), "create"),
    },
    Operation {
        name: "rmdir",
        before: |gpu| bound(gpu).and_then(|()| driver("bind", gpu)),
        run: |gpu| fs::remove_dir(format!("{CONFIG}/{gpu}")),
    },
    Operation {
        name: "unbind",
        before: |gpu| bound(gpu).and_then(|()| driver("bind", gpu)),
        run: |gpu| driver("unbind", gpu),
    },
];

fn make(gpu: &str) -> io::Result<()> {
    fs::create_dir(format!("{CONFIG}/{gpu}"))
}

fn bound(gpu: &str) -> io::Result<()> {
    bind(gpu, "handed", false, 65536)
}

/// Runs each operation once per fault, prints the number of its faults, and runs it without a fault, which must
/// succeed.
pub(crate) fn each(gpu: &str) -> Outcome {
    let gpus = [gpu.to_owned()];
    for Operation { name, before, run } in OPERATIONS {
        let mut faults = 0;
        for nth in 1.. {
            let_go(&gpus);
            before(gpu).map_err(|error| format!("before {name}, fault {nth}: {error}"))?;
            begin(nth)?;
            let result = run(gpu);
            if !end() {
                result.map_err(|error| format!("{name} without a fault: {error}"))?;
                break;
            }
            faults += 1;
        }
        println!("{name} {faults}");
    }
    let_go(&gpus);
    Ok(())
}
