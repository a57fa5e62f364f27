// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that operate on the same GPUs in parallel for some time, and count the results.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, buffer, errno_name};

/// Directory of the bindings.
pub(crate) const CONFIG: &str = "/sys/kernel/config/protheap";
/// Name of the heap of the TEE.
pub(crate) const HEAP: &str = "protected,secure-video";
/// Default number of processes.
pub(crate) const WORKERS: u32 = 8;

/// Pseudo-random numbers, the same for the same seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Returns the numbers of a worker.
    fn new(seed: u64, worker: u32) -> Self {
        // Neighbouring seeds must not result in neighbouring numbers, and zero would result in zeroes only.
        let mut random =
            Self((seed ^ u64::from(worker) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    /// Returns the next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % end
    }

    /// Returns true once in `times` calls on average.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Returns an element of `from`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = self.below(from.len());
        &from[place]
    }

    /// Returns `count` random bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[7]).collect()
    }
}

/// One of the processes.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Number of the process.
    pub(crate) number: u32,
    /// Random numbers that select its operations.
    pub(crate) random: Random,
    /// Device names of the GPUs.
    pub(crate) gpus: Vec<String>,
    counts: BTreeMap<String, u64>,
}

impl Worker {
    /// Counts a success under that name, and an error under `NAME-ERRNO`.
    pub(crate) fn count<T>(&mut self, name: &str, result: io::Result<T>) -> Option<T> {
        let (name, value) = match result {
            Ok(value) => (name.to_owned(), Some(value)),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default();
                let errno = errno_name(errno).map_or_else(|| errno.to_string(), str::to_owned);
                (format!("{name}-{errno}"), None)
            }
        };
        *self.counts.entry(name).or_default() += 1;
        value
    }

    /// Returns one of the GPUs.
    pub(crate) fn gpu(&mut self) -> String {
        self.random.pick(&self.gpus).clone()
    }
}

/// Starts `workers` processes as `COMMAND NUMBER SEED SECONDS GPU...`, and prints the sum of each of their counts.
pub(crate) fn lead(command: &[&str], workers: u32, words: &[&str]) -> Outcome {
    let workers = (0..workers).map(|number| {
        let mut worker = Command::new("/proc/self/exe");
        worker.args(command).arg(number.to_string()).args(words);
        worker.stdout(Stdio::piped()).spawn()
    });
    let mut counts = BTreeMap::<String, u64>::new();
    for worker in workers.collect::<Vec<_>>() {
        let output = worker?.wait_with_output()?;
        if !output.status.success() {
            return Err(format!(
                "a worker ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stdout)
            )
            .into());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (name, count) =
                line.rsplit_once(' ').ok_or("failed to parse the output of a worker")?;
            *counts.entry(name.to_owned()).or_default() += count.parse::<u64>()?;
        }
    }
    for (name, count) in counts {
        println!("{name} {count}");
    }
    Ok(())
}

/// Runs one of these processes, with `NUMBER SEED SECONDS GPU...`: repeats `step` for that long, and at least `steps`
/// times, because a process on a busy host makes fewer steps in a second.
pub(crate) fn run(words: &[&str], steps: u64, mut step: impl FnMut(&mut Worker)) -> Outcome {
    let [number, seed, seconds, gpus @ ..] = words else {
        return Err("NUMBER SEED SECONDS GPU... are missing".into());
    };
    let number = number.parse()?;
    let mut worker = Worker {
        number,
        random: Random::new(seed.parse()?, number),
        gpus: gpus.iter().map(|&gpu| gpu.to_owned()).collect(),
        counts: BTreeMap::new(),
    };
    if worker.gpus.is_empty() {
        return Err("no GPU is named".into());
    }
    let (started, limit) = (Instant::now(), Duration::from_secs(seconds.parse()?));
    let mut done = 0;
    while started.elapsed() < limit || done < steps {
        step(&mut worker);
        worker.count("step", Ok(()));
        done += 1;
    }
    for (name, count) in worker.counts {
        println!("{name} {count}");
    }
    Ok(())
}

/// Writes once to an existing file.
pub(crate) fn write(path: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(path)?.write(text.as_ref())?;
    if written == text.as_ref().len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Stores a value of a GPU's binding.
pub(crate) fn store(gpu: &str, attribute: &str, value: &str) -> io::Result<()> {
    write(&format!("{CONFIG}/{gpu}/{attribute}"), value)
}

/// Binds the GPU to its driver (`bind`), or unbinds it (`unbind`).
pub(crate) fn driver(what: &str, gpu: &str) -> io::Result<()> {
    write(&format!("/sys/bus/platform/drivers/csfgpu/{what}"), gpu)
}

/// Makes a binding as the binder does, and returns at the first failure.
pub(crate) fn bind(gpu: &str, source: &str, hold: bool, suspend_bytes: u64) -> io::Result<()> {
    fs::create_dir(format!("{CONFIG}/{gpu}"))?;
    if hold {
        // A device is held only once.
        let _ = store(gpu, "hold_ms", "20");
    }
    store(gpu, "source", source)?;
    store(gpu, "heap", HEAP)?;
    store(gpu, "firmware_bytes_wanted", "262144")?;
    store(gpu, "suspend_bytes_wanted", &suspend_bytes.to_string())?;
    store(gpu, "suspend_count", "3")?;
    if source == "handed" {
        buffer::give(gpu, 0, HEAP, 262_144)?;
        buffer::give(gpu, 1, HEAP, suspend_bytes)?;
    }
    store(gpu, "commit", "bind")
}

/// Unbinds the drivers, and removes bindings and groups, as far as they exist.
pub(crate) fn let_go(gpus: &[String]) {
    for gpu in gpus {
        let _ = driver("unbind", gpu);
        let _ = fs::remove_dir(format!("{CONFIG}/{gpu}"));
    }
    while write("/sys/kernel/debug/csfgpu/kept", "destroy").is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_and_each_worker_has_its_own() {
        let numbers = |seed, worker| {
            let mut random = Random::new(seed, worker);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(numbers(7, 1), numbers(7, 1));
        assert_ne!(numbers(7, 1), numbers(7, 2));
        assert_ne!(numbers(7, 1), numbers(8, 1));
        assert_ne!(numbers(0, 0)[0], 0);
    }
}
