// SPDX-License-Identifier: GPL-2.0

//! Binding on demand.

use super::{
    Binding,
    Gpu,
    Inner, //
};
use kernel::{
    prelude::*,
    sync::MutexGuard,
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

/// Maximum time that a driver waits for a binding on demand: a heap may have to migrate pages first,
/// and the GPU's firmware boots again.
const DEMAND_WAIT: Msecs = 2_000;

impl Inner {
    /// Returns whether user space is binding on demand, or the driver is being notified of that.
    fn is_on_its_way(&self) -> bool {
        let is_called = self
            .consumer
            .as_ref()
            .is_some_and(|driver| driver.is_called);
        self.binding.as_ref().is_some_and(|binding| {
            binding.is_demanded() || binding.is_on_demand() && (is_called || self.is_late())
        })
    }
}

impl Gpu {
    /// Returns whether the GPU is to be bound on demand, and is not bound; see
    /// `protheap_on_demand()`.
    pub(crate) fn awaits_demand(&self) -> bool {
        let inner = self.inner.lock();
        inner.binding.as_ref().is_some_and(Binding::awaits_demand)
    }

    /// Asks user space to bind the GPU, if it is to be bound on demand. Waits until it is bound and
    /// the driver was notified. `ERESTARTSYS` if a signal arrives first.
    pub(super) fn demand(&self) -> Result {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            if binding.awaits_demand() {
                binding.set_demanded(true);
                self.publish(inner);
                inner = self.inner.lock();
            }
        }
        inner.demanding += 1;
        let waited = self.wait_for_binding(&mut inner);
        inner.demanding -= 1;
        let is_over = match waited {
            Ok(is_in_time) => !is_in_time,
            // Others may wait on.
            Err(_) => inner.demanding == 0,
        };
        if is_over {
            // The next demand notifies user space again.
            if let Some(binding) = &mut inner.binding {
                binding.set_demanded(false);
            }
            self.publish(inner);
        }
        waited.map(|_| ())
    }

    /// Waits for at most [`DEMAND_WAIT`]. Returns whether the wait ended before that.
    fn wait_for_binding(&self, inner: &mut MutexGuard<'_, Inner>) -> Result<bool> {
        let mut patience = msecs_to_jiffies(DEMAND_WAIT);
        while patience > 0 && inner.is_on_its_way() {
            patience = self.wait(inner, patience)?;
        }
        Ok(patience > 0)
    }
}
