// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    protheapctl::main()
}
