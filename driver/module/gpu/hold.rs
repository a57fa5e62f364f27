// SPDX-License-Identifier: GPL-2.0

//! The hold: the time in which the probe of the GPU's driver is deferred.

use super::Gpu;
use crate::abstractions::compat::{
    parameter,
    EALREADY, //
};
use crate::{
    abstractions::device::{
        attach_driver,
        DeviceLock, //
    },
    binding::Driver, //
};
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Msecs, //
    }, //
};

/// Maximum hold: after that, the kernel warns of deferred devices.
const HOLD_MAX: Msecs = 10_000;

impl Gpu {
    /// Holds the GPU for that many milliseconds, at most for those of the module's parameter `hold`.
    ///
    /// `EBUSY` after a commit, or if the device has a driver; `EINVAL` for more than
    /// [`HOLD_MAX`]; `EPERM` if the module was loaded with `hold=0`; `EALREADY` if the device was
    /// held before. Waits until a running probe has ended.
    pub(crate) fn hold(&self, hold: u64) -> Result {
        let longest = Msecs::min(parameter(crate::module_parameters::hold.value()), HOLD_MAX);
        let lock = DeviceLock::new_interruptible(&self.dev)?;
        let mut inner = self.inner.lock();
        let driver = inner.driver(lock.has_driver());
        let is_spent = inner.is_hold_spent;
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        let options = binding.options_mut()?;
        let wanted = Msecs::try_from(hold).map_err(|_| EINVAL)?;
        if !(1..=HOLD_MAX).contains(&wanted) {
            return Err(EINVAL);
        }
        if longest == 0 {
            return Err(EPERM);
        }
        if is_spent {
            return Err(EALREADY);
        }
        if driver != Driver::Absent {
            return Err(EBUSY);
        }
        options.hold_ms = wanted;
        let hold = wanted.min(longest);
        binding.hold(Instant::now() + Delta::from_millis(hold.into()));
        inner.is_hold_spent = true;
        self.update.queue(after(hold));
        self.publish(inner);
        dev_info!(self.dev, "protheap: held for at most {hold} ms\n");
        Ok(())
    }

    /// The task of [`Gpu::update`], after a commit, a timeout or an evacuation: restores a parked
    /// binding, ends the hold, probes the device, notifies the driver.
    pub(super) fn update(&self) {
        self.refill();
        let mut inner = self.inner.lock();
        let mut is_expired = false;
        if let Some(binding) = &mut inner.binding {
            match binding.hold_left_ms() {
                Some(0) => {
                    binding.expire();
                    is_expired = true;
                }
                // Queued for another reason, which took the timer's place.
                Some(left) => return self.update.queue(after(left as Msecs)),
                None => (),
            }
        }
        let is_deferred = core::mem::take(&mut inner.is_deferred);
        self.publish(inner);

        if is_expired {
            dev_warn!(
                self.dev,
                "protheap: timed out waiting for user space, probing without protected memory\n"
            );
        }
        if is_deferred {
            // It takes the device's lock, so the deferred probe has ended.
            match attach_driver(&self.dev) {
                // The driver now waits for something else, and the core probes it again.
                Ok(()) | Err(EPROBE_DEFER) => (),
                Err(err) => dev_warn!(
                    self.dev,
                    "protheap: device_attach() failed: {}\n",
                    err.to_errno()
                ),
            }
        }
        self.call_bound();
    }
}

/// Returns jiffies of which certainly that many milliseconds pass: the first one has begun already.
fn after(ms: Msecs) -> Jiffies {
    msecs_to_jiffies(ms) + 1
}
