// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of binders, administrators and GPU drivers, in parallel and in random order; some of them are invalid,
//! and have to be refused.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::buffer;
use crate::worker::{CONFIG, HEAP, Worker, bind, driver, let_go, run, store, write};

/// While this file exists, every process releases its buffers, because the TEE waits for the last one.
const QUIET: &str = "/run/quiet";

/// Time until the TEE is removed, and the number of steps after which it is removed at the latest.
const RESTARTS: Duration = Duration::from_millis(1500);
const STEPS_BETWEEN: u32 = 100;
/// Least number of steps of each process.
const STEPS: u64 = 400;

/// One of the processes.
pub(crate) fn worker(words: &[&str]) -> Outcome {
    let (mut restarted, mut since) = (Instant::now(), 0);
    run(words, STEPS, |worker| {
        since += 1;
        if Path::new(QUIET).exists() {
            let_go(&worker.gpus);
            sleep(Duration::from_millis(5));
        } else if worker.number == 0 && (restarted.elapsed() > RESTARTS || since > STEPS_BETWEEN) {
            let result = restart_tee(&worker.gpus);
            worker.count("tee-restarted", result);
            (restarted, since) = (Instant::now(), 0);
        } else {
            step(worker);
        }
    })
}

fn step(worker: &mut Worker) {
    let gpu = worker.gpu();
    match worker.random.below(100) {
        0..30 => {
            let (source, hold) =
                (*worker.random.pick(&["handed", "kernel"]), worker.random.one_in(4));
            let suspend_bytes = *worker.random.pick(&[4096, 65536, 131_072]);
            let bound = bind(&gpu, source, hold, suspend_bytes);
            worker.count(&format!("bound-{source}"), bound);
        }
        30..33 => {
            let _ = fs::create_dir(format!("{CONFIG}/{gpu}"));
            let against = store(&gpu, "commit", "none");
            worker.count("decided-against", against);
        }
        33..37 => {
            let withdrawn = fs::remove_dir(format!("{CONFIG}/{gpu}"));
            worker.count("withdrawn", withdrawn);
        }
        37..40 => {
            let unbound = driver("unbind", &gpu);
            worker.count("driver-unbound", unbound);
        }
        40..50 => {
            let probed = driver("bind", &gpu);
            worker.count("driver-bound", probed);
        }
        50..66 => {
            let what = *worker.random.pick(&["create", "create", "destroy", "destroy", "keep"]);
            let done = write(&format!("/sys/kernel/debug/csfgpu/{gpu}/groups"), what);
            worker.count(&format!("group-{what}"), done);
        }
        66..71 => {
            let destroyed = write("/sys/kernel/debug/csfgpu/kept", "destroy");
            worker.count("kept-group-destroyed", destroyed);
        }
        71..76 => {
            let given = buffer::give(&gpu, 1, HEAP, 131_072);
            worker.count("suspend-given", given);
        }
        76..92 => hand_over_badly(worker, &gpu),
        92..95 => {
            // This frees the buffers that were handed over before.
            let stored = store(&gpu, "heap", HEAP);
            worker.count("heap-stored", stored);
        }
        _ => look(worker, &gpu),
    }
}

/// Hands over a buffer that the kernel refuses, or would refuse without the other processes.
fn hand_over_badly(worker: &mut Worker, gpu: &str) {
    let kind = *worker.random.pick(&[0, 1]);
    let (name, result) = match worker.random.below(10) {
        0 => ("give-small", buffer::give(gpu, kind, HEAP, 2048)),
        1 => ("give-mappable", buffer::give(gpu, kind, "system", 262_144)),
        2 => ("give-other-heap", buffer::give(gpu, kind, "default_cma_region", 262_144)),
        3 => ("give-nobody", buffer::give("nobody.gpu", kind, HEAP, 262_144)),
        // The kernel seldom accepts the first one, because only a GPU that lacks a suspend buffer takes it. Hence
        // this happens more often than the others.
        _ => {
            let other = worker.gpu();
            ("give-twice", buffer::give_twice(gpu, &other, HEAP, 131_072))
        }
    };
    worker.count(name, result);
}

/// Reads all files of a GPU.
fn look(worker: &mut Worker, gpu: &str) {
    for dir in [format!("{CONFIG}/{gpu}"), format!("/sys/kernel/debug/csfgpu/{gpu}")] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let read = fs::read_to_string(entry.path());
            let late = entry.file_name() == "late_bounds"
                && read.as_ref().is_ok_and(|count| count.trim() != "0");
            if late {
                worker.count("seen-late", Ok(()));
            }
            worker.count("read", read);
        }
    }
    let shown = fs::read(format!("/sys/kernel/debug/protheap/{gpu}"));
    worker.count("read", shown);
}

/// Removes the TEE and restores it after some time.
fn restart_tee(gpus: &[String]) -> io::Result<()> {
    let tee = "/sys/kernel/debug/simtee";
    let is_alive = || buffer::allocate(HEAP, 4096).is_ok();
    File::create(QUIET)?;
    // All buffers are released first: Linux 7.3 can free a TEE that waits for its last buffer while the task that puts
    // that buffer still unlocks its mutex (tee_device_put() completes under it).
    let quiet = wait(|| {
        let_go(gpus);
        fs::read_to_string(format!("{tee}/given_out")).is_ok_and(|bytes| bytes.trim() == "0")
    });
    write(&format!("{tee}/drop"), "1")?;
    let gone = quiet.and_then(|()| {
        wait(|| {
            let_go(gpus);
            !Path::new("/dev/tee0").exists() && !is_alive()
        })
    });
    fs::remove_file(QUIET)?;
    if gone.is_ok() {
        // Meanwhile the other processes use a dead heap.
        sleep(Duration::from_millis(300));
    }
    write(&format!("{tee}/restore"), "1")?;
    gone.and_then(|()| wait(is_alive))
}

/// Waits until `is_true`, for at most a minute: longer is a hang, however busy the host is.
fn wait(mut is_true: impl FnMut() -> bool) -> io::Result<()> {
    let started = Instant::now();
    while !is_true() {
        if started.elapsed() > Duration::from_secs(60) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
