// SPDX-License-Identifier: GPL-2.0

//! Differences between the versions of Linux that this module supports. No other file depends on the
//! version; `Kbuild` sets `linux_7_2` for Linux 7.2.

use core::borrow::Borrow;
use kernel::time::Delta;

#[cfg(not(linux_7_2))]
pub(crate) use kernel::error::code::{
    EALREADY,
    EDQUOT,
    EMEDIUMTYPE,
    ENAMETOOLONG,
    ENOBUFS,
    ENODATA,
    EOPNOTSUPP,
    EPROTONOSUPPORT,
    ESHUTDOWN, //
};

#[cfg(linux_7_2)]
pub(crate) use codes::*;

/// Error codes that `kernel::error::code` lacks in Linux 7.2.
#[cfg(linux_7_2)]
mod codes {
    use core::mem::transmute;
    use kernel::{
        bindings,
        error::{
            code::EIO,
            Error, //
        },
    };

    const fn code(errno: u32) -> Error {
        // SAFETY: An `Error` is a negative error number, as the assertion below shows.
        unsafe { transmute(-(errno as i32)) }
    }

    // SAFETY: Any `Error` is a valid `i32`.
    const _: () = assert!(unsafe { transmute::<Error, i32>(EIO) } == -(bindings::EIO as i32));

    pub(crate) const EALREADY: Error = code(bindings::EALREADY);
    pub(crate) const EDQUOT: Error = code(bindings::EDQUOT);
    pub(crate) const EMEDIUMTYPE: Error = code(bindings::EMEDIUMTYPE);
    pub(crate) const ENAMETOOLONG: Error = code(bindings::ENAMETOOLONG);
    pub(crate) const ENOBUFS: Error = code(bindings::ENOBUFS);
    pub(crate) const ENODATA: Error = code(bindings::ENODATA);
    pub(crate) const EOPNOTSUPP: Error = code(bindings::EOPNOTSUPP);
    pub(crate) const EPROTONOSUPPORT: Error = code(bindings::EPROTONOSUPPORT);
    pub(crate) const ESHUTDOWN: Error = code(bindings::ESHUTDOWN);
}

// `configfs_attrs!` of Linux 7.2 expects it in the scope of its caller.
#[cfg(linux_7_2)]
pub(crate) use crate::THIS_MODULE;

/// Returns the value of a module parameter. `value()` returns a reference in Linux 7.2.
pub(crate) fn parameter<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}

/// Returns a time in milliseconds, rounded up.
#[cfg(not(linux_7_2))]
pub(crate) fn as_millis_ceil(delta: Delta) -> i64 {
    delta.as_millis_ceil()
}

/// Returns a time in milliseconds, rounded up.
#[cfg(linux_7_2)]
pub(crate) fn as_millis_ceil(delta: Delta) -> i64 {
    -(-delta.as_micros_ceil()).div_euclid(1000)
}
