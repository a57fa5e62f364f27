// SPDX-License-Identifier: GPL-2.0

//! The GPUs that somebody asked for: each with its binding, its driver and its window.
//!
//! Lock order: configfs → the device's lock → [`REGISTRY`] → [`Gpu::inner`]. Neither of our two is
//! held while anything is called that can probe a device, runs a driver's code, or tells user
//! space.

use crate::{
    binding::{
        Binding,
        Decision,
        Driver,
        Kind,
        State, //
    },
    buffer::Buffer,
    work::Work, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::Device,
    error::{
        code::ERESTARTSYS,
        to_result, //
    },
    new_condvar,
    new_mutex,
    prelude::*,
    str::{
        BStr,
        CStr,
        CString, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
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

extern "C" {
    // `struct device *`, whose lockdep fields Rust takes for unfit to pass.
    fn protheap_glue_lock_device(dev: *mut c_void);
    fn protheap_glue_unlock_device(dev: *mut c_void);
}

/// `struct protheap_ops` of `protheap.h`.
#[repr(C)]
pub(crate) struct Ops {
    bound: Option<unsafe extern "C" fn(dev: *mut bindings::device)>,
}

/// All GPUs, and the device whose uevents tell of them.
pub(crate) struct Registry {
    // A GPU stays until the module goes: it remembers that its window is spent.
    gpus: KVec<Arc<Gpu>>,
    herald: Option<ARef<Device>>,
}

/// Whether the registry is set up. Where all is built in, drivers may probe before.
static READY: Atomic<bool> = Atomic::new(false);

kernel::sync::global_lock! {
    // SAFETY: `Registration::new()` initialises it before anything can use it.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry { gpus: KVec::new(), herald: None };
}

/// The registry, for as long as the module is loaded.
pub(crate) struct Registration(());

impl Registration {
    /// Sets the registry up.
    ///
    /// # Safety
    ///
    /// Must be called once, before anything else of this file is.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: By the safety requirements.
        unsafe { REGISTRY.init() };
        READY.store(true, Release);
        Self(())
    }

    /// Lets changes be told by uevents of `herald`, which must stay registered until `self` is
    /// dropped.
    pub(crate) fn announce_by(&self, herald: &Device) {
        REGISTRY.lock().herald = Some(herald.into());
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // No group, no consumer and no suspend buffer is left: each of them pins the module. What
        // is queued runs now: a device may still wait to be probed.
        let gpus = core::mem::replace(&mut REGISTRY.lock().gpus, KVec::new());
        for gpu in &gpus {
            gpu.settle.flush();
            gpu.announce.flush();
        }
        REGISTRY.lock().herald = None;
    }
}

/// Takes a buffer that user space hands over for the device of that name.
///
/// For the errors see `uapi/protheap.h`.
pub(crate) fn hand_over(device: &CStr, kind: Kind, buffer: Buffer) -> Result {
    // Locked to the end, so that nobody hands the same buffer over to another GPU meanwhile. A
    // device of that name that was removed may still have a binding that was withdrawn.
    let registry = REGISTRY.lock();
    let gpu = registry
        .gpus
        .iter()
        .find(|gpu| gpu.dev.name() == device && gpu.inner.lock().is_open())
        .ok_or(ENODEV)?;
    let twice = registry.gpus.iter().any(|gpu| {
        let inner = gpu.inner.lock();
        inner
            .binding
            .as_ref()
            .is_some_and(|binding| binding.holds(&buffer))
    });
    gpu.hand_over(kind, buffer, twice)
}

/// The attached driver.
struct Consumer {
    ops: Option<NonNull<Ops>>,
    /// Its `bound()` is running.
    called: bool,
}

// SAFETY: `Ops` is constant, and its function may be called from any thread.
unsafe impl Send for Consumer {}

/// What user space is told of.
#[derive(Clone, Copy)]
struct News {
    state: State,
    suspend_wanted: usize,
    suspend_bytes: usize,
}

/// What the lock of a GPU protects.
struct Inner {
    /// The binding; one that was withdrawn stays while the driver holds something of it.
    binding: Option<Binding>,
    consumer: Option<Consumer>,
    /// A window was opened in this boot.
    window_spent: bool,
    /// A driver was sent away until the window ends.
    deferred: bool,
    /// What user space was told last.
    announced: News,
}

impl Inner {
    fn news(&self) -> News {
        match &self.binding {
            Some(binding) => News {
                state: binding.state(),
                suspend_wanted: binding.suspend_wanted(),
                suspend_bytes: binding.options.suspend_bytes,
            },
            None => News::NONE,
        }
    }

    /// Whether there is a binding that was not withdrawn.
    fn is_open(&self) -> bool {
        self.news().state != State::Absent
    }

    fn bound(&mut self) -> Result<&mut Binding> {
        self.binding
            .as_mut()
            .filter(|binding| binding.is_bound())
            .ok_or(ENOENT)
    }
}

impl News {
    const NONE: Self = News {
        state: State::Absent,
        suspend_wanted: 0,
        suspend_bytes: 0,
    };

    /// Whether user space has to act, or can see another state, after it was told of `old`.
    fn is_worth_telling(&self, old: &Self) -> bool {
        let grown =
            self.suspend_wanted > old.suspend_wanted || self.suspend_bytes > old.suspend_bytes;
        self.state != old.state || self.suspend_wanted > 0 && grown
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
    settle: Work,
    /// Tells user space.
    #[pin]
    announce: Work,
}

impl Gpu {
    /// The GPU that is `dev`. `EPROBE_DEFER` before the registry is set up.
    pub(crate) fn of(dev: &Device) -> Result<Arc<Self>> {
        if !READY.load(Acquire) {
            return Err(EPROBE_DEFER);
        }
        let mut registry = REGISTRY.lock();
        if let Some(known) = registry
            .gpus
            .iter()
            .find(|gpu| core::ptr::eq(&*gpu.dev, dev))
        {
            return Ok(known.clone());
        }
        let gpu = Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                inner <- new_mutex!(Inner {
                    binding: None,
                    consumer: None,
                    window_spent: false,
                    deferred: false,
                    announced: News::NONE,
                }),
                changed <- new_condvar!(),
                // SAFETY: `run_settle()` expects the `settle` of a `Gpu`. The registry keeps that
                // until it has flushed it.
                settle <- unsafe { Work::new(Self::run_settle) },
                // SAFETY: `run_announce()` expects the `announce` of a `Gpu`; as above.
                announce <- unsafe { Work::new(Self::run_announce) },
            }),
            GFP_KERNEL,
        )?;
        registry.gpus.push(gpu.clone(), GFP_KERNEL)?;
        Ok(gpu)
    }

    /// Opens a binding of the platform device of that name.
    ///
    /// `ENODEV` if there is none; `EBUSY` while a driver holds something of a binding that was
    /// withdrawn.
    pub(crate) fn open(name: &CStr) -> Result<Arc<Self>> {
        let gpu = Self::of(&*find_platform_device(name).ok_or(ENODEV)?)?;
        let mut inner = gpu.inner.lock();
        if inner.binding.is_some() {
            return Err(EBUSY);
        }
        inner.binding = Some(Binding::new());
        gpu.publish(inner);
        Ok(gpu)
    }

    /// Withdraws the binding. What the driver holds stays until it lets go.
    pub(crate) fn withdraw(&self) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.withdraw();
        }
        self.changed.notify_all();
        self.settle.queue(0);
        self.publish(inner);
    }

    /// Looks at the binding.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Binding, Driver) -> T) -> Result<T> {
        let inner = self.inner.lock();
        let binding = inner.binding.as_ref().ok_or(ENODEV)?;
        Ok(look(binding, self.driver(&inner)))
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
    /// had its window.
    pub(crate) fn hold(&self, hold: u64) -> Result {
        let longest = Msecs::min(crate::module_parameters::hold.value(), HOLD_MAX);
        let mut inner = self.inner.lock();
        let driver = self.driver(&inner);
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

    /// Decides; see [`Binding::commit`].
    pub(crate) fn commit(&self, decision: Decision) -> Result {
        let mut inner = self.inner.lock();
        let driver = self.driver(&inner);
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding.commit(decision, driver)?;
        let options = &binding.options;
        match decision {
            Decision::Bind => dev_info!(
                self.dev,
                "protheap: bound to {} by {}\n",
                BStr::from_bytes(&options.heap),
                BStr::from_bytes(&options.origin),
            ),
            Decision::None => dev_info!(
                self.dev,
                "protheap: goes without protected memory: {}\n",
                BStr::from_bytes(&options.origin),
            ),
        }
        self.changed.notify_all();
        self.settle.queue(0);
        self.publish(inner);
        Ok(())
    }

    fn hand_over(&self, kind: Kind, buffer: Buffer, twice: bool) -> Result {
        // Once for each binding: the others are from the same exporter.
        let warn = kind == Kind::Firmware && buffer.is_mappable();
        let mut inner = self.inner.lock();
        let binding = inner.binding.as_mut().ok_or(ENODEV)?;
        binding.hand_over(kind, buffer, twice)?;
        self.changed.notify_all();
        self.publish(inner);
        if warn {
            dev_warn!(
                self.dev,
                "protheap: takes buffers that are NOT protected, as its policy allows\n"
            );
        }
        Ok(())
    }

    /// Attaches the device's driver; see `protheap_attach()`.
    pub(crate) fn attach(&self, ops: Option<NonNull<Ops>>) -> Result {
        let mut inner = self.inner.lock();
        if inner.consumer.is_some() {
            return Err(EBUSY);
        }
        if let Some(binding) = &mut inner.binding {
            if binding.held_for().is_some() {
                inner.deferred = true;
                return Err(EPROBE_DEFER);
            }
            binding.told = binding.is_bound();
        }
        inner.consumer = Some(Consumer { ops, called: false });
        Ok(())
    }

    /// Detaches the device's driver, once its `bound()` is not running.
    pub(crate) fn detach(&self) {
        let mut inner = self.inner.lock();
        while inner
            .consumer
            .as_ref()
            .is_some_and(|consumer| consumer.called)
        {
            self.changed.wait(&mut inner);
        }
        inner.consumer = None;
        if let Some(binding) = &mut inner.binding {
            binding.detach();
        }
        self.publish(inner);
    }

    /// The firmware's buffer; see `protheap_firmware_buffer()`.
    pub(crate) fn firmware(&self, size: usize) -> Result<Buffer> {
        let mut inner = self.inner.lock();
        let buffer = inner.binding.as_mut().ok_or(ENOENT)?.take_firmware(size)?;
        self.publish(inner);
        Ok(buffer)
    }

    /// The size of a suspend buffer; see `protheap_suspend_configure()`.
    pub(crate) fn configure_suspend(&self, size: usize) -> Result {
        let mut inner = self.inner.lock();
        inner.bound()?.configure_suspend(size);
        self.publish(inner);
        Ok(())
    }

    /// A suspend buffer; see `protheap_suspend_get()`.
    pub(crate) fn take_suspend(&self) -> Result<*mut bindings::dma_buf> {
        let mut patience = msecs_to_jiffies(SUSPEND_WAIT);
        let mut inner = self.inner.lock();
        loop {
            let binding = inner.bound()?;
            if let Some(dmabuf) = binding.take_suspend() {
                self.publish(inner);
                return Ok(dmabuf);
            }
            if patience == 0 || binding.options.suspend_count == 0 {
                return Err(ENOBUFS);
            }
            patience = match self
                .changed
                .wait_interruptible_timeout(&mut inner, patience)
            {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => 0,
                CondVarTimeoutResult::Signal { .. } => return Err(ERESTARTSYS),
            };
        }
    }

    /// A suspend buffer comes back; see `protheap_suspend_put()`.
    pub(crate) fn put_suspend(&self, dmabuf: *mut bindings::dma_buf) {
        let mut inner = self.inner.lock();
        if let Some(binding) = &mut inner.binding {
            binding.put_suspend(dmabuf);
        }
        self.changed.notify_all();
        self.publish(inner);
    }

    /// Ends a change: forgets a binding that is over, lets user space know, unlocks.
    fn publish(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.binding.as_ref().is_some_and(Binding::is_over) {
            inner.binding = None;
        }
        let news = inner.news();
        if news.is_worth_telling(&inner.announced) {
            self.announce.queue(0);
        } else {
            inner.announced = news;
        }
    }

    fn driver(&self, inner: &Inner) -> Driver {
        if inner.consumer.is_some() {
            return Driver::Attached;
        }
        // SAFETY: The device is valid; this reads one pointer of it.
        match unsafe { bindings::device_is_bound(raw(&self.dev)) } {
            true => Driver::Stranger,
            false => Driver::Absent,
        }
    }

    /// # Safety
    ///
    /// `work` must be the `settle` of a [`Gpu`] that lives until this returns.
    unsafe extern "C" fn run_settle(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirements.
        let gpu = unsafe { &*kernel::container_of!(Work::from_raw(work), Self, settle) };
        gpu.settle();
    }

    fn settle(&self) {
        let mut inner = self.inner.lock();
        let mut expired = false;
        if let Some(binding) = &mut inner.binding {
            match binding.held_for() {
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
            dev_warn!(self.dev, "protheap: nothing was decided in time\n");
        }
        if probe {
            // SAFETY: The device is valid, and no lock is held. It takes the device's own lock, so
            // the probe that was sent away is over.
            let ret = unsafe { bindings::device_attach(raw(&self.dev)) };
            if ret < 0 {
                dev_warn!(self.dev, "protheap: cannot be probed ({ret})\n");
            }
        }
        self.call_bound();
    }

    /// Tells an attached driver of a binding that came late.
    fn call_bound(&self) {
        if !self.inner.lock().is_late() {
            return;
        }
        let dev = raw(&self.dev);
        // SAFETY: The device is valid, and no lock is held.
        unsafe { protheap_glue_lock_device(dev.cast()) };
        let mut inner = self.inner.lock();
        if inner.is_late() {
            if let Some(bound) = inner.begin_call() {
                drop(inner);
                // SAFETY: The driver is attached, and `detach()` waits for this to return: its ops
                // and its code stay.
                unsafe { bound(dev) };
                inner = self.inner.lock();
                if let Some(consumer) = &mut inner.consumer {
                    consumer.called = false;
                }
                self.changed.notify_all();
            }
        }
        drop(inner);
        // SAFETY: Locked above.
        unsafe { protheap_glue_unlock_device(dev.cast()) };
    }

    /// # Safety
    ///
    /// `work` must be the `announce` of a [`Gpu`] that lives until this returns.
    unsafe extern "C" fn run_announce(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirements.
        let gpu = unsafe { &*kernel::container_of!(Work::from_raw(work), Self, announce) };
        if gpu.announce().is_err() {
            dev_warn!(gpu.dev, "protheap: cannot tell user space of a change\n");
        }
    }

    fn announce(&self) -> Result {
        let herald = REGISTRY.lock().herald.clone().ok_or(ENODEV)?;
        let news = {
            let mut inner = self.inner.lock();
            inner.announced = inner.news();
            inner.announced
        };
        let device = CString::try_from_fmt(fmt!("PROTHEAP_DEVICE={}", self.dev.name()))?;
        let state = CString::try_from_fmt(fmt!("PROTHEAP_STATE={}", news.state.name()))?;
        let want = match news.suspend_wanted {
            0 => core::ptr::null(),
            _ => c"PROTHEAP_WANT=suspend".as_char_ptr(),
        };
        let mut env = [
            device.as_char_ptr(),
            state.as_char_ptr(),
            want,
            core::ptr::null(),
        ]
        .map(<*const u8>::cast_mut);
        // SAFETY: The herald is registered until the registry is gone; `env` is a list of strings
        // that ends with NULL, and is only read.
        to_result(unsafe {
            bindings::kobject_uevent_env(
                &raw mut (*raw(&herald)).kobj,
                bindings::kobject_action_KOBJ_CHANGE,
                env.as_mut_ptr(),
            )
        })
    }
}

impl Inner {
    /// Whether a driver is attached that does not know of the binding.
    fn is_late(&self) -> bool {
        let news =
            |binding: &Binding| binding.is_bound() && !binding.told && !binding.firmware_in_use();
        self.consumer.is_some() && self.binding.as_ref().is_some_and(news)
    }

    /// Notes that the driver is told, and returns the function to call.
    fn begin_call(&mut self) -> Option<unsafe extern "C" fn(*mut bindings::device)> {
        self.binding.as_mut()?.told = true;
        let consumer = self.consumer.as_mut()?;
        // SAFETY: The driver keeps its ops valid until it has detached, which needs the lock that
        // is held.
        let bound = unsafe { consumer.ops?.as_ref() }.bound?;
        consumer.called = true;
        Some(bound)
    }
}

/// The device, for C.
fn raw(dev: &Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// Jiffies of which certainly that many milliseconds pass: the first one has begun already.
fn after(ms: Msecs) -> Jiffies {
    msecs_to_jiffies(ms) + 1
}

/// The platform device of that name.
fn find_platform_device(name: &CStr) -> Option<ARef<Device>> {
    // SAFETY: The bus is valid, and `device_match_name()` expects a terminated string.
    let dev = unsafe {
        bindings::bus_find_device(
            &bindings::platform_bus_type,
            core::ptr::null_mut(),
            name.as_char_ptr().cast(),
            Some(bindings::device_match_name),
        )
    };
    // SAFETY: `bus_find_device()` returns NULL, or a device with a reference for us.
    NonNull::new(dev.cast::<Device>()).map(|dev| unsafe { ARef::from_raw(dev) })
}
