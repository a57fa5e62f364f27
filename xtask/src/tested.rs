// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups of tests, and the outcome of each test.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

/// Resource of jobs that build something in the cache. Each of them uses all processors.
pub(crate) const BUILD: &str = "build";

/// Group of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Group {
    /// Formatting, lints, unit tests, units, policies and licences, as `cargo xtask check` runs them
    Check,
    /// Crates, bills of materials, patches, and Debian's firmware images and device trees
    Audit,
    /// Scenarios of the kernel's module, the binder and the daemon
    Core,
    /// Scenarios of panthor and Tyr
    Panthor,
    /// Scenarios with systemd
    Systemd,
    /// Packages of distributions
    Packages,
    /// Initrds of distributions, and signed images
    Images,
    /// Scenarios on Debian's own kernel; only if this group is given, and in `cargo xtask release`
    Stock,
}

impl Group {
    /// Returns whether `cargo xtask test` runs it without being asked: the first run of another takes too long.
    pub(crate) fn is_usual(self) -> bool {
        self != Self::Stock
    }

    /// Returns its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Outcome of a test that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It passed.
    Good,
    /// It has passed with the same inputs before.
    Unchanged,
    /// It was skipped, for this reason.
    Skipped(String),
    /// It has several tests.
    Tests { passed: u32, failed: u32 },
}

/// A test that has ended.
#[derive(Debug)]
pub(crate) struct Tested {
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) result: Result<Outcome>,
    pub(crate) took: Duration,
}
