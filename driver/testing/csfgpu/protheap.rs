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
//! // First in probe. SAFETY: `MyDriver` probes this device; its unbind drops the attachment.
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

/// Types of `protheap.h`, with the same names: a kernel with `CONFIG_CFI` identifies a function by
/// the names of its types.
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
/// All functions were found, and protheap.ko is pinned.
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
    // Both functions take `struct protheap_symbols *`.
    fn protheap_symbols_get(symbols: *mut c_void) -> bool;
    fn protheap_symbols_put(symbols: *const c_void);
}

impl Symbols {
    /// Looks up the functions. Returns [`None`] if protheap.ko is not loaded.
    fn get() -> Option<Self> {
        let mut symbols = MaybeUninit::<Self>::uninit();
        // SAFETY: Valid for writes. All fields are set if the function returns true.
        unsafe { protheap_symbols_get(symbols.as_mut_ptr().cast()).then(|| symbols.assume_init()) }
    }
}

impl Drop for Symbols {
    fn drop(&mut self) {
        // SAFETY: The functions were found by the type invariant, and are not used again.
        unsafe { protheap_symbols_put(core::ptr::from_mut(self).cast()) };
    }
}

/// A driver that supports late binding and the release of the firmware buffer.
pub(crate) trait Consumer: platform::Driver {
    /// `dev` was bound to a protected heap after the driver had attached: the firmware buffer is
    /// now available.
    ///
    /// Called with the device's lock held: probe has ended, and unbind has not begun. Dropping the
    /// [`Attachment`] here would deadlock.
    fn bound<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>);

    /// The system is about to hibernate, or a binding on demand is idle: unmap the firmware buffer,
    /// boot the firmware again without it, and call [`Attachment::put_firmware_buffer`]. No suspend
    /// buffer is in use.
    ///
    /// Called like [`Consumer::bound`], which is called when there is a buffer again.
    fn release<'a>(dev: &'a platform::Device<Bound>, data: Pin<&Self::Data<'a>>);
}

/// A driver's attachment to the binding of its device.
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
// SAFETY: The functions of protheap.ko may be called concurrently.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// Attaches the driver `D` to its device, whether or not the device is bound to a heap. Call
    /// this first in probe, before clocks and power are enabled. Returns [`None`] if protheap.ko is
    /// not loaded.
    ///
    /// Returns `EPROBE_DEFER`, to be returned from probe, while the device is held.
    ///
    /// # Safety
    ///
    /// `D` must be the driver that is probing `dev`. The attachment must be dropped before the
    /// driver is unbound or its probe has failed; otherwise `D` would be called for a device of
    /// another driver.
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

    /// Returns the error with which protheap.ko refuses a driver that was built with another
    /// version of `protheap.h`. For tests.
    pub(crate) fn refused_version(dev: &platform::Device<Core<'_>>, abi: u32) -> Option<Error> {
        let symbols = Symbols::get()?;
        // SAFETY: The device is valid. Without ops and with an unknown version, nothing is attached.
        from_err_ptr(unsafe { (symbols.attach)(as_raw(dev.as_ref()), core::ptr::null(), abi) })
            .err()
    }

    /// Returns the buffer for the firmware's protected section of `size` bytes: the same one each
    /// time.
    ///
    /// Returns `ENOENT` if the device is not bound to a heap, and `EMSGSIZE` if the buffer is too
    /// small.
    pub(crate) fn firmware_buffer(&self, size: usize) -> Result<DmaBuf> {
        // SAFETY: Attached by the type invariant.
        let ptr = from_err_ptr(unsafe { (self.symbols.firmware_buffer)(self.raw.as_ptr(), size) })?;
        let ptr = NonNull::new(ptr).ok_or(ENOENT)?;
        // SAFETY: The function returned a new reference.
        Ok(unsafe { DmaBuf::from_raw(ptr) })
    }

    /// Stops using the firmware buffer, after it was unmapped or if mapping it failed. All
    /// references to it must have been dropped.
    pub(crate) fn put_firmware_buffer(&self) {
        // SAFETY: Attached by the type invariant.
        unsafe { (self.symbols.firmware_put)(self.raw.as_ptr()) };
    }

    /// Sets the size of suspend buffers to the one that the firmware reports.
    ///
    /// Returns `ENOENT` if the device is not bound to a heap.
    pub(crate) fn configure_suspend(&self, size: usize) -> Result {
        // SAFETY: Attached by the type invariant.
        to_result(unsafe { (self.symbols.suspend_configure)(self.raw.as_ptr(), size) })
    }

    /// Takes a suspend buffer for a client that already holds `held` of them. Waits for at most
    /// 100 ms, interruptibly. The buffer can outlive the attachment.
    ///
    /// Returns `ENOENT` if the device is not bound to a heap, `ENOBUFS` if no buffer became free,
    /// `EDQUOT` if the client holds half of the buffers, or `ERESTARTSYS`.
    pub(crate) fn suspend_buffer(&self, held: u32) -> Result<SuspendBuffer> {
        // SAFETY: Attached by the type invariant.
        let raw = from_err_ptr(unsafe { (self.symbols.suspend_get)(self.raw.as_ptr(), held, 0) })?;
        let raw = NonNull::new(raw).ok_or(ENOENT)?;
        // INVARIANT: Returned by `suspend_get`.
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

/// A suspend buffer of the device's binding, which is returned when dropped.
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
    /// Returns a reference to the buffer. It must be dropped before `self`, because the next group
    /// can get the same buffer.
    pub(crate) fn dma_buf(&self) -> Result<DmaBuf> {
        // SAFETY: Valid by the type invariant.
        let ptr = NonNull::new(unsafe { self.raw.as_ref() }.dmabuf).ok_or(EINVAL)?;
        // SAFETY: Valid for as long as `self` is.
        Ok(unsafe { DmaBuf::get(ptr) })
    }
}

impl Drop for SuspendBuffer {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant, and not used again.
        unsafe { (self.symbols.suspend_put)(self.raw.as_ptr()) };
    }
}

fn as_raw(dev: &Device<impl kernel::device::DeviceContext>) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// # Safety
///
/// `dev` must be valid, and bound to the driver `D` until this returns.
unsafe extern "C" fn call_bound<D: Consumer>(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { call::<D>(dev, D::bound) };
}

/// # Safety
///
/// As for [`call_bound`].
unsafe extern "C" fn call_release<D: Consumer>(dev: *mut bindings::device) {
    // SAFETY: By the safety requirements.
    unsafe { call::<D>(dev, D::release) };
}

/// # Safety
///
/// As for [`call_bound`].
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
        // SAFETY: The driver data is what the probe of `D` returned, in a box, until `D` is
        // unbound.
        function(pdev, unsafe { Pin::<KBox<D::Data<'_>>>::borrow(data) });
    }
}
