// SPDX-License-Identifier: GPL-2.0

//! Buffers of bindings.

use crate::abstractions::dma_buf::DmaBuf;
use core::ops::Deref;
use kernel::prelude::*;

kernel::sync::global_lock! {
    // SAFETY: `init()` is called before any buffer is claimed.
    unsafe(uninit) static CLAIMED: Mutex<KVec<usize>> = KVec::new();
}

/// Prepares this file for use.
///
/// # Safety
///
/// Must be called once, before anything else of this file is used.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { CLAIMED.init() };
}

/// A dma-buf that belongs to a binding, and to no other one.
///
/// # Invariants
///
/// The address of the dma-buf is in [`CLAIMED`], once.
pub(crate) struct Buffer(DmaBuf);

impl Buffer {
    /// Makes `dma_buf` a buffer of the caller's binding. `EEXIST` if a binding has it already.
    pub(crate) fn claim(dma_buf: DmaBuf) -> Result<Self> {
        let address = dma_buf.as_ptr() as usize;
        let mut claimed = CLAIMED.lock();
        if claimed.contains(&address) {
            return Err(EEXIST);
        }
        claimed.push(address, GFP_KERNEL)?;
        // INVARIANT: Added above.
        Ok(Self(dma_buf))
    }
}

impl Deref for Buffer {
    type Target = DmaBuf;

    fn deref(&self) -> &DmaBuf {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let address = self.0.as_ptr() as usize;
        let mut claimed = CLAIMED.lock();
        claimed.retain(|other| *other != address);
        // A static is never dropped.
        if claimed.is_empty() {
            *claimed = KVec::new();
        }
    }
}
