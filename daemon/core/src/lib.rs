// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pure part of Protheap: policy, selection, and the states of a binding.
//!
//! Data flows one way: text becomes a [`Fragment`](fragment::Fragment), fragments become a
//! [`Merged`](merged::Merged), that becomes a [`Policy`](policy::Policy); with [`Facts`](facts::Facts)
//! it becomes a [`Decision`](decision::Decision), and the [`Engine`](engine::Engine) turns decisions
//! into actions as facts change. There is no input or output here, no clock, and no unsafe code.

#![forbid(unsafe_code)]

pub mod cascade;
pub mod condition;
pub mod decision;
pub mod diagnostic;
pub mod engine;
pub mod facts;
pub mod fragment;
pub mod image;
pub mod lint;
pub mod merged;
pub mod name;
pub mod node;
pub mod past;
pub mod policy;
pub mod quantity;
pub mod report;
pub mod revision;
pub mod sanitize;
pub mod schema;
pub mod share;
pub mod state;
