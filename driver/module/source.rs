// SPDX-License-Identifier: GPL-2.0

//! Who allocates the buffers of a binding: user space or the kernel.

use crate::abstractions::{
    dma_buf::DmaBuf,
    dma_heap, //
};
use kernel::{
    prelude::*,
    str::CStr, //
};

/// A way to get a binding's buffers.
pub(crate) trait Source: Sync {
    /// The name that user space knows it by.
    fn name(&self) -> &'static str;

    /// Whether user space hands the buffers over.
    fn is_handed(&self) -> bool;

    /// Allocates a buffer of at least that many bytes from the heap of that name.
    ///
    /// `ENODATA` if user space has to hand it over; `ENODEV` if there is no such heap; `ENOMEM` if
    /// it has not so much left; `EMSGSIZE` if the heap returned less; `EIO` if it is dead. May sleep
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

/// The kernel allocates: its heaps can be found by their names.
struct Kernel;

impl Source for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn is_handed(&self) -> bool {
        false
    }

    fn allocate(&self, heap: &CStr, bytes: usize) -> Result<DmaBuf> {
        // Rounded up to pages it would wrap around, and look like nothing.
        if bytes > isize::MAX as usize {
            return Err(ENOMEM);
        }
        let buffer = dma_heap::allocate(heap, bytes).map_err(|err| match err {
            ENODEV | ENOMEM => err,
            // Other words of heaps for the same.
            ENOSPC | EOVERFLOW | EFBIG | E2BIG => ENOMEM,
            // A heap that cannot allocate at all has no error code of its own.
            _ => EIO,
        })?;
        if buffer.size() < bytes {
            return Err(EMSGSIZE);
        }
        Ok(buffer)
    }
}

/// The sources that there are: here, not in each of them, since there is one of each kind.
static HANDED: Handed = Handed;
static KERNEL: Kernel = Kernel;

/// The sources of this kernel, the best one last.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Source> {
    let handed: &dyn Source = &HANDED;
    let kernel: &dyn Source = &KERNEL;
    let allowed = crate::module_parameters::allocate.value() != 0;
    let kernel = (dma_heap::is_available() && allowed).then_some(kernel);
    Iterator::chain(core::iter::once(handed), kernel)
}

/// The source of a binding that states none.
pub(crate) fn default() -> &'static dyn Source {
    all().last().unwrap_or(&HANDED)
}

/// The source of that name.
pub(crate) fn from_name(name: &[u8]) -> Option<&'static dyn Source> {
    all().find(|source| source.name().as_bytes() == name)
}

/// Buffers for tests.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod tests {
    use super::*;

    /// A real buffer, of memory that the CPU can map.
    pub(crate) fn buffer(bytes: usize) -> Result<DmaBuf> {
        Kernel.allocate(c"system", bytes)
    }
}
