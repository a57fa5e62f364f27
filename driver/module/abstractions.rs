// SPDX-License-Identifier: GPL-2.0

//! Safe interfaces to parts of the kernel that its own Rust crate does not cover. No other file of
//! the module uses `kernel::bindings` or functions of `glue.c`.

pub(crate) mod abi;
pub(crate) mod compat;
pub(crate) mod device;
pub(crate) mod dma_buf;
pub(crate) mod dma_heap;
pub(crate) mod lockdown;
pub(crate) mod notifier;
pub(crate) mod privilege;
pub(crate) mod uapi;
pub(crate) mod uevent;
pub(crate) mod work;
