// SPDX-License-Identifier: MIT OR Apache-2.0

/// A GPU and its binding, at [`gpu_path`](crate::gpu_path).
///
/// Properties without a change signal are read from the service at each call.
#[zbus::proxy(interface = "org.protheap1.Gpu", default_service = "org.protheap1")]
pub trait Gpu {
    /// Name on the platform bus, such as `fb000000.gpu`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> crate::Result<String>;

    /// Compatible strings of the device-tree node, most specific first.
    #[zbus(property(emits_changed_signal = "const"))]
    fn compatible(&self) -> crate::Result<Vec<String>>;

    /// Driver bound to the device; empty if there is none.
    #[zbus(property)]
    fn driver(&self) -> crate::Result<String>;

    /// State of the binding, a stable word that `docs/state.md` defines.
    #[zbus(property)]
    fn state(&self) -> crate::Result<String>;

    /// Reason of the state, a stable word that `docs/state.md` defines.
    #[zbus(property)]
    fn reason(&self) -> crate::Result<String>;

    /// Name of the heap that is bound, or that was allocated from last; empty if there is none.
    #[zbus(property)]
    fn heap(&self) -> crate::Result<String>;

    /// Key of the policy file that names the heap; empty if this run did not select the heap.
    #[zbus(property(emits_changed_signal = "false"))]
    fn policy(&self) -> crate::Result<String>;

    /// How a heap reaches the GPU driver, as in [`ManagerProxy::delivery`](crate::ManagerProxy).
    #[zbus(property(emits_changed_signal = "false"))]
    fn delivery(&self) -> crate::Result<String>;

    /// Size of the firmware buffer, in bytes; 0 if it is not known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn firmware_bytes(&self) -> crate::Result<u64>;

    /// Size of one suspend buffer, in bytes; 0 if it is not known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_bytes(&self) -> crate::Result<u64>;

    /// Maximum number of suspend buffers, according to the policy.
    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_count(&self) -> crate::Result<u32>;

    /// Why there are fewer suspend buffers than [`suspend_count`](Self::suspend_count), for people;
    /// empty if there are not, or if the reason is not known.
    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_shortage(&self) -> crate::Result<String>;

    /// Number of suspend buffers that no protected group uses.
    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_free(&self) -> crate::Result<u32>;

    /// Number of suspend buffers that protected groups use.
    #[zbus(property(emits_changed_signal = "false"))]
    fn suspend_in_use(&self) -> crate::Result<u32>;

    /// Time at which the heap was bound or adopted, in microseconds of `CLOCK_MONOTONIC`; 0 if no
    /// heap is bound.
    #[zbus(property(emits_changed_signal = "false"))]
    fn bound_timestamp_monotonic(&self) -> crate::Result<u64>;

    /// Runs the heap selection again, and examines every heap again. Needs the polkit action
    /// `org.protheap1.manage`. Errors: `InUse` if a driver is bound to the GPU and the GPU to a
    /// heap, `NotReady` if a selection is running, `NotSupported` without `protheap.ko`,
    /// `NoSuchGpu`.
    fn rebind(&self) -> crate::Result<()>;

    /// Binds the heap if the policy binds on demand; does nothing if it is bound. The heap stays
    /// bound while there is a protected group, and for 10 seconds after this call or the end of the
    /// last group. Needs the polkit action `org.protheap1.open-heap`. Errors: `NotSupported` if the
    /// policy does not bind on demand or `protheap.ko` is not loaded, `NotReady` if no heap could
    /// be bound ([`state`](Self::state) and [`reason`](Self::reason) say why), `NoSuchGpu`.
    fn bind(&self) -> crate::Result<()>;
}
