// SPDX-License-Identifier: GPL-2.0

//! A delayed work item that can be flushed. The kernel's own Rust work items cannot, and a pending
//! one would run code that `rmmod` has freed.

use kernel::{
    bindings,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// What a [`Work`] runs.
pub(crate) type Run = unsafe extern "C" fn(*mut bindings::work_struct);

extern "C" {
    fn protheap_glue_init_work(work: *mut bindings::delayed_work, run: Run);
}

/// A delayed work item. It never runs twice at the same time.
///
/// # Invariants
///
/// The item is initialised.
#[pin_data]
pub(crate) struct Work {
    #[pin]
    inner: Opaque<bindings::delayed_work>,
}

// SAFETY: The workqueue does its own locking.
unsafe impl Send for Work {}
// SAFETY: As above.
unsafe impl Sync for Work {}

impl Work {
    /// A work item that runs `run` with a pointer to itself (see [`Work::container`]).
    ///
    /// # Safety
    ///
    /// `run` must be safe to call with the pointer that the workqueue passes, for as long as the
    /// item is queued. The item must be flushed, and not be queued again, before it is dropped.
    pub(crate) unsafe fn new(run: Run) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            inner <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { protheap_glue_init_work(slot, run) }
            }),
        })
    }

    /// The [`Work`] behind the pointer that its function was called with.
    ///
    /// # Safety
    ///
    /// `work` must be what the workqueue passed to the function of a [`Work`].
    pub(crate) unsafe fn from_raw(work: *mut bindings::work_struct) -> *const Self {
        // SAFETY: By the safety requirements, `work` is in a `delayed_work`.
        let delayed = unsafe { kernel::container_of!(work, bindings::delayed_work, work) };
        // SAFETY: By the safety requirements, that one is in a `Work`.
        unsafe { kernel::container_of!(Opaque::cast_from(delayed), Self, inner) }
    }

    /// Queues the item to run in `delay` jiffies, whether or not it is queued already, but not while
    /// the system sleeps: a driver must not be called whose device sleeps.
    pub(crate) fn queue(&self, delay: Jiffies) {
        // SAFETY: The queue always exists.
        unsafe { self.queue_on(bindings::system_freezable_wq, delay) };
    }

    /// Runs the item in a kernel thread and waits for it, also while the system sleeps.
    ///
    /// An item that is used with this must not be used with [`Work::queue`]: it could be queued
    /// where it does not run before the system wakes up.
    pub(crate) fn run(&self) {
        // SAFETY: The queue always exists.
        unsafe { self.queue_on(bindings::system_dfl_wq, 0) };
        self.flush();
    }

    /// # Safety
    ///
    /// `queue` must be valid.
    unsafe fn queue_on(&self, queue: *mut bindings::workqueue_struct, delay: Jiffies) {
        // SAFETY: Initialised by the type invariant; the queue is valid by the safety requirements.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                queue,
                self.inner.get(),
                delay,
            )
        };
    }

    /// Removes the item from its queue. Waits for it if it is running.
    pub(crate) fn cancel(&self) {
        // SAFETY: Initialised by the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.inner.get()) };
    }

    /// Lets a queued item run now, and waits for it: until the system has woken up, if it sleeps.
    pub(crate) fn flush(&self) {
        // SAFETY: Initialised by the type invariant.
        unsafe { bindings::flush_delayed_work(self.inner.get()) };
    }
}
