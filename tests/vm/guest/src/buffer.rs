// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocates buffers from heaps, maps them, and hands them over to protheap, also in ways that it must refuse.

use std::env;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::Command;
use std::ptr;

use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::Outcome;

/// `struct dma_heap_allocation_data` of linux/dma-heap.h.
#[derive(Debug)]
#[repr(C)]
struct Allocation {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

/// `struct protheap_hand_over` of driver/module/uapi/protheap.h.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct HandOver {
    pub(crate) device: [u8; 64],
    pub(crate) fd: i32,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
}

const DMA_HEAP_IOCTL_ALLOC: u32 = opcode::read_write::<Allocation>(b'H', 0);
pub(crate) const PROTHEAP_IOCTL_HAND_OVER: u32 = opcode::write::<HandOver>(0xbb, 1);
const O_RDWR_CLOEXEC: u32 = 0o2 | 0o2_000_000;

/// Allocates a dma-buf from a heap.
pub(crate) fn allocate(heap: &str, len: u64) -> io::Result<OwnedFd> {
    allocate_from(&File::open(format!("/dev/dma_heap/{heap}"))?, len)
}

/// Allocates a dma-buf from a heap that is open.
pub(crate) fn allocate_from(heap: impl AsFd, len: u64) -> io::Result<OwnedFd> {
    let mut data = Allocation { len, fd: 0, fd_flags: O_RDWR_CLOEXEC, heap_flags: 0 };
    // SAFETY: the opcode is DMA_HEAP_IOCTL_ALLOC, which reads and writes this structure.
    unsafe {
        ioctl(heap, Updater::<{ DMA_HEAP_IOCTL_ALLOC }, _>::new(&mut data))?;
    };
    // SAFETY: the kernel has just created this descriptor, and nothing else uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fd.cast_signed()) })
}

/// Starts `processes` processes, each of which allocates and frees a buffer `count` times, and waits for them.
///
/// # Errors
///
/// A process failed.
pub(crate) fn allocate_in_processes(
    heap: &str,
    bytes: &str,
    processes: usize,
    count: &str,
) -> Outcome {
    let program = env::current_exe()?;
    let start = || Command::new(&program).args(["alloc-free", heap, bytes, count]).spawn();
    let children: Vec<_> = (0..processes).map(|_| start()).collect::<io::Result<_>>()?;
    let mut failed = 0;
    for mut child in children {
        failed += u32::from(!child.wait()?.success());
    }
    if failed > 0 {
        return Err(format!("{failed} of {processes} processes failed").into());
    }
    Ok(())
}

/// Maps a buffer and unmaps it again.
pub(crate) fn map(buffer: &OwnedFd, bytes: u64) -> Outcome {
    let bytes = usize::try_from(bytes)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the address, and the mapping is never accessed.
    let at: *mut c_void =
        unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, buffer, 0) }
            .map_err(io::Error::from)?;
    // SAFETY: this is the mapping from above, and no pointer into it exists.
    unsafe { munmap(at, bytes) }.map_err(io::Error::from)?;
    Ok(())
}

/// Hands buffers over according to the options; see the usage.
pub(crate) fn hand_over(
    device: &str,
    kind: &str,
    heap: &str,
    bytes: u64,
    mut options: &[&str],
) -> Outcome {
    let mut data = HandOver::new(device, number(kind)?);
    let (mut count, mut again, mut file, mut fd, mut node) = (1, None, None, None, None);
    while let [option, rest @ ..] = options {
        options = match (*option, rest) {
            ("--count", [n, rest @ ..]) => {
                count = n.parse()?;
                rest
            }
            ("--again", [device, kind, rest @ ..]) => {
                again = Some(HandOver::new(device, number(kind)?));
                rest
            }
            ("--flags", [flags, rest @ ..]) => {
                data.flags = flags.parse()?;
                rest
            }
            ("--file", [path, rest @ ..]) => {
                file = Some(File::open(path)?);
                rest
            }
            ("--fd", [n, rest @ ..]) => {
                fd = Some(n.parse()?);
                rest
            }
            ("--node", [n, rest @ ..]) => {
                // SAFETY: the shell has opened this descriptor for this process alone.
                node = Some(unsafe { File::from_raw_fd(n.parse()?) });
                rest
            }
            ("--unterminated", rest) => {
                data.device = [b'x'; 64];
                rest
            }
            _ => return Err(format!("hand-over: unknown option {option}").into()),
        };
    }
    let protheap = node.map_or_else(open, Ok)?;
    for _ in 0..count {
        let given = match (&file, fd) {
            (Some(file), _) => send(&protheap, data, file.as_fd().as_raw_fd()),
            (None, Some(fd)) => send(&protheap, data, fd),
            (None, None) => {
                let buffer = allocate(heap, bytes)?;
                let first = send(&protheap, data, buffer.as_raw_fd());
                match again {
                    Some(again) => first.and_then(|()| send(&protheap, again, buffer.as_raw_fd())),
                    None => first,
                }
            }
        };
        given?;
    }
    Ok(())
}

/// Returns the number of a kind of buffer in the ioctl, from its name or its number.
fn number(kind: &str) -> Outcome<u32> {
    Ok(match kind {
        "firmware" => 0,
        "suspend" => 1,
        number => number.parse()?,
    })
}

impl HandOver {
    /// Returns an argument of the ioctl for that device and kind, without a buffer.
    pub(crate) fn new(device: &str, kind: u32) -> Self {
        let mut data = Self { device: [0; 64], fd: -1, kind, flags: 0 };
        // The last byte stays NUL.
        for (to, from) in data.device.iter_mut().take(63).zip(device.bytes()) {
            *to = from;
        }
        data
    }
}

/// Opens `/dev/protheap`.
pub(crate) fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/protheap")
}

fn send(protheap: &File, mut data: HandOver, fd: i32) -> io::Result<()> {
    data.fd = fd;
    // SAFETY: the opcode is PROTHEAP_IOCTL_HAND_OVER, which reads this structure.
    unsafe {
        ioctl(protheap, Setter::<{ PROTHEAP_IOCTL_HAND_OVER }, _>::new(data))?;
    };
    Ok(())
}

/// Allocates a buffer and hands it over.
pub(crate) fn give(device: &str, kind: u32, heap: &str, bytes: u64) -> io::Result<()> {
    let buffer = allocate(heap, bytes)?;
    send(&open()?, HandOver::new(device, kind), buffer.as_raw_fd())
}

/// Hands a suspend buffer over to a device, and the same buffer to `other`, which can be the same device.
pub(crate) fn give_twice(device: &str, other: &str, heap: &str, bytes: u64) -> io::Result<()> {
    let (protheap, buffer) = (open()?, allocate(heap, bytes)?);
    send(&protheap, HandOver::new(device, 1), buffer.as_raw_fd())?;
    send(&protheap, HandOver::new(other, 1), buffer.as_raw_fd())
}
