// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocations and copies from user space that fail, as `CONFIG_FAULT_INJECTION` lets them: all that one operation
//! makes, each for itself.

use std::fs;
use std::io;

use crate::worker::{CONFIG, HEAP, bind, driver, let_go, store, write};
use crate::{Outcome, buffer};

/// Counts down in this process; the fault at its end fails.
const NTH: &str = "/proc/self/fail-nth";

/// Lets one fault happen from here on: the first, or that many later.
pub(crate) fn begin(nth: usize) -> io::Result<()> {
    write(NTH, nth.to_string())
}

/// No fault happens any more. True: the one that was to happen has.
pub(crate) fn end() -> bool {
    // What is left of the count may hit these very calls.
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

/// What is tried with each of its faults, and what makes it possible and undoes it.
struct Operation {
    name: &'static str,
    before: fn(&str) -> io::Result<()>,
    run: fn(&str) -> io::Result<()>,
}

const OPERATIONS: [Operation; 10] = [
    Operation { name: "mkdir", before: |_| Ok(()), run: make },
    Operation { name: "store", before: make, run: |gpu| store(gpu, "origin", "somebody") },
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

/// Does each operation again and again, each time with another fault, until there is none left; tells how many
/// faults each had. Whatever failed, the same works without a fault.
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
