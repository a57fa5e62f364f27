// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the early binder and the daemon share: both look at the machine, ask the engine, and carry
//! out what it says.

#![forbid(unsafe_code)]

pub mod binder;
pub mod ready;
pub mod survey;
pub mod tell;

/// What went wrong, for people: nothing here is told apart by its kind.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
