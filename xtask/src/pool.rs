// SPDX-License-Identifier: MIT OR Apache-2.0
//! Jobs that run in parallel. The output of each is kept until it ends, so that the lines of two jobs never mix.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::progress::{self, clock};

/// Interval at which the running jobs are listed on standard error.
const NEWS: Duration = Duration::from_secs(60);

/// Returns the number of processors.
pub(crate) fn processors() -> u32 {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(processors).unwrap_or(u32::MAX)
}

/// One job.
pub(crate) struct Job<'a, T> {
    /// Name of the job.
    pub(crate) name: String,
    /// Expected duration. The longest job is started first.
    pub(crate) estimate: Duration,
    /// Resource that no two jobs use at the same time.
    pub(crate) uses: Option<&'static str>,
    /// The work, which may add further jobs.
    pub(crate) run: Work<'a, T>,
}

/// Work of a job.
pub(crate) type Work<'a, T> = Box<dyn FnOnce(&Queue<'a, T>) -> T + Send + 'a>;

/// A job that has ended.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    pub(crate) name: String,
    /// Its output.
    pub(crate) output: String,
    pub(crate) took: Duration,
    pub(crate) result: T,
}

/// Waiting and running jobs.
pub(crate) struct Queue<'a, T> {
    state: Mutex<State<'a, T>>,
    changed: Condvar,
}

struct State<'a, T> {
    waiting: Vec<Job<'a, T>>,
    running: Vec<Running>,
}

struct Running {
    name: String,
    uses: Option<&'static str>,
    since: Instant,
}

/// Runs jobs and the jobs that they add, `threads` at a time. Calls `ended` for each one when it ends.
pub(crate) fn run<'a, T: Send>(
    jobs: Vec<Job<'a, T>>,
    threads: u32,
    mut ended: impl FnMut(Ended<T>),
) {
    let state = State { waiting: jobs, running: Vec::new() };
    let queue = Queue { state: Mutex::new(state), changed: Condvar::new() };
    thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for _ in 0..threads.max(1) {
            let (send, queue) = (send.clone(), &queue);
            scope.spawn(move || {
                while let Some((job, running)) = queue.take() {
                    let job = job.run(queue, threads > 1);
                    drop(running);
                    // The receiver exists until the last job has ended.
                    let _ = send.send(job);
                }
            });
        }
        drop(send);
        loop {
            match receive.recv_timeout(NEWS) {
                Ok(job) => ended(job),
                Err(RecvTimeoutError::Timeout) => queue.report(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
}

impl<'a, T> Job<'a, T> {
    fn run(self, queue: &Queue<'a, T>, keep_output: bool) -> Ended<T> {
        let started = Instant::now();
        if keep_output {
            progress::keep_output();
        }
        let result = (self.run)(queue);
        let output = progress::kept_output();
        Ended { name: self.name, output, took: started.elapsed(), result }
    }
}

/// Frees the place of a job when it ends, or panics.
struct Place<'q, 'a, T> {
    queue: &'q Queue<'a, T>,
    name: String,
}

impl<T> Drop for Place<'_, '_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if let Some(at) = state.running.iter().position(|running| running.name == self.name) {
            state.running.swap_remove(at);
        }
        drop(state);
        self.queue.changed.notify_all();
    }
}

impl<'a, T> Queue<'a, T> {
    /// Adds a job.
    pub(crate) fn add(&self, job: Job<'a, T>) {
        self.lock().waiting.push(job);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<'a, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job that can be started. Returns `None` when there will be no more.
    fn take(&self) -> Option<(Job<'a, T>, Place<'_, 'a, T>)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.next() {
                return Some((
                    job,
                    Place { queue: self, name: state.running.last()?.name.clone() },
                ));
            }
            if state.waiting.is_empty() && state.running.is_empty() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lists the running jobs.
    fn report(&self) {
        let state = self.lock();
        let running = state.running.iter();
        let names: Vec<_> =
            running.map(|job| format!("{} ({})", job.name, clock(job.since.elapsed()))).collect();
        eprintln!("  running: {}; waiting: {}", names.join(", "), state.waiting.len());
    }
}

impl<'a, T> State<'a, T> {
    /// Starts the most urgent job whose resource is free: the longest one. Jobs that share a resource count as long as
    /// all of them, since they run one after the other.
    fn next(&mut self) -> Option<Job<'a, T>> {
        let free = |uses: Option<&str>| {
            uses.is_none() || self.running.iter().all(|running| running.uses != uses)
        };
        let urgency = |job: &Job<'a, T>| {
            let same = self.waiting.iter().filter(|other| other.uses == job.uses);
            let chain = same.map(|other| other.estimate).sum();
            (if job.uses.is_some() { chain } else { job.estimate }, job.estimate)
        };
        let jobs = self.waiting.iter().enumerate().filter(|(_, job)| free(job.uses));
        // The first one of equals.
        let (at, _) = jobs.rev().max_by_key(|(_, job)| urgency(job))?;
        let job = self.waiting.remove(at);
        self.running.push(Running {
            name: job.name.clone(),
            uses: job.uses,
            since: Instant::now(),
        });
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn job<'a, T>(
        name: &str,
        seconds: u64,
        run: impl FnOnce(&Queue<'a, T>) -> T + Send + 'a,
    ) -> Job<'a, T> {
        let estimate = Duration::from_secs(seconds);
        Job { name: name.to_owned(), estimate, uses: None, run: Box::new(run) }
    }

    #[test]
    fn longest_jobs_start_first_and_added_jobs_run() {
        let mut order = Vec::new();
        let long = |queue: &Queue<'_, u32>| {
            queue.add(job("added", 1, |_| 3));
            2
        };
        run(vec![job("short", 2, |_| 1), job("long", 9, long)], 1, |job| {
            order.push((job.name, job.result));
        });
        assert_eq!(
            order,
            [("long", 2), ("short", 1), ("added", 3)].map(|(n, r)| (n.to_owned(), r))
        );
    }

    #[test]
    fn jobs_with_a_common_resource_start_before_a_longer_job() {
        let mut order = Vec::new();
        let mut jobs = vec![job("long", 9, |_| ())];
        for name in ["a", "b"] {
            let mut job = job(name, 5, |_| ());
            job.uses = Some("target");
            jobs.push(job);
        }
        run(jobs, 1, |job| order.push(job.name));
        assert_eq!(order, ["a", "long", "b"]);
    }

    #[test]
    fn output_of_parallel_jobs_does_not_mix() {
        let work = |name: &'static str| {
            move |_: &Queue<'_, ()>| {
                for _ in 0..5 {
                    say!("{name}");
                    thread::sleep(Duration::from_millis(1));
                }
            }
        };
        let mut seen = Vec::new();
        run(vec![job("a", 1, work("a")), job("b", 1, work("b"))], 2, |job| seen.push(job.output));
        seen.sort();
        assert_eq!(seen, ["a\n".repeat(5), "b\n".repeat(5)]);
    }

    #[test]
    fn resource_is_used_by_one_job_at_a_time() {
        let users = AtomicUsize::new(0);
        let jobs = (0..6).map(|number| {
            let mut job = job(&number.to_string(), number, |_| {
                assert_eq!(users.fetch_add(1, Ordering::SeqCst), 0);
                thread::sleep(Duration::from_millis(2));
                users.fetch_sub(1, Ordering::SeqCst);
            });
            job.uses = Some("target");
            job
        });
        let mut ended = 0;
        run(jobs.collect(), 4, |_| ended += 1);
        assert_eq!(ended, 6);
    }
}
