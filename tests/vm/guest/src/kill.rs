// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills a program before a system call that changes a binding, a buffer, or a file in `/run/protheap`. The program has
//! then made all changes before this one, and none after it.

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;

use crate::Outcome;
use crate::worker::CONFIG;

/// Paths below which changes are counted.
const PLACES: [&str; 4] = [CONFIG, "/dev/dma_heap", "/dev/protheap", "/run/protheap"];
/// Signal of a stop at a system call: `PTRACE_O_TRACESYSGOOD` sets a bit that other stops do not have, see ptrace(2).
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// Runs a command, kills it before its change of this number, and returns that change. Returns the number of changes if
/// the command exits before.
pub(crate) fn kill_at(number: u32, program: &str, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: the closure makes one system call, and allocates no memory.
    unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, null_mut(), 0).map(drop)) };
    let main = c_int::try_from(command.spawn()?.id())?;
    let mut changes = 0;
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes only the status.
        let task = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if task < 0 {
            return Err(io::Error::last_os_error().into());
        }
        if !libc::WIFSTOPPED(status) {
            if task == main {
                return Ok(format!("ended {changes}"));
            }
            continue;
        }
        let signal = match libc::WSTOPSIG(status) {
            SYSCALL_STOP => {
                if let Some(change) = change(task)? {
                    changes += 1;
                    if changes == number {
                        kill(main)?;
                        return Ok(change);
                    }
                }
                0
            }
            // The program or one of its threads starts, and is stopped until it is resumed here.
            libc::SIGTRAP | libc::SIGSTOP => {
                let options = libc::PTRACE_O_TRACESYSGOOD
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_EXITKILL;
                trace(libc::PTRACE_SETOPTIONS, task, null_mut(), options.into())?;
                0
            }
            signal => signal,
        };
        match trace(libc::PTRACE_SYSCALL, task, null_mut(), signal.into()) {
            // Another thread has terminated the process.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            resumed => drop(resumed?),
        }
    }
}

fn trace(request: c_uint, task: c_int, address: *mut c_void, data: c_long) -> io::Result<c_long> {
    // SAFETY: every caller passes the arguments that ptrace(2) requires for its request.
    match unsafe { libc::ptrace(request, task, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Kills a process, and returns when it has terminated and its files are closed.
fn kill(process: c_int) -> io::Result<()> {
    // SAFETY: kill(2) and waitpid(2) access no memory except the status.
    unsafe {
        if libc::kill(process, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut status = 0;
        // Its threads are reported first.
        loop {
            let task = libc::waitpid(-1, &mut status, libc::__WALL);
            if task < 0 {
                return Err(io::Error::last_os_error());
            }
            if task == process && !libc::WIFSTOPPED(status) {
                return Ok(());
            }
        }
    }
}

/// Returns the change that the task is about to make, as `NAME PATH`, or `None` if it is not counted.
fn change(task: c_int) -> Outcome<Option<String>> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    trace(libc::PTRACE_GET_SYSCALL_INFO, task, size as *mut c_void, info.as_mut_ptr() as c_long)?;
    // SAFETY: all zeroes are a valid value of this structure, and the kernel has written over a part of them.
    let info = unsafe { info.assume_init() };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` is an entry, for which the kernel has written number and arguments.
    let (number, args) = unsafe { (info.u.entry.nr, info.u.entry.args) };
    let [first, second, third, ..] = args;
    let flags = |flags: u64| c_int::try_from(flags).is_ok_and(|flags| flags & libc::O_CREAT != 0);
    let (name, path) = match c_long::try_from(number)? {
        libc::SYS_mkdirat => ("mkdirat", path(task, first, second)?),
        libc::SYS_unlinkat => ("unlinkat", path(task, first, second)?),
        libc::SYS_symlinkat => ("symlinkat", path(task, second, third)?),
        libc::SYS_renameat | libc::SYS_renameat2 => ("renameat", path(task, first, second)?),
        libc::SYS_openat if flags(third) => ("openat", path(task, first, second)?),
        libc::SYS_fchmod => ("fchmod", descriptor(task, first)),
        libc::SYS_flock => ("flock", descriptor(task, first)),
        libc::SYS_write => ("write", descriptor(task, first)),
        libc::SYS_pwrite64 => ("pwrite64", descriptor(task, first)),
        libc::SYS_ioctl => ("ioctl", descriptor(task, first)),
        _ => return Ok(None),
    };
    let counts = PLACES.iter().any(|place| path.starts_with(place));
    Ok(counts.then(|| format!("{name} {}", path.display())))
}

/// Returns the path of an open descriptor of the task.
fn descriptor(task: c_int, descriptor: u64) -> PathBuf {
    fs::read_link(format!("/proc/{task}/fd/{descriptor}")).unwrap_or_default()
}

/// Returns the path that a descriptor of a directory and a string in the memory of the task specify.
fn path(task: c_int, directory: u64, address: u64) -> Outcome<PathBuf> {
    let mut bytes = [0; 512];
    // The read is short if the string lies at the end of mapped memory.
    let length = File::open(format!("/proc/{task}/mem"))?.read_at(&mut bytes, address)?;
    let end = bytes.iter().take(length).position(|byte| *byte == 0).ok_or("a path is too long")?;
    let name = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    // `join` ignores the directory if the path is absolute.
    Ok(descriptor(task, directory).join(Path::new(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_changes_nothing_ends() {
        assert_eq!(kill_at(1, "/bin/true", &[]).unwrap(), "ended 0");
    }
}
