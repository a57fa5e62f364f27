// SPDX-License-Identifier: GPL-2.0

//! Phases of the whole machine in which no GPU may be bound: shutdown and hibernation.

use crate::abstractions::compat::ESHUTDOWN;
use crate::abstractions::notifier::Cause;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The machine shuts down or starts another kernel.
static SHUT_DOWN: Atomic<bool> = Atomic::new(false);

/// An image of the kernel is being taken or restored.
static IMAGE: Atomic<bool> = Atomic::new(false);

/// Records that `cause` begins.
///
/// Must be called before any GPU's lock is taken to release its buffers: whatever takes the lock
/// later sees the change.
pub(crate) fn begin(cause: Cause) {
    match cause {
        Cause::ShutDown => SHUT_DOWN.store(true, Relaxed),
        Cause::TakeImage | Cause::RestoreImage => IMAGE.store(true, Relaxed),
        Cause::TeeLeaves => (),
    }
}

/// Notes that `cause` has ended. A shutdown never does.
pub(crate) fn end(cause: Cause) {
    match cause {
        Cause::TakeImage | Cause::RestoreImage => IMAGE.store(false, Relaxed),
        Cause::ShutDown | Cause::TeeLeaves => (),
    }
}

/// Checks that GPUs may be bound: `ESHUTDOWN` after a shutdown has begun, `EAGAIN` while an image is
/// being taken or restored.
pub(crate) fn check() -> Result {
    if SHUT_DOWN.load(Relaxed) {
        return Err(ESHUTDOWN);
    }
    if IMAGE.load(Relaxed) {
        return Err(EAGAIN);
    }
    Ok(())
}
