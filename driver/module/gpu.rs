// SPDX-License-Identifier: GPL-2.0

//! A GPU with its binding, its driver and its hold.
//!
//! Lock order: configfs → the device's lock → the registry's → [`Gpu::inner`] → that of claimed
//! buffers. None of ours is held while anything is called that can probe a device, run a driver's
//! code, allocate a protected buffer, or send a uevent.

mod callback;
mod decision;
mod demand;
mod driver;
mod evacuation;
mod hold;
mod supply;

use crate::{
    abstractions::{
        abi::Ops,
        device::DeviceLock,
        notifier::Cause,
        work::{
            task,
            Work, //
        }, //
    },
    binding::{
        self,
        Driver, //
    },
    event::{
        Event,
        EventQueue, //
    },
    pool, //
};
use kernel::{
    device::Device,
    error::code::ERESTARTSYS,
    fmt,
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex,
        MutexGuard, //
    },
    time::Jiffies, //
};

/// A binding of a [`Gpu`].
pub(crate) type Binding = binding::Binding<Gpu>;

/// A suspend buffer of a [`Gpu`].
pub(crate) type Suspend = pool::Suspend<Gpu>;

/// The attached driver.
struct Consumer {
    ops: Ops,
    /// One of its functions is running.
    is_called: bool,
}

/// Data that the lock of a GPU protects.
struct Inner {
    /// The binding. A withdrawn one stays while the driver holds buffers of it.
    binding: Option<Binding>,
    /// Number of the binding among those of this GPU.
    generation: u32,
    consumer: Option<Consumer>,
    /// The GPU was held before.
    is_hold_spent: bool,
    /// The device was removed from its bus.
    is_removed: bool,
    /// A driver's probe was deferred until the hold ends, or the driver was unbound to restore an
    /// image.
    is_deferred: bool,
    /// Argument and result of [`Gpu::evacuation`].
    evacuation: Cause,
    evacuated: Result,
    /// Number of tasks that wait for [`Gpu::changed`].
    waiting: u32,
    /// Number of tasks that wait for a binding on demand.
    demanding: u32,
    events: EventQueue,
}

impl Inner {
    /// Returns whether there is a binding that was not withdrawn.
    fn is_open(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|binding| !binding.is_withdrawn())
    }

    /// Returns the binding if a driver can take its buffers.
    fn bound(&mut self) -> Result<&mut Binding> {
        self.binding
            .as_mut()
            .filter(|binding| binding.is_bound())
            .ok_or(ENOENT)
    }

    /// Returns the binding of that generation, unless it was withdrawn: buffers that were allocated
    /// for it meanwhile would never be released.
    fn generation(&mut self, generation: u32) -> Result<&mut Binding> {
        let same = self.generation == generation;
        self.binding
            .as_mut()
            .filter(|binding| same && !binding.is_withdrawn())
            .ok_or(ENODEV)
    }

    /// Returns whether the device was removed and nothing uses the GPU. That is final, and nothing may
    /// be queued then.
    fn is_unused(&self) -> bool {
        self.is_removed && self.binding.is_none() && self.consumer.is_none()
    }

    /// Returns the state of the device's driver.
    fn driver(&self, has_driver: bool) -> Driver {
        match has_driver {
            _ if self.consumer.is_some() => Driver::Attached,
            true => Driver::Unattached,
            false => Driver::Absent,
        }
    }
}

/// A GPU.
#[pin_data]
pub(crate) struct Gpu {
    dev: ARef<Device>,
    #[pin]
    inner: Mutex<Inner>,
    /// A suspend buffer may be free, or a function of the driver may have returned.
    #[pin]
    changed: CondVar,
    /// Restores a parked binding, ends the hold, probes the device, notifies the driver.
    #[pin]
    update: Work<Update>,
    /// Allocates suspend buffers.
    #[pin]
    supply: Work<Supply>,
    /// Sends events.
    #[pin]
    announce: Work<Announce>,
    /// Returns all buffers; see [`Gpu::evacuate`].
    #[pin]
    evacuation: Work<Evacuation>,
    /// Releases buffers for a TEE that leaves. It never unbinds a driver: the notifiers of the bus wait
    /// for it, and unbinding calls them.
    #[pin]
    tee_release: Work<TeeRelease>,
}

task!(Update, Gpu.update, Gpu::update);
task!(Supply, Gpu.supply, |gpu| while gpu.supply() {});
task!(Announce, Gpu.announce, |gpu| {
    if let Err(err) = gpu.announce() {
        dev_warn!(
            gpu.dev,
            "protheap: failed to send an event to user space: {}\n",
            err.to_errno()
        );
    }
});
task!(Evacuation, Gpu.evacuation, Gpu::run_evacuation);
task!(TeeRelease, Gpu.tee_release, Gpu::release_to_tee);

impl Gpu {
    /// Creates a GPU without a binding. The registry keeps it while it may queue a task, and flushes it
    /// then.
    pub(crate) fn new(dev: &Device) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                inner <- new_mutex!(Inner {
                    binding: None,
                    generation: 0,
                    consumer: None,
                    is_hold_spent: false,
                    is_removed: false,
                    is_deferred: false,
                    evacuation: Cause::ShutDown,
                    evacuated: Ok(()),
                    waiting: 0,
                    demanding: 0,
                    events: EventQueue::new(),
                }),
                changed <- new_condvar!(),
                // SAFETY: The field of the task, which the registry flushes before it drops the GPU.
                update <- unsafe { Work::new() },
                // SAFETY: As above.
                supply <- unsafe { Work::new() },
                // SAFETY: As above.
                announce <- unsafe { Work::new() },
                // SAFETY: As above; `evacuate()` waits for it.
                evacuation <- unsafe { Work::new() },
                // SAFETY: As above; `evacuate()` waits for it.
                tee_release <- unsafe { Work::new() },
            }),
            GFP_KERNEL,
        )
    }

    /// Runs everything that is queued now, and waits for it.
    pub(crate) fn flush(&self) {
        self.update.flush();
        self.supply.flush();
        self.announce.flush();
    }

    /// Returns the device.
    pub(crate) fn device(&self) -> &Device {
        &self.dev
    }

    /// Returns whether there is a binding that was not withdrawn.
    pub(crate) fn is_open(&self) -> bool {
        self.inner.lock().is_open()
    }

    /// Notes that the device was removed from its bus. It has no driver, and gets none.
    pub(crate) fn set_removed(&self) {
        self.inner.lock().is_removed = true;
    }

    /// Returns whether the device was removed and nothing uses the GPU.
    pub(crate) fn is_unused(&self) -> bool {
        self.inner.lock().is_unused()
    }

    /// Queues the update, unless the GPU is unused.
    fn queue_update(&self) {
        let inner = self.inner.lock();
        if !inner.is_unused() {
            self.update.queue(0);
        }
    }

    /// Calls a function with the binding and the state of the driver. `ENODEV` without a binding.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Binding, Driver) -> T) -> Result<T> {
        let has_driver = self.has_driver();
        let inner = self.inner.lock();
        let binding = inner.binding.as_ref().ok_or(ENODEV)?;
        Ok(look(binding, inner.driver(has_driver)))
    }

    /// Changes the binding by a function. `ENODEV` without a binding.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Binding) -> Result) -> Result {
        let mut inner = self.inner.lock();
        change(inner.binding.as_mut().ok_or(ENODEV)?)
    }

    /// Returns whether a driver is bound. It is not while it is being probed or removed.
    fn has_driver(&self) -> bool {
        DeviceLock::try_new(&self.dev).is_some_and(|lock| lock.has_driver())
    }

    /// Waits for a change for at most `patience`, and returns the time that is left. `ERESTARTSYS` if
    /// a signal arrives first.
    fn wait(&self, inner: &mut MutexGuard<'_, Inner>, patience: Jiffies) -> Result<Jiffies> {
        inner.waiting += 1;
        let woken = self.changed.wait_interruptible_timeout(inner, patience);
        inner.waiting -= 1;
        match woken {
            CondVarTimeoutResult::Woken { jiffies } => Ok(jiffies),
            CondVarTimeoutResult::Timeout => Ok(0),
            CondVarTimeoutResult::Signal { .. } => Err(ERESTARTSYS),
        }
    }

    /// Wakes up the tasks that wait for a change.
    fn wake(&self, inner: &Inner) {
        if inner.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Ends a change: drops a binding that is over, queues an event, unlocks.
    fn publish(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.binding.as_ref().is_some_and(Binding::is_over) {
            inner.binding = None;
        }
        let event = Event::of(inner.binding.as_ref());
        if inner.events.put(event) {
            self.announce.queue(0);
        }
    }

    /// Sends the queued events.
    fn announce(&self) -> Result {
        let events = self.inner.lock().events.take();
        // One that cannot be sent is no reason to keep the next ones.
        let mut result = Ok(());
        for event in events {
            result = result.and(event.send(&self.dev));
        }
        result
    }

    /// Writes the text of debugfs: one line for each value, for people.
    pub(crate) fn show(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_driver = self.has_driver();
        let inner = self.inner.lock();
        let driver = inner.driver(has_driver);
        writeln!(out, "driver {}", driver.name())?;
        writeln!(out, "hold-spent {}", u8::from(inner.is_hold_spent))?;
        match &inner.binding {
            Some(binding) => binding.show(driver, out),
            None => writeln!(out, "state absent\nbuffers 0\nbytes 0\nin-use 0"),
        }
    }
}
