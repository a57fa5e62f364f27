// SPDX-License-Identifier: MIT OR Apache-2.0

//! Facts, selection, the states of a binding, and the state file. Pure.
//!
//! A [`Policy`](protheap_policy::policy::Policy) and [`Facts`](facts::Facts) become a
//! [`Decision`](decision::Decision), and a [`Machine`](engine::Machine) turns decisions into actions
//! as facts change. This crate performs no input or output, reads no clock, and contains no unsafe
//! code.

#![forbid(unsafe_code)]

pub mod decision;
pub mod engine;
pub mod facts;
pub mod named;
pub mod next;
pub mod notes;
pub mod report;
pub mod request;
pub mod share;
pub mod state;
pub mod state_file;
pub mod timeline;
pub mod trace;
mod unmet;
