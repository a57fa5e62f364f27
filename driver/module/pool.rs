// SPDX-License-Identifier: GPL-2.0

//! The suspend buffers of a binding: those that are free, and those that the GPU's driver has.

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

/// A pointer to what owns a pool.
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

/// A pool.
///
/// # Invariants
///
/// There is room in each list for all buffers of the pool.
pub(crate) struct Pool<O> {
    owner: Owner<O>,
    /// Taken from and put to the end: what was used last is the warmest.
    free: KVec<KBox<Suspend<O>>>,
    used: KVec<KBox<Suspend<O>>>,
    /// Most buffers that were in use at once.
    peak: usize,
}

impl<O> Pool<O> {
    /// A pool without buffers.
    pub(crate) const fn new(owner: NonNull<O>) -> Self {
        Self {
            owner: Owner(owner),
            free: KVec::new(),
            used: KVec::new(),
            peak: 0,
        }
    }

    /// How many buffers there are.
    pub(crate) fn len(&self) -> usize {
        self.free.len() + self.used.len()
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many the driver has.
    pub(crate) fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Most that the driver had at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// All buffers.
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

    /// A free buffer for the driver, in the pool's keeping until it is put back.
    pub(crate) fn take(&mut self) -> Option<NonNull<Suspend<O>>> {
        let suspend = self.free.pop()?;
        let token = NonNull::from(&*suspend);
        // It cannot fail: there is room.
        let _ = self.used.push_within_capacity(suspend);
        self.peak = self.peak.max(self.used.len());
        Some(token)
    }

    /// The driver gives a buffer back. It stays if it `fits`: the free ones were looked at when
    /// what fits changed. True: it stays.
    pub(crate) fn put(
        &mut self,
        token: NonNull<Suspend<O>>,
        fits: impl FnOnce(&DmaBuf) -> bool,
    ) -> bool {
        let is_it = |suspend: &KBox<Suspend<O>>| NonNull::from(&**suspend) == token;
        let Some(i) = self.used.iter().position(is_it) else {
            return false;
        };
        // The order of those in use says nothing.
        let last = self.used.len() - 1;
        self.used.swap(i, last);
        match self.used.pop() {
            // It does not fail: there is room.
            Some(suspend) if fits(&suspend.buffer) => {
                self.free.push_within_capacity(suspend).is_ok()
            }
            _ => false,
        }
    }

    /// Lets go of free buffers that do not fit.
    pub(crate) fn retain(&mut self, mut fits: impl FnMut(&DmaBuf) -> bool) {
        self.free.retain(|suspend| fits(&suspend.buffer));
    }

    /// Lets go of free buffers beyond that many.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.free.truncate(count);
    }
}

#[kunit_tests(protheap_pool)]
mod tests {
    use super::*;
    use crate::source::tests::buffer;

    #[test]
    fn a_buffer_is_taken_and_comes_back() -> Result {
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
        // What was used last is taken first.
        assert!(pool.take() == Some(first));
        assert!(pool.take().is_some());
        assert!(pool.take().is_none());
        assert_eq!(pool.peak(), 3);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_does_not_come_back() -> Result {
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
        // A second time it is nobody's.
        assert!(!pool.put(large, |_| true));
        pool.truncate(0);
        assert_eq!(pool.len(), 0);
        Ok(())
    }
}
