// SPDX-License-Identifier: GPL-2.0

//! A GPU that somebody asked for: with its binding, its driver and its window.
//!
//! Lock order: configfs → the device's lock → the registry's → [`Gpu::inner`]. Neither of our two
//! is held while anything is called that can probe a device, runs a driver's code, allocates a
//! buffer, or tells user space.

#[path = "evacuate.rs"]
mod evacuate;

use crate::{
    abstractions::{
        abi::{
            Callback,
            Ops, //
        },
        device::{
            attach_driver,
            DeviceLock,
            DriverName, //
        },
        dma_buf::DmaBuf,
        notifier::Cause,
        work::{
            task,
            Work, //
        }, //
    },
    binding::{
        self,
        Decision,
        Driver,
        Kind, //
    },
    event::{
        Event,
        EventQueue, //
    },
    machine,
    pool,
    statistics, //
};
use core::ptr::NonNull;
use kernel::{
    device::Device,
    error::code::ERESTARTSYS,
    fmt,
    new_condvar,
    new_mutex,
    prelude::*,
    str::BStr,
    sync::{
        aref::ARef,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex,
        MutexGuard, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Msecs, //
    }, //
};

/// The longest window: beyond that, the kernel warns of deferred devices.
const HOLD_MAX: Msecs = 10_000;

/// How long a driver waits for a suspend buffer.
const SUSPEND_WAIT: Msecs = 100;

/// How long a driver waits for user space to bind on demand: a heap may have to migrate pages first,
/// and the GPU's firmware boots again.
const DEMAND_WAIT: Msecs = 2_000;

/// A binding of a [`Gpu`].
pub(crate) type Binding = binding::Binding<Gpu>;

/// A suspend buffer of a [`Gpu`].
pub(crate) type Suspend = pool::Suspend<Gpu>;

/// The attached driver.
struct Consumer {
    ops: Ops,
    /// One of its functions is running.
    called: bool,
}

/// What the lock of a GPU protects.
struct Inner {
    /// The binding; one that was withdrawn stays while the driver holds something of it.
    binding: Option<Binding>,
    /// Tells bindings of the same GPU apart.
    generation: u32,
    consumer: Option<Consumer>,
    /// A window was opened in this boot.
    window_spent: bool,
    /// A driver was sent away until the window ends, or unbound to restore an image.
    deferred: bool,
    /// What [`Gpu::evacuation`] is to do, and what came of it.
    evacuation: Cause,
    evacuated: Result,
    /// Tasks that wait for [`Gpu::changed`].
    waiting: u32,
    events: EventQueue,
}

impl Inner {
    /// Whether there is a binding that was not withdrawn.
    fn is_open(&self) -> bool {
        self.binding
            .as_ref()
            .is_some_and(|binding| !binding.is_withdrawn())
    }

    fn bound(&mut self) -> Result<&mut Binding> {
        self.binding
            .as_mut()
            .filter(|binding| binding.is_bound())
            .ok_or(ENOENT)
    }

    /// The binding of that generation, unless it was withdrawn: what is allocated for it meanwhile
    /// would stay in it for ever.
    fn generation(&mut self, generation: u32) -> Result<&mut Binding> {
        let same = self.generation == generation;
        self.binding
            .as_mut()
            .filter(|binding| same && !binding.is_withdrawn())
            .ok_or(ENODEV)
    }

    /// Whether a driver is attached that does not know of the binding.
    fn is_late(&self) -> bool {
        let is_unknown = |binding: &Binding| {
            binding.is_bound() && !binding.is_notified && !binding.buffers().firmware_in_use()
        };
        self.consumer.is_some() && self.binding.as_ref().is_some_and(is_unknown)
    }

    /// Whether user space is binding on demand, or the driver is being notified of that.
    fn is_on_its_way(&self) -> bool {
        let called = self.consumer.as_ref().is_some_and(|driver| driver.called);
        self.binding.as_ref().is_some_and(|binding| {
            binding.is_demanded() || binding.is_on_demand() && (called || self.is_late())
        })
    }

    /// The function of the driver that `which` selects, which is going to be called.
    fn begin_call(&mut self, which: impl FnOnce(&Ops) -> Option<Callback>) -> Option<Callback> {
        let consumer = self.consumer.as_mut()?;
        let function = which(&consumer.ops)?;
        consumer.called = true;
        Some(function)
    }

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
    /// A suspend buffer may have come free, or a `bound()` have returned.
    #[pin]
    changed: CondVar,
    /// Ends the window, lets the device probe, calls `bound()`.
    #[pin]
    settle: Work<Settle>,
    /// Allocates the suspend buffers that the driver's size made too small.
    #[pin]
    supply: Work<Supply>,
    /// Tells user space.
    #[pin]
    announce: Work<Announce>,
    /// Returns all buffers; see [`Gpu::evacuate`].
    #[pin]
    evacuation: Work<Evacuation>,
}

task!(Settle, Gpu.settle, Gpu::settle);
task!(Supply, Gpu.supply, |gpu| while gpu.supply() {});
task!(Announce, Gpu.announce, |gpu| {
    if gpu.announce().is_err() {
        dev_warn!(gpu.dev, "protheap: cannot tell user space of a change\n");
    }
});
task!(Evacuation, Gpu.evacuation, Gpu::run_evacuation);

impl Gpu {
    /// A GPU without a binding. The registry keeps it, and flushes it before it is dropped.
    pub(crate) fn new(dev: &Device) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                inner <- new_mutex!(Inner {
                    binding: None,
                    generation: 0,
                    consumer: None,
                    window_spent: false,
                    deferred: false,
                    evacuation: Cause::ShutDown,
                    evacuated: Ok(()),
                    waiting: 0,
                    events: EventQueue::new(),
                }),
                changed <- new_condvar!(),
                // SAFETY: The field of the task, which the registry flushes before it drops the GPU.
                settle <- unsafe { Work::new() },
                // SAFETY: As above.
                supply <- unsafe { Work::new() },
                // SAFETY: As above.
                announce <- unsafe { Work::new() },
                // SAFETY: As above; `evacuate()` waits for it.
                evacuation <- unsafe { Work::new() },
            }),
            GFP_KERNEL,
        )
    }

    /// Lets everything that is queued run now, and waits for it.
    pub(crate) fn flush(&self) {
        self.settle.flush();
        self.supply.flush();
        self.announce.flush();
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.dev
    }

    /// Whether there is a binding that was not withdrawn.
    pub(crate) fn is_open(&self) -> bool {
        self.inner.lock().is_open()
    }

    /// Opens a binding; see [`registry::open`].
    pub(crate) fn open(&self) -> Result {
        let mut inner = self.inner.lock();
        machine::check()?;
        if inner.binding.is_some() {
            return Err(EBUSY);
        }
        inner.binding = Some(Binding::new(NonNull::from(self)));
        inner.generation = inner.generation.wrapping_add(1);
        self.publish(inner);
        Ok(())
    }

    /// Withdraws the binding. What the driver holds stays until it lets go.
    pub(crate) fn withdraw(&self) {
        self.take_back();
        // The driver may wait for the decision.
        self.settle.queue(0);
    }

    fn take_back(&self) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.withdraw();
            if binding.is_in_use() {
                dev_info!(
                    self.dev,
                    "protheap: withdrawn; its driver has {} buffers until it lets go\n",
                    binding.buffers().count()
                );
            }
        }
        self.wake(&inner);
        self.publish(inner);
    }

    /// Looks at the binding.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Binding, Driver) -> T) -> Result<T> {
        let has_driver = self.has_driver();
        let inner = self.inner.lock();
        let binding = inner.binding.as_ref().ok_or(ENODEV)?;
        Ok(look(binding, inner.driver(has_driver)))
    }

    /// Whether a driver is bound. It is not while it is being probed or removed.
    fn has_driver(&self) -> bool {
        DeviceLock::try_new(&self.dev).is_some_and(|lock| lock.has_driver())
    }

    /// Changes the binding.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Binding) -> Result) -> Result {
        let mut inner = self.inner.lock();
        change(inner.binding.as_mut().ok_or(ENODEV)?)
    }

    /// Opens the window for that long. A longer window than the module's `hold` ends with that.
    ///
    /// `EBUSY` after the decision, or if the device has a driver; `EINVAL` for more than
    /// [`HOLD_MAX`]; `EPERM` if the module was loaded with `hold=0`; `EALREADY` if the device
    /// had its window. Waits until a probe that is running has ended.
    pub(crate) fn hold(&self, hold: u64) -> Result {
        let longest = Msecs::min(crate::module_parameters::hold.value(), HOLD_MAX);
        let lock = DeviceLock::new_interruptible(&self.dev)?;
        let mut inner = self.inner.lock();
        let driver = inner.driver(lock.has_driver());
        let spent = inner.window_spent;
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding.options_mut()?;
        let hold = Msecs::try_from(hold).map_err(|_| EINVAL)?;
        if !(1..=HOLD_MAX).contains(&hold) {
            return Err(EINVAL);
        }
        if longest == 0 {
            return Err(EPERM);
        }
        if spent {
            return Err(EALREADY);
        }
        if driver != Driver::Absent {
            return Err(EBUSY);
        }
        let hold = hold.min(longest);
        binding.hold(Instant::now() + Delta::from_millis(hold.into()));
        inner.window_spent = true;
        self.settle.queue(after(hold));
        self.publish(inner);
        dev_info!(self.dev, "protheap: held for at most {hold} ms\n");
        Ok(())
    }

    /// Decides; see [`Binding::prepare`], [`Binding::bind`], [`Binding::reject`] and
    /// [`Binding::bind_on_demand`].
    pub(crate) fn commit(&self, decision: Decision) -> Result {
        let inner = match decision {
            Decision::Bind => self.bind()?,
            Decision::None => {
                let has_driver = self.has_driver();
                let mut inner = self.inner.lock();
                let driver = inner.driver(has_driver);
                let binding = inner.binding.as_mut().ok_or(ENODEV)?;
                binding.reject(driver)?;
                dev_info!(
                    self.dev,
                    "protheap: no protected memory{}\n",
                    Origin(&binding.options.origin),
                );
                inner
            }
            Decision::Demand => {
                let mut inner = self.inner.lock();
                inner.binding.as_mut().ok_or(ENODEV)?.bind_on_demand()?;
                dev_info!(self.dev, "protheap: to be bound on demand\n");
                inner
            }
        };
        self.wake(&inner);
        self.settle.queue(0);
        self.publish(inner);
        if decision == Decision::Demand {
            self.release_firmware(Binding::awaits_demand);
        }
        Ok(())
    }

    fn bind(&self) -> Result<MutexGuard<'_, Inner>> {
        let (request, generation) = {
            let mut inner = self.inner.lock();
            let request = inner.binding.as_mut().ok_or(ENODEV)?.prepare()?;
            (request, inner.generation)
        };
        let (allocated, result) = request.allocate();
        let mut inner = self.inner.lock();
        let binding = inner.generation(generation)?;
        binding
            .bind(allocated, result)
            .inspect_err(|err| binding.statistics.refuse(*err))?;
        let options = &binding.options;
        dev_info!(
            self.dev,
            "protheap: bound to {}{}\n",
            BStr::from_bytes(&options.heap),
            Origin(&options.origin),
        );
        if binding.suspend_lacking() > 0 {
            dev_info!(
                self.dev,
                "protheap: got {} of {} suspend buffers of {} bytes\n",
                binding.suspend().len(),
                options.suspend_count,
                options.suspend_bytes,
            );
        }
        if binding.buffers().is_mappable() {
            dev_warn!(
                self.dev,
                "protheap: its buffers are NOT protected, as its policy allows\n"
            );
        }
        Ok(inner)
    }

    /// Takes a buffer that user space hands over; see [`registry::hand_over`].
    pub(crate) fn hand_over(&self, kind: Kind, buffer: DmaBuf) -> Result {
        let mut inner = self.inner.lock();
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding
            .hand_over(kind, buffer)
            .inspect_err(|err| binding.statistics.refuse(*err))?;
        self.wake(&inner);
        self.publish(inner);
        Ok(())
    }

    /// Attaches the device's driver; see `protheap_attach()`.
    pub(crate) fn attach(&self, ops: Ops) -> Result {
        let mut inner = self.inner.lock();
        if inner.consumer.is_some() {
            return Err(EBUSY);
        }
        if let Some(binding) = &mut inner.binding {
            if binding.hold_left_ms().is_some() {
                inner.deferred = true;
                return Err(EPROBE_DEFER);
            }
            binding.is_notified = binding.is_bound();
        }
        inner.consumer = Some(Consumer { ops, called: false });
        Ok(())
    }

    /// Detaches the device's driver, once none of its functions is running.
    pub(crate) fn detach(&self) {
        let mut inner = self.inner.lock();
        while inner
            .consumer
            .as_ref()
            .is_some_and(|consumer| consumer.called)
        {
            inner.waiting += 1;
            self.changed.wait(&mut inner);
            inner.waiting -= 1;
        }
        inner.consumer = None;
        if let Some(binding) = &mut inner.binding {
            binding.detach();
        }
        self.publish(inner);
    }

    /// The firmware's buffer; see `protheap_firmware_buffer()`.
    pub(crate) fn firmware(&self, size: usize) -> Result<DmaBuf> {
        let mut inner = self.inner.lock();
        let binding = inner.binding.as_mut().ok_or(ENOENT)?;
        let buffer = binding.take_firmware(size).inspect_err(|err| {
            if *err != EMSGSIZE {
                return;
            }
            binding.statistics.refuse(*err);
            if binding.statistics.firmware.is_first(*err) {
                dev_warn!(
                    self.dev,
                    "protheap: firmware needs a {size}-byte protected buffer, got {} bytes; set `firmware` in the policy\n",
                    binding.buffers().firmware_bytes()
                );
            }
        })?;
        self.publish(inner);
        Ok(buffer)
    }

    /// The firmware's buffer is not used any more; see `protheap_firmware_put()`.
    pub(crate) fn put_firmware(&self) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.put_firmware();
        }
        self.publish(inner);
    }

    /// The size of a suspend buffer; see `protheap_suspend_configure()`.
    pub(crate) fn configure_suspend(&self, size: usize) -> Result {
        let mut inner = self.inner.lock();
        inner.bound()?.configure_suspend(size);
        self.supply.queue(0);
        self.publish(inner);
        Ok(())
    }

    /// Whether the GPU is to be bound on demand, and is not bound; see `protheap_on_demand()`.
    pub(crate) fn awaits_demand(&self) -> bool {
        let inner = self.inner.lock();
        inner.binding.as_ref().is_some_and(Binding::awaits_demand)
    }

    /// Has user space bind the GPU, if it is to be bound on demand, and waits until it has been and
    /// the driver has been told.
    fn demand(&self) -> Result {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            if binding.awaits_demand() {
                binding.set_demanded(true);
                self.publish(inner);
                inner = self.inner.lock();
            }
        }
        let mut patience = msecs_to_jiffies(DEMAND_WAIT);
        while patience > 0 && inner.is_on_its_way() {
            patience = self.wait(&mut inner, patience)?;
        }
        if patience == 0 {
            // Notify user space again next time.
            if let Some(binding) = &mut inner.binding {
                binding.set_demanded(false);
            }
            self.publish(inner);
        }
        Ok(())
    }

    /// Waits for a change for at most `patience`, and returns what is left of that.
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

    /// Takes a suspend buffer for a client that holds `held`; see `protheap_suspend_get()`.
    pub(crate) fn take_suspend(&self, held: u32, limit: u32) -> Result<NonNull<Suspend>> {
        self.demand()?;
        let mut inner = self.inner.lock();
        let mut patience = msecs_to_jiffies(SUSPEND_WAIT);
        let mut waited = false;
        loop {
            let binding = inner.bound()?;
            let first = binding.suspend().in_use() == 0;
            let err = match binding.take_suspend(held, limit) {
                Ok(suspend) => {
                    if first {
                        self.publish(inner);
                    }
                    return Ok(suspend);
                }
                Err(err) => err,
            };
            // Only buffers that are still to come can raise a client's limit.
            let settled = err == EDQUOT && binding.suspend_lacking() == 0;
            if patience == 0 || settled || binding.options.suspend_count == 0 {
                if binding.statistics.fail_suspend(err) {
                    self.warn_exhausted(binding);
                }
                return Err(err);
            }
            if !waited {
                waited = true;
                binding.statistics.waits = binding.statistics.waits.saturating_add(1);
                // It may have failed before, and something was given back to the heap since. A client
                // at its limit gets no allocation tried for it.
                if err != EDQUOT {
                    self.supply.queue(0);
                }
            }
            patience = self.wait(&mut inner, patience)?;
        }
    }

    /// Logs that a driver got no suspend buffer. Only the driver knows its clients: it names them.
    fn warn_exhausted(&self, binding: &Binding) {
        let suspend = binding.suspend();
        dev_warn!(
            self.dev,
            "protheap: no suspend buffer is free: {} of {} are in use by {}, the policy has {}\n",
            suspend.in_use(),
            suspend.len(),
            DriverName(&self.dev),
            binding.options.suspend_count,
        );
    }

    /// A suspend buffer comes back; see `protheap_suspend_put()`.
    pub(crate) fn put_suspend(&self, suspend: NonNull<Suspend>) {
        let mut inner = self.inner.lock();
        let Some(binding) = &mut inner.binding else {
            return;
        };
        let stays = binding.put_suspend(suspend);
        let last = binding.suspend().in_use() == 0;
        self.wake(&inner);
        if !stays {
            self.supply.queue(0);
        }
        if last || !stays {
            self.publish(inner);
        }
    }

    /// Wakes up those who wait for a change.
    fn wake(&self, inner: &Inner) {
        if inner.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Ends a change: forgets a binding that is over, lets user space know, unlocks.
    fn publish(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.binding.as_ref().is_some_and(Binding::is_over) {
            inner.binding = None;
        }
        let event = Event::of(inner.binding.as_ref());
        if inner.events.put(event) {
            self.announce.queue(0);
        }
    }

    fn settle(&self) {
        self.refill();
        let mut inner = self.inner.lock();
        let mut expired = false;
        if let Some(binding) = &mut inner.binding {
            match binding.hold_left_ms() {
                Some(0) => {
                    binding.expire();
                    expired = true;
                }
                // Queued for another reason, which took the timer's place.
                Some(left) => return self.settle.queue(after(left as Msecs)),
                None => (),
            }
        }
        let probe = core::mem::take(&mut inner.deferred);
        self.publish(inner);

        if expired {
            dev_warn!(
                self.dev,
                "protheap: timed out waiting for user space, probing without protected memory\n"
            );
        }
        if probe {
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

    /// Notifies an attached driver of a binding that came late.
    fn call_bound(&self) {
        self.call(Inner::is_late, |inner| {
            inner.binding.as_mut()?.is_notified = true;
            inner.begin_call(Ops::bound)
        });
    }

    /// Allocates one buffer that the binding lacks. False: another attempt would be no better.
    fn supply(&self) -> bool {
        let (request, generation) = {
            let inner = self.inner.lock();
            let lacking = inner.binding.as_ref().and_then(Binding::suspend_request);
            match lacking {
                Some(request) => (request, inner.generation),
                None => return false,
            }
        };
        let (allocated, result) = request.allocate();
        let mut inner = self.inner.lock();
        let Ok(binding) = inner.generation(generation) else {
            // What there is now is another binding, if any.
            return true;
        };
        let result = binding.supply(allocated).and(result);
        if let Err(err) = result {
            binding.statistics.refuse(err);
            if binding.statistics.supply.is_first(err) {
                dev_warn!(
                    self.dev,
                    "protheap: failed to allocate a {}-byte suspend buffer from {}: {} ({}); check the heap, and `suspend` in the policy\n",
                    request.suspend_bytes(),
                    BStr::from_bytes(&binding.options.heap),
                    statistics::word(err),
                    err.to_errno(),
                );
            }
        }
        self.wake(&inner);
        self.publish(inner);
        result.is_ok()
    }

    fn announce(&self) -> Result {
        let events = self.inner.lock().events.take();
        // One that cannot be sent is no reason to keep the next ones.
        let mut result = Ok(());
        for event in events {
            result = result.and(event.send(&self.dev));
        }
        result
    }

    /// Writes what debugfs shows: one line for each value, for people.
    pub(crate) fn show(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_driver = self.has_driver();
        let inner = self.inner.lock();
        let driver = inner.driver(has_driver);
        writeln!(out, "driver {}", driver.name())?;
        writeln!(out, "window-spent {}", u8::from(inner.window_spent))?;
        match &inner.binding {
            Some(binding) => binding.show(driver, out),
            None => writeln!(out, "state absent\nbuffers 0\nbytes 0\nin-use 0"),
        }
    }
}

/// The policy that decided, at the end of a line; nothing if it is not known.
struct Origin<'a>(&'a [u8]);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            origin => f.write_fmt(fmt!(" by {}", BStr::from_bytes(origin))),
        }
    }
}

/// Jiffies of which certainly that many milliseconds pass: the first one has begun already.
fn after(ms: Msecs) -> Jiffies {
    msecs_to_jiffies(ms) + 1
}
