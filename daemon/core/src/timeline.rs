// SPDX-License-Identifier: MIT OR Apache-2.0

//! The timeline of a binding.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A time in microseconds of `CLOCK_MONOTONIC`, which continues across a switch of the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Monotonic(pub u64);

/// One step on the way to a binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Time of the step.
    #[serde(rename = "at_us")]
    pub at: Monotonic,
    /// Stable word for the step.
    pub step: Cow<'static, str>,
    /// Details for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
