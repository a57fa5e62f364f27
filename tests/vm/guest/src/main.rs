// SPDX-License-Identifier: MIT OR Apache-2.0
//! Helper of the scenarios in the test guest, for operations that a shell cannot perform, or not fast enough.
//!
//! A command that fails with an errno prints its name, such as `EBUSY`, and exits with 1, so that scripts can compare
//! it.

#![cfg_attr(not(panthor), allow(dead_code, reason = "only the client of panthor uses it"))]

mod buffer;
mod bus;
mod faults;
mod fuzz;
#[cfg(target_arch = "aarch64")]
mod kexec;
mod kill;
mod node;
#[cfg(panthor)]
mod panthor;
mod report;
mod stress;
mod worker;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use protheap_board::uevents::{Event as _, Received, Uevents};
use rustix::fs::{FlockOperation, flock};
use rustix::system::{delete_module, finit_module};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

const USAGE: &str = "usage: protheap-guest COMMAND
  now                                      Print CLOCK_MONOTONIC in microseconds
  get FILE POINTER                         Print the member of a JSON file at a JSON pointer (RFC 6901)
  step FILE INDEX STEP                     Print the time of a step in the timeline of a GPU, in microseconds
  write FILE TEXT                          Write once to an existing file
  mkdir PATH                               Make a directory
  count-fds PID                            Print the number of open files of a process
  as UID COMMAND...                        Execute a command with that user and group
  lock FILE LOCKED UNTIL                   Lock FILE, create LOCKED, and keep the lock until UNTIL exists
  listen SOCKET SECONDS                    Wait on a socket for READY=1 of a service, like systemd
  uevents FILE SECONDS                     Create FILE and append a line `STATE WANT` for each uevent of protheap
  alloc HEAP BYTES [--hold SECONDS]        Allocate a buffer
  alloc-free HEAP BYTES PROCESSES COUNT    Allocate and free a buffer COUNT times in each of PROCESSES processes
  mmap-test HEAP BYTES                     Map a buffer and print `mapped`, or the errno
  hand-over DEVICE KIND HEAP BYTES [...]   Hand buffers over to protheap; KIND is firmware, suspend or a number
      --count N         Hand N buffers over
      --again DEV KIND  Hand the same buffer over once more
      --flags N         Set these flags
      --file PATH       Hand this file over, not a buffer
      --fd N            Hand this descriptor over, whether it is open or not
      --node FD         Use this descriptor of /dev/protheap, which the caller has opened
      --unterminated    Set a device name of 64 bytes without NUL
  stress SEED SECONDS GPU...               Run valid operations in parallel and print how often each succeeded
  fuzz SEED SECONDS GPU...                 Run random operations in parallel and print the number of each result
  faults GPU                               Fail each allocation of each operation once and print their number
  unload GPU FILE COUNT                    Unload protheap.ko, which is FILE, COUNT times while its work item is pending
  panthor COMMAND                          Use a GPU through the interface of panthor:
      query             Print the version of the driver and properties of the firmware
      set-firmware      Set the buffer of the firmware's protected section, and print how long it took
      take-firmware     Take that buffer back
      job               Run jobs in a group, one after the other
      protected-job     Run jobs in protected mode, each of which writes to protected memory
      tiler-job         Run jobs of the tiler, each of which takes memory from a heap
      unprotected-write Run a job that writes to protected memory outside of protected mode, and print its result
      unmapped-write    Run a job that writes to an address where nothing is mapped, and print its result
      group             Make groups
      group-bits        Try to create groups with a bit set that must be zero
      churn             Create protected groups and destroy them with their jobs, keeping --groups N of them
      lose-groups       Run a protected region in ordinary groups, each of which is lost
      oversubscribe     Run jobs in more groups than the firmware has slots, all at once
      clients N         Run jobs in N processes, and protected jobs in N more
      stress SEED SECONDS PROCESSES GPU...  Run all operations in parallel and print how often each succeeded or failed
    Options, each for the commands to which it applies:
      --gpu DEVICE      Use this GPU, not any
      --count N         Run N jobs (in each group), or make N groups; 1 by default
      --gap MS          Pause between jobs
      --pass N          Add N instructions to each job, so that it takes longer
      --priority NAME   Priority of the group: low, medium, high or real-time; medium by default
      --heap NAME       Allocate protected memory from this heap
      --protected       Make protected groups, with ordinary jobs
      --own-suspend     Give each protected group a suspend buffer of this program, not of protheap.ko
      --from NAME       Allocate that buffer, or that of set-firmware, from this heap
      --bytes N         Allocate N bytes for it, not as many as the driver needs
      --file PATH, --fd N  Pass this file or descriptor in its place, whether it is open or not
      --flags N         Set these flags of the ioctl
      --ordinary        Make an ordinary group for protected-job
      --groups N, --protected-groups N  Make N groups for `oversubscribe`; 12 and none by default
      --job             Run a job in each group of `group`
      --hold FILE       Keep the groups until FILE exists; with --job, run another job in each then; for
                        take-firmware, open the node and wait until FILE exists
    PANTHOR_TIMEOUT is the timeout of a job in seconds, 10 by default
  bus COMMAND                              Call protheapd over D-Bus; an error is the last word of its name:
      reload            Read the policies again
      rebind DEVICE     Run the selection for a GPU again
      open HEAP         Open a heap
      fill HEAP FILE    Open a heap, allocate all of it, print the number of buffers, and keep them until FILE exists
      find COUNT BYTES DEVICES  Call FindHeap COUNT times, with a usage of BYTES bytes and DEVICES devices, and print
                        the number of replies of each kind
      deaf COUNT FILE   Call FindHeap COUNT times without reading a reply, print the number of calls that the bus has
                        accepted, and keep the connection until FILE exists
      options COUNT     Call FindHeap with COUNT options and print the kind of reply
      methods DEVICE HEAP BYTES  Call each method with a text of BYTES bytes and print the replies of each kind
      crowd COUNT FILE  Send long calls from COUNT callers until FILE exists; print COUNT when each has sent one
      slowest COUNT     Read a property COUNT times and print the time of the slowest reply in milliseconds
  node PATH                                Print the hardware behind a device node: NUMBER DEVICE COMPATIBLE...
  querycap PATH                            Print the driver and the kind of a video node
  kill-at N COMMAND...                     Run a command and kill it before its N-th change to bindings, buffers or
                                           /run/protheap; print that change, or `ended COUNT` if there were only COUNT
  kexec                                    Start another kernel, which powers the machine off
  watch DEVICE FILE SECONDS                Print the events of a GPU until FILE exists
  report DEVICE [HELD BEFORE]              Print the result of the demo; HELD is the duration of the hold in
                                           milliseconds, BEFORE whether the GPU was bound before its driver probed";

/// Result of a command; scripts read the text of the error.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<io::Error>() {
                Some(error) => println!("{}", errno_text(error)),
                None => println!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    match words {
        ["now"] => println!("{}", now_us()),
        ["get", file, pointer] => match json(file)?.pointer(pointer) {
            Some(Value::String(text)) => println!("{text}"),
            Some(value) => println!("{value}"),
            None => return Err(format!("{file} has no {pointer}").into()),
        },
        ["step", file, index, step] => {
            let timeline = format!("/gpus/{index}/timeline");
            let at = report::step_us(&json(file)?, &timeline, step);
            println!("{}", at.ok_or_else(|| format!("{file} has no step {step} in {timeline}"))?);
        }
        ["write", file, text] => {
            let mut file = fs::OpenOptions::new().write(true).open(file)?;
            let written = file.write(text.as_bytes())?;
            if written != text.len() {
                return Err(format!("the kernel accepted {written} of {} bytes", text.len()).into());
            }
        }
        ["mkdir", path] => fs::create_dir(path)?,
        ["count-fds", pid] => println!("{}", fs::read_dir(format!("/proc/{pid}/fd"))?.count()),
        ["lock", file, locked, until] => {
            let file = fs::File::open(file)?;
            flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from)?;
            fs::File::create(locked)?;
            while !fs::exists(until)? {
                sleep(Duration::from_millis(20));
            }
        }
        ["as", user, program, arguments @ ..] => {
            let id = user.parse()?;
            return Err(Command::new(program).args(arguments).uid(id).gid(id).exec().into());
        }
        ["listen", socket, seconds] => {
            let socket = UnixDatagram::bind(socket)?;
            socket.set_read_timeout(Some(Duration::from_secs(seconds.parse()?)))?;
            let mut message = [0; 256];
            let size = socket.recv(&mut message)?;
            let message = String::from_utf8_lossy(message.get(..size).unwrap_or_default());
            if !message.lines().any(|line| line == "READY=1") {
                return Err(format!("received `{message}`, which has no READY=1").into());
            }
        }
        ["uevents", file, seconds] => uevents(file, Duration::from_secs(seconds.parse()?))?,
        ["alloc", heap, bytes, rest @ ..] => {
            let buffer = buffer::allocate(heap, bytes.parse()?)?;
            println!("allocated");
            if let ["--hold", seconds] = rest {
                sleep(Duration::from_secs(seconds.parse()?));
            }
            drop(buffer);
        }
        ["alloc-free", heap, bytes, processes, count] => {
            buffer::allocate_in_processes(heap, bytes, processes.parse()?, count)?;
        }
        ["alloc-free", heap, bytes, count] => {
            for _ in 0..count.parse::<u32>()? {
                drop(buffer::allocate(heap, bytes.parse()?)?);
            }
        }
        ["mmap-test", heap, bytes] => {
            let bytes = bytes.parse()?;
            buffer::map(&buffer::allocate(heap, bytes)?, bytes)?;
            println!("mapped");
        }
        ["hand-over", device, kind, heap, bytes, options @ ..] => {
            buffer::hand_over(device, kind, heap, bytes.parse()?, options)?;
        }
        ["fuzz", rest @ ..] => worker::lead(&["fuzz-worker"], worker::WORKERS, rest)?,
        ["fuzz-worker", rest @ ..] => fuzz::worker(rest)?,
        ["faults", gpu] => faults::each(gpu)?,
        ["stress", rest @ ..] => worker::lead(&["stress-worker"], worker::WORKERS, rest)?,
        ["stress-worker", rest @ ..] => stress::worker(rest)?,
        ["unload", gpu, file, count] => println!("{}", unload(gpu, file, count.parse()?)?),
        #[cfg(panthor)]
        ["panthor", rest @ ..] => panthor::run(rest)?,
        ["bus", rest @ ..] => bus::run(rest)?,
        ["node", path] => println!("{}", node::hardware(path)?),
        ["querycap", path] => println!("{}", node::querycap(path)?),
        ["kill-at", number, program, arguments @ ..] => {
            println!("{}", kill::kill_at(number.parse()?, program, arguments)?);
        }
        #[cfg(target_arch = "aarch64")]
        ["kexec"] => kexec::kexec()?,
        ["watch", device, until, seconds] => {
            report::watch(device, until, Duration::from_secs(seconds.parse()?));
        }
        ["report", device] => println!("report {}", report::report(device, None)),
        ["report", device, held_ms, before] => {
            let known = Some((held_ms.parse()?, before.parse()?));
            println!("report {}", report::report(device, known));
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// Withdraws the binding of a held GPU, unloads protheap.ko at once, and loads it again, `count` times. Returns how
/// often the module was unloaded before the GPU driver probed.
fn unload(gpu: &str, file: &str, count: u32) -> Outcome<u32> {
    let file = fs::File::open(file)?;
    let directory = format!("{}/{gpu}", worker::CONFIG);
    let mut at_once = 0;
    for _ in 0..count {
        let _ = worker::driver("unbind", gpu);
        fs::create_dir(&directory)?;
        worker::store(gpu, "hold_ms", "10000")?;
        if worker::driver("bind", gpu).is_ok() {
            return Err("the GPU probed although it is held".into());
        }
        fs::remove_dir(&directory)?;
        if delete_module(c"protheap", 0).is_ok() {
            at_once += 1;
        } else {
            // The driver has probed, and pins the module.
            let mut unloaded = false;
            while !unloaded {
                let _ = worker::driver("unbind", gpu);
                sleep(Duration::from_millis(1));
                unloaded = delete_module(c"protheap", 0).is_ok();
            }
        }
        finit_module(&file, c"", 0)?;
    }
    Ok(at_once)
}

/// Writes a line to `path` for each uevent of protheap, of any device.
fn uevents(path: &str, limit: Duration) -> Outcome {
    let mut uevents = Uevents::open().map_err(|problem| problem.to_string())?;
    let mut file = fs::File::create(path)?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if !uevents.wait(Some(left)).map_err(|problem| problem.to_string())? {
            continue;
        }
        while let Some(received) = uevents.receive().map_err(|problem| problem.to_string())? {
            let Received::Event(event) = received else {
                return Err("the kernel dropped uevents".into());
            };
            if let Some(state) = event.property("PROTHEAP_STATE") {
                let want = event.property("PROTHEAP_WANT").unwrap_or_default();
                writeln!(file, "{state} {want}")?;
            }
        }
    }
}

/// Returns CLOCK_MONOTONIC in microseconds.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Reads a JSON file.
pub(crate) fn json(path: &str) -> Outcome<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Returns the name of the errno, or the text of an error without one.
pub(crate) fn errno_text(error: &io::Error) -> String {
    let name = error.raw_os_error().and_then(errno_name);
    name.map_or_else(|| error.to_string(), str::to_owned)
}

/// Returns the name of an errno that Protheap, heaps, configfs or panthor returns.
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        4 => "EINTR",
        5 => "EIO",
        7 => "E2BIG",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        18 => "EXDEV",
        19 => "ENODEV",
        20 => "ENOTDIR",
        21 => "EISDIR",
        22 => "EINVAL",
        25 => "ENOTTY",
        28 => "ENOSPC",
        34 => "ERANGE",
        36 => "ENAMETOOLONG",
        39 => "ENOTEMPTY",
        61 => "ENODATA",
        62 => "ETIME",
        90 => "EMSGSIZE",
        95 => "EOPNOTSUPP",
        105 => "ENOBUFS",
        108 => "ESHUTDOWN",
        110 => "ETIMEDOUT",
        114 => "EALREADY",
        124 => "EMEDIUMTYPE",
        125 => "ECANCELED",
        _ => return None,
    })
}
