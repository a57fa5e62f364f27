// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts another kernel, which consists of four instructions that power the machine off. A scenario checks how the
//! first kernel shuts down before.

use std::arch::asm;
use std::ffi::c_void;
use std::{fs, io};

use rustix::system::{RebootCommand, reboot};

use crate::Outcome;

/// Instruction that calls the firmware of the machine: `method` of its PSCI node.
const METHOD: &str = "/proc/device-tree/psci/method";

/// Returns instructions that call SYSTEM_OFF of PSCI, by `hvc` or `smc`.
fn kernel(method: &[u8]) -> io::Result<[u32; 4]> {
    let call = match method {
        b"hvc\0" => 0xd400_0002, // hvc #0
        b"smc\0" => 0xd400_0003, // smc #0
        _ => return Err(io::Error::other(format!("{METHOD} reads {method:?}"))),
    };
    Ok([
        0x52b0_8000, // movz w0, #0x8400, lsl #16
        0x7280_0100, // movk w0, #8
        call,
        0x1400_0000, // b .
    ])
}

/// Address of the kernel: in the memory of the machine, which begins at 1 GiB, far from all reservations.
const PLACE: usize = 0x4800_0000;
const PAGE: usize = 4096;
/// `__NR_kexec_load` of asm-generic/unistd.h.
const SYS_KEXEC_LOAD: usize = 104;
/// `KEXEC_ARCH_AARCH64` of linux/kexec.h.
const AARCH64: usize = 183 << 16;

/// `struct kexec_segment` of linux/kexec.h.
#[repr(C)]
struct Segment {
    buf: *const c_void,
    bufsz: usize,
    mem: usize,
    memsz: usize,
}

/// Loads that kernel and starts it; returns only on failure.
pub(crate) fn kexec() -> Outcome {
    let kernel = kernel(&fs::read(METHOD)?)?;
    let segment = Segment {
        buf: kernel.as_ptr().cast(),
        bufsz: size_of_val(&kernel),
        mem: PLACE,
        memsz: PAGE,
    };
    load(&segment)?;
    Ok(reboot(RebootCommand::Kexec)?)
}

fn load(segment: &Segment) -> io::Result<()> {
    let mut result: isize = PLACE.cast_signed();
    // SAFETY: kexec_load(2) reads one segment and its buffer, and does not change this process.
    unsafe {
        asm!(
            "svc #0",
            in("x8") SYS_KEXEC_LOAD,
            inlateout("x0") result,
            in("x1") 1_usize,
            in("x2") std::ptr::from_ref(segment),
            in("x3") AARCH64,
            options(nostack, readonly),
        );
    }
    match i32::try_from(result) {
        Ok(errno @ ..0) => Err(io::Error::from_raw_os_error(-errno)),
        _ => Ok(()),
    }
}
