// SPDX-License-Identifier: MIT OR Apache-2.0

//! Client for `protheapd` over D-Bus. Finds the protected heap that a set of devices can share.
//!
//! ```no_run
//! use std::fs::File;
//!
//! use protheap_client::{FindHeapOptions, ManagerProxy, device_of};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let gpu = device_of(File::open("/dev/dri/renderD128")?)?;
//! let decoder = device_of(File::open("/dev/video0")?)?;
//! zbus::block_on(async {
//!     let connection = zbus::Connection::system().await?;
//!     let manager = ManagerProxy::new(&connection).await?;
//!     let devices = [gpu, decoder];
//!     let (_, name, details) =
//!         manager.find_heap("secure-video", &devices, FindHeapOptions::default()).await?;
//!     println!("allocate from {}: {name}, {}", details.node, details.protection);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! `examples/player.rs` continues from there. GPUs and heaps are added and removed at runtime:
//! `GetManagedObjects` and the signals of [`zbus::fdo::ObjectManagerProxy`] at [`MANAGER_PATH`]
//! list them.
//!
//! A test compares the proxies with the XML of the interfaces; dictionaries and errors are typed. The
//! runtime that drives the connection is the caller's choice: zbus's own (`default-rt`, the
//! default), or with `default-features = false` and `tokio`, the tokio runtime in which the
//! connection is created.

#![forbid(unsafe_code)]

mod device;
mod error;
mod find_heap;
mod gpu;
mod heap;
mod manager;
mod path;

pub use device::device_of;
pub use error::{Error, Result};
pub use find_heap::{FindHeapDetails, FindHeapOptions};
pub use gpu::GpuProxy;
pub use heap::HeapProxy;
pub use manager::ManagerProxy;
pub use path::{MANAGER_PATH, gpu_path, heap_path, label, unescape};

/// The service's name on the system bus.
pub const SERVICE: &str = "org.protheap1";
