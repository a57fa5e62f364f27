// SPDX-License-Identifier: MIT OR Apache-2.0

//! The executor of the early binder, which ends when no GPU is pending.

use protheap_board::uevents::Uevents;
use protheap_core::engine::{Binder, Machine as _};
use protheap_core::facts::Delivery;
use protheap_core::state::State;

use super::Executor;
use super::events::Collected;
use crate::Result;
use crate::kernel::Kernel;
use crate::log::Message;

impl<K: Kernel> Executor<Binder, K> {
    /// Runs until every attempt to bind a GPU has ended. Returns whether any GPU failed.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel's events cannot be received any more.
    pub fn run(mut self, mut uevents: Uevents) -> Result<bool> {
        self.start();
        while !self.engine.is_done() {
            if uevents.wait(self.rest())? {
                let mut collected = Collected::default();
                while let Some(received) = uevents.receive()? {
                    self.collect(received, &mut collected);
                }
                self.apply(collected);
            }
            self.poll();
            self.wake();
        }
        self.report_ready();
        let mut states = self.engine.bindings().map(|(_, binding)| binding.state());
        let is_bound = |state| matches!(state, State::Bound | State::InUse);
        // A heap that is only named to a driver is not bound in the kernel yet.
        if self.engine.facts().delivery() < Delivery::PanthorParameter
            && states.clone().all(is_bound)
            && let (Some(run), Some(lock)) = (&self.run, &self.lock)
            && let Err(problem) = run.mark_bound(lock)
        {
            self.log.write(&Message::Other(format_args!("{problem}")));
        }
        Ok(states.any(|state| state == State::Failed))
    }
}
