// SPDX-License-Identifier: GPL-2.0

//! Parking: a binding's buffers return to the heap for a while.

use super::{
    Allocated,
    Binding,
    Phase,
    Request, //
};
use crate::abstractions::compat::ENODATA;
use kernel::prelude::*;

impl<O> Binding<O> {
    /// Stops all allocation and use of further buffers.
    pub(crate) fn park(&mut self) {
        self.is_parked = true;
    }

    /// Returns whether the binding is parked.
    pub(crate) fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// Releases the buffers of a parked binding that the driver does not hold. The driver is notified
    /// again when there are new ones.
    pub(crate) fn empty(&mut self) {
        self.is_notified = false;
        self.buffers.release_unused();
    }

    /// Returns a request for the buffers that a parked binding needs to be bound as before; [`None`]
    /// if it has them.
    pub(crate) fn refill_request(&self) -> Option<Result<Request>> {
        let lacks_firmware =
            self.buffers.firmware().is_none() && matches!(self.phase, Phase::Bound);
        (self.is_parked && !self.is_withdrawn && lacks_firmware)
            .then(|| self.request(true, self.suspend_lacking()))
    }

    /// Ends [`Binding::park`], with the buffers allocated for [`Binding::refill_request`]. Without a
    /// firmware buffer, the binding is open again.
    pub(crate) fn unpark(&mut self, refill: Option<(Allocated, Result)>) -> Result {
        self.is_parked = false;
        let Some((allocated, result)) = refill else {
            return Ok(());
        };
        let adopted = self.adopt(allocated);
        if self.buffers.firmware().is_some() {
            // The lacking suspend buffers are supplied later.
            return adopted;
        }
        self.buffers.release_unused();
        self.phase = Phase::Open;
        adopted.and(result).and(Err(ENODATA))
    }
}
