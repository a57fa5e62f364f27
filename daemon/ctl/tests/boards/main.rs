// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the policies, `protheapctl evidence` and `protheapctl report` on the machines of
//! tests/boards.

#![allow(clippy::unwrap_used, reason = "tests")]

mod evidence;
mod fixtures;
#[path = "../machine/mod.rs"]
mod machine;
mod platforms;
