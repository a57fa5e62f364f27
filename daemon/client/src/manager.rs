// SPDX-License-Identifier: MIT OR Apache-2.0

use crate::{FindHeapDetails, FindHeapOptions};

/// The service itself, at [`MANAGER_PATH`](crate::MANAGER_PATH). Every caller may read it.
#[zbus::proxy(
    interface = "org.protheap1.Manager",
    default_service = "org.protheap1",
    default_path = "/org/protheap1"
)]
pub trait Manager {
    /// Version of `protheapd`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> crate::Result<String>;

    /// Compatible strings of the board, most specific first: `compatible` of the device tree's
    /// root.
    #[zbus(property(emits_changed_signal = "const"))]
    fn compatible(&self) -> crate::Result<Vec<String>>;

    /// Model of the board: `model` of the device tree's root; empty if it has none.
    #[zbus(property(emits_changed_signal = "const"))]
    fn model(&self) -> crate::Result<String>;

    /// Keys of the policy files that apply, most specific first.
    #[zbus(property)]
    fn policies(&self) -> crate::Result<Vec<String>>;

    /// How a heap reaches the GPU driver: `ioctl`, `module`, `panthor-parameter` or `none`.
    #[zbus(property)]
    fn delivery(&self) -> crate::Result<String>;

    /// Finds the heap that all of these devices can use for `usage`. A device is the major and
    /// minor number of its render, KMS, V4L2 or media node. Returns the object, the name and the
    /// details of the heap. Errors: `NoCommonHeap`, `UnknownDevice`, `InvalidArgument`.
    fn find_heap(
        &self,
        usage: &str,
        devices: &[(u32, u32)],
        options: FindHeapOptions,
    ) -> crate::Result<(zbus::OwnedObjectPath, String, FindHeapDetails)>;

    /// Returns the object of a GPU in `state.json`, which contains the reason of its state. Error:
    /// `NoSuchGpu`.
    fn explain(&self, gpu: &zbus::ObjectPath<'_>) -> crate::Result<String>;

    /// Reads the policies again. Needs the polkit action `org.protheap1.manage`.
    fn reload(&self) -> crate::Result<()>;
}
