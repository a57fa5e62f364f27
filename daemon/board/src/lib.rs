// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the state of a machine and writes to its kernel interfaces. This crate makes no policy
//! decisions.
//!
//! Readers fill the types of [`protheap_core::facts`] from a [`Root`](root::Root): the running
//! machine, or a directory that holds the file tree of another machine. A missing file is not an
//! error. A file that exists but cannot be used is skipped and reported as a [`Problem`].

mod aliases;
pub mod clock;
pub mod cma;
pub mod devices;
pub mod firmware;
pub mod gpu_id;
pub mod heap_modules;
pub mod heaps;
pub mod kernel;
pub mod kmsg;
pub mod module;
pub mod nodes;
pub mod panthor;
pub mod platform;
pub mod policies;
mod probes;
mod problem;
pub mod render_node;
pub mod root;
pub mod run;
pub mod soc;
pub mod sysfs;
pub mod tee;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod udev_rules;
pub mod uevents;
pub mod vendor_modules;

pub use problem::Problem;
