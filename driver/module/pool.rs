// SPDX-License-Identifier: GPL-2.0

//! The suspend buffers of a binding: free ones, and those that the GPU's driver holds.

use crate::{
    abstractions::{
        abi::protheap_suspend,
        dma_buf::DmaBuf, //
    },
    buffer::Buffer, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A suspend buffer. The driver has a pointer to its first field.
///
/// # Invariants
///
/// `raw.dmabuf` is the pointer in `buffer`.
#[repr(C)]
pub(crate) struct Suspend<O> {
    raw: protheap_suspend,
    buffer: Buffer,
    /// The owner of the pool.
    pub(crate) owner: Owner<O>,
}

/// A pointer to the owner of a pool.
pub(crate) struct Owner<O>(pub(crate) NonNull<O>);

// SAFETY: Any thread may use the target, and the pointer is only followed where a reference to the
// target is known to be kept.
unsafe impl<O: Sync> Send for Owner<O> {}

impl<O> Clone for Owner<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Owner<O> {}

/// A pool of suspend buffers.
///
/// # Invariants
///
/// There is room in each list for all buffers of the pool.
pub(crate) struct Pool<O> {
    owner: Owner<O>,
    /// A stack: the buffer that was used last is the warmest.
    free: KVec<KBox<Suspend<O>>>,
    used: KVec<KBox<Suspend<O>>>,
    /// Maximum number of buffers that were in use at once.
    peak: usize,
}

impl<O> Pool<O> {
    /// Creates an empty pool.
    pub(crate) const fn new(owner: NonNull<O>) -> Self {
        Self {
            owner: Owner(owner),
            free: KVec::new(),
            used: KVec::new(),
            peak: 0,
        }
    }

    /// Returns the number of buffers.
    pub(crate) fn len(&self) -> usize {
        self.free.len() + self.used.len()
    }

    /// Returns the number of free buffers.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of buffers that the driver holds.
    pub(crate) fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Returns the maximum number of buffers that the driver held at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// Returns all buffers.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Buffer> {
        let all = Iterator::chain(self.free.iter(), self.used.iter());
        all.map(|suspend| &suspend.buffer)
    }

    /// Adds a free buffer.
    pub(crate) fn add(&mut self, buffer: Buffer) -> Result {
        let all = self.len() + 1;
        self.used.reserve(all - self.used.len(), GFP_KERNEL)?;
        self.free.reserve(all - self.free.len(), GFP_KERNEL)?;
        // INVARIANT: The pointer is the buffer's.
        let suspend = Suspend {
            raw: protheap_suspend {
                dmabuf: buffer.as_ptr(),
            },
            buffer,
            owner: self.owner,
        };
        // INVARIANT: Room was made in both.
        Ok(self
            .free
            .push(KBox::new(suspend, GFP_KERNEL)?, GFP_KERNEL)?)
    }

    /// Returns a free buffer for the driver. The pool still owns it.
    pub(crate) fn take(&mut self) -> Option<NonNull<Suspend<O>>> {
        let suspend = self.free.pop()?;
        let token = NonNull::from(&*suspend);
        // Cannot fail: there is room.
        let _ = self.used.push_within_capacity(suspend);
        self.peak = self.peak.max(self.used.len());
        Some(token)
    }

    /// Takes a buffer back from the driver, and keeps it if it `fits`. Returns whether it does.
    ///
    /// Free buffers fit: [`Pool::retain`] was called when that changed.
    pub(crate) fn put(
        &mut self,
        token: NonNull<Suspend<O>>,
        fits: impl FnOnce(&DmaBuf) -> bool,
    ) -> bool {
        let is_it = |suspend: &KBox<Suspend<O>>| NonNull::from(&**suspend) == token;
        let Some(i) = self.used.iter().position(is_it) else {
            return false;
        };
        // Used buffers have no order.
        let last = self.used.len() - 1;
        self.used.swap(i, last);
        match self.used.pop() {
            // Cannot fail: there is room.
            Some(suspend) if fits(&suspend.buffer) => {
                self.free.push_within_capacity(suspend).is_ok()
            }
            _ => false,
        }
    }

    /// Releases free buffers that do not fit.
    pub(crate) fn retain(&mut self, mut fits: impl FnMut(&DmaBuf) -> bool) {
        self.free.retain(|suspend| fits(&suspend.buffer));
    }

    /// Releases free buffers beyond that many.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.free.truncate(count);
    }
}

#[kunit_tests(protheap_pool)]
mod tests {
    use super::*;
    use crate::abstractions::compat::ENOBUFS;
    use crate::source::tests::buffer;

    #[test]
    fn a_put_buffer_is_taken_next() -> Result {
        let mut pool = Pool::new(NonNull::<()>::dangling());
        for _ in 0..3 {
            pool.add(Buffer::claim(buffer(4096)?)?)?;
        }
        let first = pool.take().ok_or(ENOBUFS)?;
        let second = pool.take().ok_or(ENOBUFS)?;
        assert!(first != second);
        assert_eq!((pool.len(), pool.free(), pool.in_use()), (3, 1, 2));
        assert!(pool.put(first, |_| true));
        assert_eq!((pool.free(), pool.in_use(), pool.peak()), (2, 1, 2));
        // The one that was used last.
        assert!(pool.take() == Some(first));
        assert!(pool.take().is_some());
        assert!(pool.take().is_none());
        assert_eq!(pool.peak(), 3);
        Ok(())
    }

    #[test]
    fn a_put_buffer_that_does_not_fit_is_released() -> Result {
        let mut pool = Pool::new(NonNull::<()>::dangling());
        pool.add(Buffer::claim(buffer(4096)?)?)?;
        pool.add(Buffer::claim(buffer(8192)?)?)?;
        let large = pool.take().ok_or(ENOBUFS)?;
        let small = pool.take().ok_or(ENOBUFS)?;
        pool.retain(|_| false);
        assert_eq!(pool.in_use(), 2);
        assert!(!pool.put(small, |buffer| buffer.size() >= 8192));
        assert!(pool.put(large, |buffer| buffer.size() >= 8192));
        assert_eq!((pool.free(), pool.in_use()), (1, 0));
        // Put already.
        assert!(!pool.put(large, |_| true));
        pool.truncate(0);
        assert_eq!(pool.len(), 0);
        Ok(())
    }
}
