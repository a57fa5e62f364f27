// SPDX-License-Identifier: GPL-2.0

//! Delayed work items that can be flushed. The kernel crate's cannot, and a pending one would run
//! code that `rmmod` has freed.

use core::marker::PhantomData;
use kernel::{
    bindings,
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    time::Jiffies,
    types::Opaque, //
};

extern "C" {
    fn protheap_glue_init_work(
        work: *mut bindings::delayed_work,
        run: unsafe extern "C" fn(*mut bindings::work_struct),
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    );
}

/// The function of a [`Work`]. Implemented by [`task!`](crate::abstractions::work::task).
///
/// # Safety
///
/// `OFFSET` must be that of a field of `Owner` whose type is [`Work<Self>`].
pub(crate) unsafe trait Task: Sized {
    /// The type with the work item.
    type Owner: Sync;

    /// Offset of the work item in `Owner`.
    const OFFSET: usize;

    /// Name of the task's lock class, in the reports of lockdep.
    const NAME: &'static CStr;

    /// Returns the lock class, which no other task has.
    fn lock_class() -> Pin<&'static LockClassKey>;

    /// Called in a kernel thread; never twice at the same time.
    fn run(owner: &Self::Owner);
}

/// Declares a [`Task`]: `task!(Name, Owner.field, |owner| ...)`.
macro_rules! task {
    ($name:ident, $owner:ident.$field:ident, $run:expr) => {
        #[doc = concat!("Task of `", stringify!($owner), "::", stringify!($field), "`.")]
        pub(crate) struct $name;

        // SAFETY: `_item` compiles only if the field has the required type.
        unsafe impl $crate::abstractions::work::Task for $name {
            type Owner = $owner;

            const OFFSET: usize = {
                let _item: fn(&$owner) -> &$crate::abstractions::work::Work<$name> =
                    |owner| &owner.$field;
                core::mem::offset_of!($owner, $field)
            };

            const NAME: &'static kernel::str::CStr = kernel::c_str!(stringify!($name));

            fn lock_class() -> core::pin::Pin<&'static kernel::sync::LockClassKey> {
                kernel::static_lock_class!()
            }

            fn run(owner: &$owner) {
                let run: fn(&$owner) = $run;
                run(owner)
            }
        }
    };
}
pub(crate) use task;

/// A delayed work item.
///
/// # Invariants
///
/// The item is initialised, and is the field of a `T::Owner` at `T::OFFSET`.
#[pin_data]
pub(crate) struct Work<T: Task> {
    #[pin]
    inner: Opaque<bindings::delayed_work>,
    _task: PhantomData<T>,
}

// SAFETY: The workqueue does its own locking.
unsafe impl<T: Task> Send for Work<T> {}
// SAFETY: As above.
unsafe impl<T: Task> Sync for Work<T> {}

impl<T: Task> Work<T> {
    /// Returns an initialiser for the field at `T::OFFSET` of a `T::Owner`.
    ///
    /// # Safety
    ///
    /// It must initialise that field. The item must be flushed, and no longer be queued, before its
    /// owner is dropped.
    pub(crate) unsafe fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here, in the field that the safety requirements name.
            inner <- Opaque::ffi_init(|slot| {
                let key = (&raw const *T::lock_class()).cast_mut().cast();
                // SAFETY: `slot` is valid for writes and pinned; name and key are static.
                unsafe { protheap_glue_init_work(slot, run::<T>, T::NAME.as_char_ptr(), key) }
            }),
            _task: PhantomData,
        })
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

/// The function of each work item.
///
/// # Safety
///
/// Must be called by the workqueue, with the `work_struct` of a [`Work<T>`].
unsafe extern "C" fn run<T: Task>(work: *mut bindings::work_struct) {
    // SAFETY: By the safety requirements, `work` is in a `delayed_work`.
    let delayed = unsafe { kernel::container_of!(work, bindings::delayed_work, work) };
    // SAFETY: By the safety requirements, that one is in a `Work<T>`.
    let item = unsafe { kernel::container_of!(Opaque::cast_from(delayed), Work<T>, inner) };
    // SAFETY: By the type invariant, that one is in a `T::Owner`, which lives until the item was
    // flushed.
    let owner = unsafe { &*item.byte_sub(T::OFFSET).cast::<T::Owner>() };
    T::run(owner);
}
