// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios' helper in the test guest: what a shell cannot do, or not fast enough.
//!
//! A command that meets an errno prints its name, `EBUSY`, and exits with 1, so that scripts can compare it.

mod buffer;
mod bus;
mod faults;
mod fuzz;
#[cfg(target_arch = "aarch64")]
mod kexec;
mod kill;
mod node;
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
  now                                      CLOCK_MONOTONIC in microseconds
  get FILE POINTER                         a member of a JSON file, as RFC 6901 names it
  step FILE INDEX STEP                     when a GPU's timeline came to a step, in microseconds
  write FILE TEXT                          one write to a file that exists
  mkdir PATH                               makes a directory
  count-fds PID                            open files of a process
  as UID COMMAND...                        becomes that command, with that user and group
  lock FILE LOCKED UNTIL                   has a file's lock, from when there is the second file until there is the third
  listen SOCKET SECONDS                    waits for a service to say READY=1 there, as to systemd
  uevents FILE SECONDS                     writes what protheap tells, once the file is there: STATE WANT
  alloc HEAP BYTES [--hold SECONDS]        allocates a buffer
  alloc-free HEAP BYTES PROCESSES COUNT    allocates a buffer and frees it COUNT times in each of PROCESSES processes
  mmap-test HEAP BYTES                     says `mapped`, or the errno
  hand-over DEVICE KIND HEAP BYTES [...]   gives buffers to protheap; KIND is firmware, suspend or a number
      --count N         that many buffers
      --again DEV KIND  the same buffer once more
      --flags N         with these flags
      --file PATH       this file, not a buffer
      --fd N            this number, open or not
      --unterminated    a device name of 64 bytes without NUL
  stress SEED SECONDS GPU...               does everything at once; says how often what succeeded
  fuzz SEED SECONDS GPU...                 does what nobody sane does; says how often what succeeded or failed
  faults GPU                               each allocation of each operation fails once; says how many there are
  unload GPU FILE COUNT                    unloads protheap, whose file that is, while it still has something to do
  panthor COMMAND                          uses the GPU that panthor drives, by the driver's real interface:
      query             the version of the driver, and what the firmware has
      job               jobs in a group, one after the other
      protected-job     the same in protected mode, where each writes protected memory
      unprotected-write tells what comes of a job that writes it, but not in protected mode
      group             makes groups
      group-bits        tries to create groups with a bit set that must be zero
      churn             creates protected groups and destroys them with their jobs, keeping --groups N of them
      lose-groups       runs a protected region in ordinary groups, each of which is lost
      oversubscribe     jobs in more groups than the firmware has slots, all at once
      clients N         N processes that run jobs, and N more that run protected ones
      stress SEED SECONDS PROCESSES GPU...  does everything at once; says how often what came of it
    with options, where they mean something:
      --gpu DEVICE      this GPU, not any
      --count N         that many jobs (in each group), or groups; 1 else
      --gap MS          a pause between jobs
      --pass N          each job has N instructions more, and takes longer
      --heap NAME       where protected memory comes from
      --protected       the groups are protected, with ordinary jobs
      --ordinary        the group of protected-job is not
      --groups N, --protected-groups N  of which `oversubscribe` has 12, and none
      --job             `group` runs a job in each
      --hold FILE       keeps the groups until that file is there; with --job, another job runs in each then
    and PANTHOR_TIMEOUT is how many seconds a job may take: 10 else
  bus COMMAND                              asks protheapd over D-Bus; an error is the last word of its name:
      reload            reads the policies again
      rebind DEVICE     decides anew for a GPU
      open HEAP         opens a heap
      fill HEAP FILE    opens a heap, takes all of it, says how many buffers, and keeps them until that file is there
      find COUNT BYTES DEVICES  so many FindHeap, some at once, with a usage of so many bytes and so many devices; says
                        how many answers of which kind came
      deaf COUNT FILE   so many of them, and reads no answer; says how many the bus took, and stays until that file
      options COUNT     a FindHeap with so many options; says which answer came
      methods DEVICE HEAP BYTES  every method, with a text of so many bytes; says how many answers of which kind came
      crowd COUNT FILE  so many callers send long calls until that file is there; says when each has sent one
      slowest COUNT     asks so often for a property; says how many milliseconds the slowest answer took
  node PATH                                the hardware behind a device node, as Protheap finds it: NUMBER DEVICE COMPATIBLE...
  querycap PATH                            the driver of a video node, and what the node is
  kill-at N COMMAND...                     runs it, and kills it in front of its N-th change to bindings, buffers or
                                           /run/protheap: says which, or `ended COUNT` if it was over before
  kexec                                    starts another kernel, which powers the machine off
  watch DEVICE FILE SECONDS                tells the GPU's story until that file is there
  report DEVICE [HELD BEFORE]              tells the demo's result: who does not know how long the GPU was held, in
                                           milliseconds, and whether it was bound before its driver probed, is told";

/// What goes wrong, as scripts read it.
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
                return Err(format!("{written} of {} bytes were taken", text.len()).into());
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
                return Err(format!("heard `{message}`").into());
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

/// Unloads protheap.ko right after a binding was withdrawn for which the GPU waits, and loads it again, so often. Says
/// how often the GPU's driver was not faster.
fn unload(gpu: &str, file: &str, count: u32) -> Outcome<u32> {
    let file = fs::File::open(file)?;
    let directory = format!("{}/{gpu}", worker::CONFIG);
    let mut at_once = 0;
    for _ in 0..count {
        let _ = worker::driver("unbind", gpu);
        fs::create_dir(&directory)?;
        worker::store(gpu, "hold_ms", "10000")?;
        if worker::driver("bind", gpu).is_ok() {
            return Err("the GPU did not wait".into());
        }
        fs::remove_dir(&directory)?;
        if delete_module(c"protheap", 0).is_ok() {
            at_once += 1;
        } else {
            // The driver was faster, and keeps the module.
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

/// Writes a line for each event of protheap, of any device.
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
                return Err("events were lost".into());
            };
            if let Some(state) = event.property("PROTHEAP_STATE") {
                let want = event.property("PROTHEAP_WANT").unwrap_or_default();
                writeln!(file, "{state} {want}")?;
            }
        }
    }
}

/// CLOCK_MONOTONIC in microseconds.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// Reads a JSON file.
pub(crate) fn json(path: &str) -> Outcome<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// An errno's name, where the standard library speaks in sentences; or what else the error says.
pub(crate) fn errno_text(error: &io::Error) -> String {
    let name = error.raw_os_error().and_then(errno_name);
    name.map_or_else(|| error.to_string(), str::to_owned)
}

/// Names of the errnos that Protheap, heaps, configfs and panthor give.
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
        125 => "ECANCELED",
        _ => return None,
    })
}
