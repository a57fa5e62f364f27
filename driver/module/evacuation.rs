// SPDX-License-Identifier: GPL-2.0

//! Returns all protected buffers to their heaps before the memory has another owner, and allocates
//! them again afterwards.

use crate::{
    abstractions::{
        dma_buf,
        notifier::Cause, //
    },
    gpu::Gpu,
    machine,
    registry, //
};
use kernel::prelude::*;

/// Returns all buffers to their heaps.
///
/// `EBUSY` if an image is about to be taken and a driver holds buffers that it cannot release; then
/// all is as before.
///
/// Called by `glue.c` in process context, before anything is frozen; for [`Cause::ShutDown`] while
/// drivers still work, but freezable workqueues may be frozen, because an image was written; for
/// [`Cause::TeeLeaves`] with the lock of OP-TEE's device held.
#[no_mangle]
extern "C" fn protheap_evacuate(cause: Cause) -> c_int {
    machine::begin(cause);
    match evacuate(cause) {
        Err(err) if cause == Cause::TakeImage => {
            protheap_repopulate(cause);
            err.to_errno()
        }
        _ => 0,
    }
}

/// Evacuates one GPU after the other, until one fails.
fn evacuate(cause: Cause) -> Result {
    let mut result = Ok(());
    registry::for_each(|gpu| {
        if result.is_ok() {
            result = gpu.evacuate(cause);
        }
    });
    // The last reference to a file takes effect some time after it is dropped: too late here.
    dma_buf::flush_dropped();
    result
}

/// Ends [`protheap_evacuate`]: an image was taken or restored, or could not be, or OP-TEE's driver
/// is unbound. A binding whose heap is dead is open then.
///
/// Called by `glue.c` in process context, when nothing is frozen any more; for [`Cause::TeeLeaves`]
/// with the lock of OP-TEE's device held.
#[no_mangle]
extern "C" fn protheap_repopulate(cause: Cause) {
    machine::end(cause);
    registry::for_each(Gpu::repopulate);
}
