// SPDX-License-Identifier: MIT OR Apache-2.0

//! The runtime that the early binder and the daemon share.
//!
//! It surveys the machine, feeds the kernel's events to the engine of `protheap-core`, executes the
//! engine's actions, and publishes the state.

#![forbid(unsafe_code)]

pub mod executor;
pub mod kernel;
pub mod log;
pub mod ready;
pub mod state_file;
pub mod survey;

/// The error is text for people: no caller distinguishes errors by kind.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
