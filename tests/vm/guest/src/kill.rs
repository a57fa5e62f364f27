// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills a program in front of a system call by which it changes something: a binding, a buffer, or what it tells in
//! `/run/protheap`. What it has done by then is done, and nothing else will be.

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

/// Where changes count.
const PLACES: [&str; 4] = [CONFIG, "/dev/dma_heap", "/dev/protheap", "/run/protheap"];
/// A stop at a system call is told from other stops by this bit of its signal: ptrace(2), `PTRACE_O_TRACESYSGOOD`.
const SYSCALL_STOP: c_int = libc::SIGTRAP | 0x80;

/// Runs a command, and kills it in front of the change of this number; tells which that was. If it ends before, tells
/// how many changes there were.
pub(crate) fn kill_at(number: u32, program: &str, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: one system call, which allocates nothing.
    unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, null_mut(), 0).map(drop)) };
    let main = c_int::try_from(command.spawn()?.id())?;
    let mut changes = 0;
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes the status, and nothing else.
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
            // It begins; or a thread does, which is stopped until it is traced.
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
            // Another thread has ended all of them.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            resumed => drop(resumed?),
        }
    }
}

fn trace(request: c_uint, task: c_int, address: *mut c_void, data: c_long) -> io::Result<c_long> {
    // SAFETY: every caller gives what its request takes: ptrace(2).
    match unsafe { libc::ptrace(request, task, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Kills a process, and returns when it has gone with all that it had open.
fn kill(process: c_int) -> io::Result<()> {
    // SAFETY: kill(2) and waitpid(2) touch no memory but the status.
    unsafe {
        if libc::kill(process, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut status = 0;
        // Its threads come first.
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

/// What the task is about to change, as `NAME PATH`; `None`: nothing that counts.
fn change(task: c_int) -> Outcome<Option<String>> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    trace(libc::PTRACE_GET_SYSCALL_INFO, task, size as *mut c_void, info.as_mut_ptr() as c_long)?;
    // SAFETY: all zeroes are a value of this structure, and the kernel wrote what it knows over them.
    let info = unsafe { info.assume_init() };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: it is an entry, of which the kernel tells the number and arguments.
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

/// What a descriptor of the task is open on.
fn descriptor(task: c_int, descriptor: u64) -> PathBuf {
    fs::read_link(format!("/proc/{task}/fd/{descriptor}")).unwrap_or_default()
}

/// The path that a directory's descriptor and a string of the task name together.
fn path(task: c_int, directory: u64, address: u64) -> Outcome<PathBuf> {
    let mut bytes = [0; 512];
    // A string may be the last before memory that is not there: what is read is shorter then.
    let length = File::open(format!("/proc/{task}/mem"))?.read_at(&mut bytes, address)?;
    let end = bytes.iter().take(length).position(|byte| *byte == 0).ok_or("a path is too long")?;
    let name = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    // An absolute path does not need the directory.
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
