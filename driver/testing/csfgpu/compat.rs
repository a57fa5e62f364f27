// SPDX-License-Identifier: GPL-2.0

//! Differences between the versions of Linux that this driver supports. No other file depends on the
//! version; `Kbuild` sets `linux_7_2` for Linux 7.2.

use core::borrow::Borrow;
use kernel::bindings;

/// `DMA_BIDIRECTIONAL`.
#[cfg(linux_7_2)]
pub(crate) const DMA_BIDIRECTIONAL: bindings::dma_data_direction =
    bindings::dma_data_direction_DMA_BIDIRECTIONAL;
/// `DMA_BIDIRECTIONAL`.
#[cfg(not(linux_7_2))]
pub(crate) const DMA_BIDIRECTIONAL: bindings::dma_data_direction =
    bindings::dma_data_direction::DMA_BIDIRECTIONAL;

/// Returns the value of a module parameter. `value()` returns a reference in Linux 7.2.
pub(crate) fn parameter<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}

/// Makes the table of a driver. It has a second name in Linux 7.2.
#[cfg(linux_7_2)]
macro_rules! of_device_table {
    ($table:ident, $($rest:tt)*) => {
        kernel::of_device_table!($table, MODULE_OF_TABLE, $($rest)*);
    };
}
#[cfg(not(linux_7_2))]
pub(crate) use kernel::of_device_table;
#[cfg(linux_7_2)]
pub(crate) use of_device_table;
