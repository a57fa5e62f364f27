// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers around `protheap.h`, for GPU drivers written in Rust. Copy this file,
//! `dma_buf.rs`, `symbols.c` and `symbols.h` into the driver.
//!
//! ```ignore
//! impl protheap::Consumer for MyDriver {
//!     fn bound<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>) {
//!         // Take the buffer, and boot the firmware again.
//!     }
//!
//!     fn release<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>) {
//!         // Unmap the buffer, boot the firmware again, and put the buffer.
//!     }
//! }
//!
//! // First thing in probe. SAFETY: `MyDriver` is what probes this device; its unbind drops this.
//! let protheap = unsafe { Attachment::new::<MyDriver>(pdev) }?;
//! ```

use crate::dma_buf::DmaBuf;
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    platform,
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// Types of `protheap.h`, named as there: the names of a function's types are its identity where
/// the kernel checks indirect calls (`CONFIG_CFI`).
#[allow(non_camel_case_types)]
mod c {
    use kernel::bindings;

    /// `PROTHEAP_ABI`.
    pub(super) const ABI: u32 = 1;

    /// `struct protheap`.
    #[repr(C)]
    pub(super) struct protheap {
        _opaque: [u8; 0],
    }

    /// `struct protheap_ops`.
    #[repr(C)]
    pub(super) struct protheap_ops {
        pub(super) bound: Option<unsafe extern "C" fn(dev: *mut bindings::device)>,
        pub(super) release: Option<unsafe extern "C" fn(dev: *mut bindings::device)>,
    }

    /// `struct protheap_suspend`.
    #[repr(C)]
    pub(super) struct protheap_suspend {
        pub(super) dmabuf: *mut bindings::dma_buf,
    }
}

/// `struct protheap_symbols`: the functions of protheap.ko.
///
/// # Invariants
///
/// All are found, and protheap.ko is pinned.
#[repr(C)]
struct Symbols {
    attach: unsafe extern "C" fn(
        *mut bindings::device,
        *const c::protheap_ops,
        u32,
    ) -> *mut c::protheap,
    detach: unsafe extern "C" fn(*mut c::protheap),
    firmware_buffer: unsafe extern "C" fn(*mut c::protheap, usize) -> *mut bindings::dma_buf,
    firmware_put: unsafe extern "C" fn(*mut c::protheap),
    suspend_configure: unsafe extern "C" fn(*mut c::protheap, usize) -> c_int,
    suspend_get:
        unsafe extern "C" fn(*mut c::protheap, c_uint, c_uint) -> *mut c::protheap_suspend,
    suspend_put: unsafe extern "C" fn(*mut c::protheap_suspend),
}

extern "C" {
    // Both take `struct protheap_symbols *`.
    fn protheap_symbols_get(symbols: *mut c_void) -> bool;
    fn protheap_symbols_put(symbols: *const c_void);
}

impl Symbols {
    /// The functions, or [`None`] where protheap.ko is not loaded.
    fn get() -> Option<Self> {
        let mut symbols = MaybeUninit::<Self>::uninit();
        // SAFETY: Valid for writes. All fields are set if it returns true.
        unsafe { protheap_symbols_get(symbols.as_mut_ptr().cast()).then(|| symbols.assume_init()) }
    }
}

impl Drop for Symbols {
    fn drop(&mut self) {
        // SAFETY: By the type invariant they were found, and are not used again.
        unsafe { protheap_symbols_put(core::ptr::from_mut(self).cast()) };
    }
}

/// A driver to which a binding can come late, and which can do without it again.
pub(crate) trait Consumer: platform::Driver {
    /// `dev` was bound to a protected heap after the driver had attached: the firmware's buffer can
    /// be had now.
    ///
    /// Called with the device's lock held: probe has ended, and unbind has not begun. Dropping the
    /// [`Attachment`] here would wait for ever.
    fn bound<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>);

    /// The system is about to hibernate: unmap the firmware's buffer, boot the firmware again
    /// without it, and call [`Attachment::put_firmware_buffer`]. No suspend buffer is in use.
    ///
    /// Called as [`Consumer::bound`] is, which is called when there is a buffer again.
    fn release<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>);
}

/// What a driver's attachment to its device's binding.
///
/// # Invariants
///
/// `raw` was returned by `attach`, and is detached when `self` is dropped.
pub(crate) struct Attachment {
    raw: NonNull<c::protheap>,
    symbols: Arc<Symbols>,
}

// SAFETY: The functions of protheap.ko may be called from any thread.
unsafe impl Send for Attachment {}
// SAFETY: And at the same time.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Attaches the driver `D` to its device, whether or not that has a binding; the first thing in
    /// probe, before clocks and power. [`None`] where protheap.ko is not loaded.
    ///
    /// `EPROBE_DEFER`, to be returned from probe, while a decision about the device is still
    /// awaited.
    ///
    /// # Safety
    ///
    /// `D` must be the driver that probes `dev` right now. The attachment must be dropped before
    /// the driver is unbound or its probe has failed: `D` would be called for another driver's
    /// device.
    pub(crate) unsafe fn new<D: Consumer>(
        dev: &platform::Device<Core<'_>>,
    ) -> Result<Option<Self>> {
        let Some(symbols) = Symbols::get() else {
            return Ok(None);
        };
        let symbols = Arc::new(symbols, GFP_KERNEL)?;
        let ops: &'static c::protheap_ops = &c::protheap_ops {
            bound: Some(call_bound::<D>),
            release: Some(call_release::<D>),
        };
        // SAFETY: The device is valid, the ops are static.
        let raw = from_err_ptr(unsafe { (symbols.attach)(as_raw(dev.as_ref()), ops, c::ABI) })?;
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        // INVARIANT: Attached above.
        Ok(Some(Self { raw, symbols }))
    }

    /// The errno with which protheap.ko refuses a driver that has another version of `protheap.h`;
    /// for tests.
    pub(crate) fn refused_version(dev: &platform::Device<Core<'_>>, abi: u32) -> Option<Error> {
        let symbols = Symbols::get()?;
        // SAFETY: The device is valid. Without ops and with an unknown version, nothing is attached.
        from_err_ptr(unsafe { (symbols.attach)(as_raw(dev.as_ref()), core::ptr::null(), abi) })
            .err()
    }

    /// The buffer for the firmware's protected section of `size` bytes: the same one each time.
    ///
    /// `ENOENT` if the device is not bound to a heap, `EMSGSIZE` if the buffer is too small.
    pub(crate) fn firmware_buffer(&self, size: usize) -> Result<DmaBuf> {
        // SAFETY: Attached by the type invariant.
        let ptr = from_err_ptr(unsafe { (self.symbols.firmware_buffer)(self.raw.as_ptr(), size) })?;
        let ptr = NonNull::new(ptr).ok_or(ENOENT)?;
        // SAFETY: The function gave us a reference.
        Ok(unsafe { DmaBuf::from_raw(ptr) })
    }

    /// Stops using the firmware's buffer: it could not be mapped, or was unmapped. All references
    /// to it must be gone.
    pub(crate) fn put_firmware_buffer(&self) {
        // SAFETY: Attached by the type invariant.
        unsafe { (self.symbols.firmware_put)(self.raw.as_ptr()) };
    }

    /// Tells the size of a suspend buffer, once the firmware has told it.
    ///
    /// `ENOENT` if the device is not bound to a heap.
    pub(crate) fn configure_suspend(&self, size: usize) -> Result {
        // SAFETY: Attached by the type invariant.
        to_result(unsafe { (self.symbols.suspend_configure)(self.raw.as_ptr(), size) })
    }

    /// Takes a suspend buffer for a client that holds `held` of them; waits for at most 100 ms,
    /// interruptibly. It may outlive the attachment.
    ///
    /// `ENOENT` if the device is not bound to a heap, `ENOBUFS` if no buffer came free, `EDQUOT` if
    /// the client holds half of them, `ERESTARTSYS`.
    pub(crate) fn suspend_buffer(&self, held: u32) -> Result<SuspendBuffer> {
        // SAFETY: Attached by the type invariant.
        let raw = from_err_ptr(unsafe { (self.symbols.suspend_get)(self.raw.as_ptr(), held, 0) })?;
        let raw = NonNull::new(raw).ok_or(ENOENT)?;
        // INVARIANT: Just taken.
        Ok(SuspendBuffer {
            raw,
            symbols: self.symbols.clone(),
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: Attached by the type invariant, and not used again.
        unsafe { (self.symbols.detach)(self.raw.as_ptr()) };
    }
}

/// A suspend buffer, taken from the device's binding, and given back when dropped.
///
/// # Invariants
///
/// `raw` was returned by `suspend_get`, and is put when `self` is dropped.
pub(crate) struct SuspendBuffer {
    raw: NonNull<c::protheap_suspend>,
    symbols: Arc<Symbols>,
}

// SAFETY: The functions of protheap.ko may be called from any thread.
unsafe impl Send for SuspendBuffer {}
// SAFETY: Through `&self` only fields are read that never change.
unsafe impl Sync for SuspendBuffer {}

impl SuspendBuffer {
    /// A reference to the buffer. It must be gone before `self` is: the next group gets the same
    /// buffer.
    pub(crate) fn dma_buf(&self) -> Result<DmaBuf> {
        // SAFETY: Valid by the type invariant.
        let ptr = NonNull::new(unsafe { self.raw.as_ref() }.dmabuf).ok_or(EINVAL)?;
        // SAFETY: Valid for as long as `self` is.
        Ok(unsafe { DmaBuf::get(ptr) })
    }
}

impl Drop for SuspendBuffer {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and not used again.
        unsafe { (self.symbols.suspend_put)(self.raw.as_ptr()) };
    }
}

fn as_raw(dev: &Device<impl kernel::device::DeviceContext>) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// # Safety
///
/// `dev` must be valid and bound to the driver `D`, which stays so until this returns.
unsafe extern "C" fn call_bound<D: Consumer>(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { call::<D>(dev, D::bound) };
}

/// # Safety
///
/// As of [`call_bound`].
unsafe extern "C" fn call_release<D: Consumer>(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { call::<D>(dev, D::release) };
}

/// # Safety
///
/// As of [`call_bound`].
unsafe fn call<D: Consumer>(
    dev: *mut bindings::device,
    function: for<'a> fn(&'a platform::Device<Bound>, Pin<&D::Data<'a>>),
) {
    // SAFETY: By the safety requirements.
    let dev = unsafe { Device::<Bound>::from_raw(dev) };
    let Ok(pdev) = <&platform::Device<Bound>>::try_from(dev) else {
        return;
    };
    // SAFETY: The device is valid.
    let data = unsafe { bindings::dev_get_drvdata(as_raw(dev)) };
    if !data.is_null() {
        // SAFETY: The platform bus keeps there what the probe of `D` returned, in a box, until `D`
        // is unbound.
        function(pdev, unsafe { Pin::<KBox<D::Data<'_>>>::borrow(data) });
    }
}
