// SPDX-License-Identifier: GPL-2.0

//! The allocator of a binding's buffers: user space or the kernel.

use crate::abstractions::compat::{
    parameter,
    ENODATA, //
};
use crate::abstractions::{
    dma_buf::DmaBuf,
    dma_heap, //
};
use kernel::{
    prelude::*,
    str::CStr, //
};

/// An allocator.
pub(crate) trait Source: Sync {
    /// Returns the stable name.
    fn name(&self) -> &'static str;

    /// Returns whether user space hands the buffers over.
    fn is_handed(&self) -> bool;

    /// Allocates a buffer of at least that many bytes from the heap of that name.
    ///
    /// `ENODATA` if user space has to hand the buffer over; `ENODEV` if there is no such heap;
    /// `ENOMEM` if it lacks the memory; `EMSGSIZE` if it returned less; `EIO` if it is dead. May sleep
    /// for as long as the heap does.
    fn allocate(&self, heap: &CStr, bytes: usize) -> Result<DmaBuf>;
}

/// User space allocates, and hands each buffer over.
struct Handed;

impl Source for Handed {
    fn name(&self) -> &'static str {
        "handed"
    }

    fn is_handed(&self) -> bool {
        true
    }

    fn allocate(&self, _heap: &CStr, _bytes: usize) -> Result<DmaBuf> {
        Err(ENODATA)
    }
}

/// The kernel allocates from a heap that it finds by name.
struct Kernel;

impl Source for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn is_handed(&self) -> bool {
        false
    }

    fn allocate(&self, heap: &CStr, bytes: usize) -> Result<DmaBuf> {
        // Rounded up to pages, it would wrap around to 0.
        if bytes > isize::MAX as usize {
            return Err(ENOMEM);
        }
        let buffer = dma_heap::allocate(heap, bytes).map_err(|err| match err {
            ENODEV | ENOMEM => err,
            // Other codes of heaps for the same error.
            ENOSPC | EOVERFLOW | EFBIG | E2BIG => ENOMEM,
            // There is no code for a heap that cannot allocate at all.
            _ => EIO,
        })?;
        if buffer.size() < bytes {
            return Err(EMSGSIZE);
        }
        Ok(buffer)
    }
}

static HANDED: Handed = Handed;
static KERNEL: Kernel = Kernel;

/// Returns whether this kernel can allocate buffers, and the module was not loaded with
/// `allocate=0`.
pub(crate) fn kernel_allocates() -> bool {
    dma_heap::is_available() && parameter::<u8>(crate::module_parameters::allocate.value()) != 0
}

/// Returns the source of a binding for which user space sets none.
pub(crate) fn default() -> &'static dyn Source {
    match kernel_allocates() {
        true => &KERNEL,
        false => &HANDED,
    }
}

/// Returns the source of that name, if this kernel has it.
pub(crate) fn from_name(name: &[u8]) -> Option<&'static dyn Source> {
    match name {
        b"handed" => Some(&HANDED),
        b"kernel" if kernel_allocates() => Some(&KERNEL),
        _ => None,
    }
}

/// Buffers for tests.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod tests {
    use super::*;

    /// Allocates a real buffer, which the CPU can map.
    pub(crate) fn buffer(bytes: usize) -> Result<DmaBuf> {
        Kernel.allocate(c"system", bytes)
    }
}
