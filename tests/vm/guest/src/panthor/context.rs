// SPDX-License-Identifier: MIT OR Apache-2.0
//! A group with jobs: each job counts in a word of memory, which shows the jobs that ran, and their order.

use std::env;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use crate::buffer;

use super::device::{Buffer, PAGE, Vm, Words};
use super::group::{Fence, Group, QUEUES};
use super::stream::Stream;
use super::supply::Suspend;
use super::uapi::Priority;

/// Numbers that a job adds to its word when it begins and when it ends.
const BEGUN: u64 = 1;
const ENDED: u64 = 1 << 32;
/// Size of a buffer of protected memory.
const PROTECTED_BYTES: u64 = 1 << 20;

/// Memory access of a job between its beginning and its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    /// No access.
    None,
    /// Adds to the word at that address in protected mode.
    Protected(u64),
    /// Adds to the word at that address in ordinary mode.
    Unprotected(u64),
    /// Takes memory from the tiler heap whose context is at that address.
    Heap(u64),
}

/// Properties of a group and its jobs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose<'a> {
    /// Its suspend buffer for protected mode.
    pub(super) suspend: Suspend<'a>,
    /// Priority of the group.
    pub(super) priority: Priority,
    /// Memory access of its jobs.
    pub(super) access: Access,
    /// Number of additional instructions of each job, which have no effect.
    pub(super) pass: u16,
}

/// A group, and the memory of its jobs.
#[derive(Debug)]
pub(super) struct Context {
    group: Group,
    memory: Memory,
    jobs: u64,
}

/// The stream of the jobs, followed by the word, in one buffer.
#[derive(Debug)]
struct Memory {
    words: Words,
    address: u64,
    bytes: u64,
    stream_bytes: u32,
    word: usize,
}

impl Context {
    /// Makes a group and the stream that each of its jobs runs.
    pub(super) fn create(vm: &Vm, purpose: Purpose<'_>) -> io::Result<Self> {
        let group = Group::create(vm, purpose.suspend, purpose.priority)?;
        match Memory::create(vm, purpose.access, purpose.pass) {
            Ok(memory) => Ok(Self { group, memory, jobs: 0 }),
            Err(error) => {
                // The caller needs the first error.
                let _ = group.destroy();
                Err(error)
            }
        }
    }

    /// Submits a job, to one queue after the other.
    pub(super) fn submit(&mut self) -> io::Result<Fence> {
        let queue = (self.jobs % u64::from(QUEUES)) as u32;
        let fence = self.group.submit(queue, self.memory.address, self.memory.stream_bytes)?;
        self.jobs += 1;
        Ok(fence)
    }

    /// Submits a job and waits for its end.
    pub(super) fn run(&mut self) -> io::Result<()> {
        self.submit()?.wait(limit())
    }

    /// Returns the number of jobs that have begun and the number that have ended, from their word.
    pub(super) fn counted(&self) -> (u64, u64) {
        let word = self.memory.words.all().get(self.memory.word);
        let word = word.map_or(0, |word| word.load(Ordering::Acquire));
        (word % ENDED, word / ENDED)
    }

    /// Returns whether the result of each job is right, once all have ended.
    pub(super) fn is_right(&self) -> bool {
        self.counted() == (self.jobs, self.jobs)
    }

    /// Returns the group.
    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// Destroys the group, and frees its memory.
    pub(super) fn destroy(self, vm: &Vm) -> io::Result<()> {
        self.group.destroy()?;
        vm.unmap(self.memory.address, self.memory.bytes)
    }
}

impl Memory {
    fn create(vm: &Vm, access: Access, pass: u16) -> io::Result<Self> {
        // The size of a stream does not depend on addresses.
        let stream_bytes = size_of_val(stream(access, pass, 0)?.as_slice()) as u64;
        let word = stream_bytes.next_multiple_of(PAGE);
        let buffer = Buffer::create(vm.device(), word + PAGE)?;
        let (address, words) = (vm.map(&buffer)?, buffer.words()?);
        let bytes = buffer.bytes();
        buffer.close()?;
        for (to, from) in words.all().iter().zip(stream(access, pass, address + word)?) {
            to.store(from, Ordering::Release);
        }
        let word = usize::try_from(word).map_err(|_| Errno::OVERFLOW)? / size_of::<u64>();
        let stream_bytes = u32::try_from(stream_bytes).map_err(|_| Errno::OVERFLOW)?;
        Ok(Self { words, address, bytes, stream_bytes, word })
    }
}

/// Returns the instructions of a job that counts at that address.
fn stream(access: Access, pass: u16, word: u64) -> io::Result<Vec<u64>> {
    let mut stream = Stream::default();
    stream.add(word, BEGUN);
    let mut part = Stream::default();
    match access {
        Access::None => stream.pass(pass),
        Access::Protected(address) => {
            part.add(address, 1);
            part.pass(pass);
            stream.protect(&part).ok_or(Errno::TOOBIG)?;
        }
        Access::Unprotected(address) => {
            stream.add(address, 1);
            stream.pass(pass);
        }
        Access::Heap(heap) => {
            stream.tile(heap);
            stream.pass(pass);
        }
    }
    stream.add(word, ENDED);
    Ok(stream.finish())
}

/// Maps protected memory of that heap, and returns its address.
pub(super) fn map_protected(vm: &Vm, heap: &str) -> io::Result<u64> {
    let dma_buf = buffer::allocate(heap, PROTECTED_BYTES)?;
    let buffer = Buffer::import(vm.device(), dma_buf, PROTECTED_BYTES)?;
    let address = vm.map(&buffer)?;
    buffer.close()?;
    Ok(address)
}

/// Returns the timeout of a job: the seconds in `PANTHOR_TIMEOUT`, or 10.
pub(super) fn limit() -> Duration {
    let seconds = env::var("PANTHOR_TIMEOUT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}
