// SPDX-License-Identifier: MIT OR Apache-2.0

/// A heap that exists and that a policy of this board names, at [`heap_path`](crate::heap_path).
#[zbus::proxy(interface = "org.protheap1.Heap", default_service = "org.protheap1")]
pub trait Heap {
    /// Name in `/sys/class/dma_heap`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> crate::Result<String>;

    /// Path of the character device.
    #[zbus(property(emits_changed_signal = "const"))]
    fn node(&self) -> crate::Result<String>;

    /// `tee`, `unmappable` or `none`, as `docs/state.md` defines; empty until a buffer of the heap
    /// has been examined.
    #[zbus(property)]
    fn protection(&self) -> crate::Result<String>;

    /// The kernel's name of the buffers' exporter; empty until a buffer of the heap has been
    /// examined.
    #[zbus(property)]
    fn exporter(&self) -> crate::Result<String>;

    /// False if the heap refused the last allocation, or if its TEE has gone.
    #[zbus(property)]
    fn usable(&self) -> crate::Result<bool>;

    /// Opens the character device, from which the caller can then allocate without a limit. Only
    /// root has the polkit action `org.protheap1.open-heap`, unless a polkit rule grants it; the
    /// detail `heap` has the name. Each call is logged. Errors: `NotReady` until the GPUs have
    /// their buffers, `HeapGone`.
    fn open(&self) -> crate::Result<zbus::OwnedFd>;
}
