// SPDX-License-Identifier: MIT OR Apache-2.0

//! Policy files of Protheap: their schema, their order of precedence, and their merge.
//!
//! The text of a file becomes a [`Fragment`](fragment::Fragment). [`cascade`] orders the fragments
//! that apply to a board into a [`Merged`](merged::Merged), from which a [`Policy`](policy::Policy)
//! is made. This crate performs no input or output and contains no unsafe code.

#![forbid(unsafe_code)]

pub mod cascade;
pub mod conditions;
pub mod diagnostic;
pub mod evidence;
pub mod fragment;
pub mod image;
#[cfg(feature = "lint")]
pub mod lint;
pub mod merged;
pub mod name;
pub mod node;
pub mod policy;
pub mod quantity;
pub mod revision;
pub mod sanitize;
pub mod schema;
mod words;

pub use words::UnknownWord;
