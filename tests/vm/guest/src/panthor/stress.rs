// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of programs on a GPU, in parallel and in random order; some programs exit without cleaning up.

use std::io;
use std::mem;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;
use crate::buffer;
use crate::worker::{self, HEAP, Random, Worker};

use super::context::{Access, Context, Purpose, limit, map_protected};
use super::device::{Buffer, Device, Vm};
use super::supply::Suspend;
use super::uapi::Priority;

/// Maximum number of clients in a process, and of groups of a client.
const CLIENTS: usize = 4;
const GROUPS: usize = 6;

/// Least number of steps of each process.
const STEPS: u64 = 60;

/// A client of the GPU.
struct Client {
    vm: Vm,
    protected: Option<u64>,
    contexts: Vec<Context>,
}

/// Runs that many processes for that many seconds.
pub(super) fn lead(seed: &str, seconds: &str, processes: &str, gpus: &[&str]) -> Outcome {
    let words = [&[seed, seconds], gpus].concat();
    worker::lead(&["panthor", "stress-worker"], processes.parse()?, &words)
}

/// One of the processes.
pub(super) fn worker(words: &[&str]) -> Outcome {
    let mut clients = Vec::new();
    worker::run(words, STEPS, |worker| {
        step(worker, &mut clients);
    })
}

fn step(worker: &mut Worker, clients: &mut Vec<Client>) {
    let gpu = worker.gpu();
    let what = worker.random.below(100);
    if clients.is_empty() || what < 6 && clients.len() < CLIENTS {
        match worker.count("client", Client::open(&gpu)) {
            Some(client) => clients.push(client),
            // The driver can be unbound for some time.
            None => sleep(Duration::from_millis(10)),
        }
        return;
    }
    let place = worker.random.below(clients.len());
    let mut client = clients.swap_remove(place);
    let went_well = match what {
        0..10 => {
            let destroyed = client.destroy();
            worker.count("client-destroyed", destroyed);
            return;
        }
        10..13 => {
            worker.count("client-closed", Ok(()));
            return;
        }
        13..16 => {
            for context in &mut client.contexts {
                // The job is not waited for.
                let submitted = context.submit().map(drop);
                worker.count("job-left", submitted);
            }
            worker.count("client-closed", Ok(()));
            return;
        }
        16..45 => create(worker, &mut client),
        45..50 => client.contexts.pop().is_none_or(|context| {
            let destroyed = context.destroy(&client.vm);
            worker.count("group-destroyed", destroyed).is_some()
        }),
        50..88 => busy(worker, &mut client),
        88..93 => worker.count("imported", import(&client)).is_some(),
        93..97 => client.contexts.first().is_none_or(|context| {
            let state = context.group().state();
            worker.count("state", state).is_some()
        }),
        _ => {
            let killed = kill(&mut worker.random, &gpu);
            worker.count("killed", killed).is_some()
        }
    };
    if went_well || client.vm.device().csif().is_ok() {
        clients.push(client);
    } else {
        // The driver was unbound, and has another node when it is bound again.
        worker.count("client-lost", Ok(()));
    }
}

impl Client {
    fn open(gpu: &str) -> io::Result<Self> {
        let vm = Vm::create(&Device::open(Some(gpu), limit())?)?;
        Ok(Self { vm, protected: None, contexts: Vec::new() })
    }

    /// Address of its protected memory, which is mapped at its first use.
    fn protected(&mut self) -> io::Result<u64> {
        if let Some(address) = self.protected {
            return Ok(address);
        }
        let address = map_protected(&self.vm, HEAP)?;
        self.protected = Some(address);
        Ok(address)
    }

    /// Destroys the groups and the address space.
    fn destroy(self) -> io::Result<()> {
        for context in self.contexts {
            context.destroy(&self.vm)?;
        }
        self.vm.destroy()
    }
}

/// Makes a group of any kind.
fn create(worker: &mut Worker, client: &mut Client) -> bool {
    if client.contexts.len() == GROUPS {
        return true;
    }
    let random = &mut worker.random;
    let (name, protected, writes) = *random.pick(&[
        ("group", false, false),
        ("protected-group", true, true),
        ("protected-group-idle", true, false),
    ]);
    let priority = *random.pick(&[Priority::Low, Priority::Medium, Priority::High]);
    let pass = *random.pick(&[0, 0, 100, 400]);
    let access = if writes {
        let memory = client.protected();
        match worker.count("protected-memory", memory) {
            Some(address) => Access::Protected(address),
            None => return false,
        }
    } else {
        Access::None
    };
    let suspend = if protected { Suspend::Binding } else { Suspend::None };
    let purpose = Purpose { suspend, priority, access, pass };
    let context = Context::create(&client.vm, purpose);
    worker.count(name, context).map(|context| client.contexts.push(context)).is_some()
}

/// Runs jobs in all groups at once.
fn busy(worker: &mut Worker, client: &mut Client) -> bool {
    let mut fences = Vec::new();
    for _ in 0..1 + worker.random.below(4) {
        for (place, context) in client.contexts.iter_mut().enumerate() {
            fences.push((place, context.submit()));
        }
    }
    let mut failed = vec![false; client.contexts.len()];
    for (place, fence) in fences {
        let ended = fence.and_then(|fence| fence.wait(limit()));
        failed[place] |= worker.count("job", ended).is_none();
    }
    let went_well = !failed.contains(&true);
    for (context, failed) in mem::take(&mut client.contexts).into_iter().zip(failed) {
        if failed {
            // The group would accept no more jobs.
            let destroyed = context.destroy(&client.vm);
            worker.count("group-given-up", destroyed);
        } else {
            if !context.is_right() {
                worker.count("job-wrong", Ok(()));
            }
            client.contexts.push(context);
        }
    }
    went_well
}

/// Imports protected memory, and releases it.
fn import(client: &Client) -> io::Result<()> {
    let bytes = 65536;
    Buffer::import(client.vm.device(), buffer::allocate(HEAP, bytes)?, bytes)?.close()
}

/// Starts another process that runs jobs, and kills it.
fn kill(random: &mut Random, gpu: &str) -> io::Result<()> {
    let command = *random.pick(&["job", "protected-job"]);
    let mut process = Command::new("/proc/self/exe");
    process.args(["panthor", command, "--count", "1000000", "--gpu", gpu]);
    let mut process = process.stdout(Stdio::null()).spawn()?;
    sleep(Duration::from_millis(1 + random.next() % 50));
    process.kill()?;
    process.wait()?;
    Ok(())
}
